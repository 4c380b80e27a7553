"""Images by class, for a ViT or a ResNet of transformers, or a plain convolutional network."""

import random

import numpy
import torch
from PIL import Image, ImageOps
from torch import nn
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

from rapidfire_cli.mlspec import MLSpec


class ImageNetSpec(MLSpec):
    """`user_knobs.model_type` is `vit`, `resnet`, `vgg` or `cnn`.

    The data are an image folder, or a table with the columns `path` and `label`. `num_classes` is the number
    of labels, `image_size` the width and height that the model sees. `transform_type` is `resize` or
    `crop_flip`, which also crops and flips training images at random. `width` and `depth` shape a new model;
    `pretrained` is the directory of a ViT or ResNet to start from instead.
    """

    def row_prep(self, row, cfg, mode):
        """One image (3, image_size, image_size) with values from -1 to 1, and its class if it has one."""
        knobs = cfg["user_knobs"]
        size = knobs["image_size"]
        image = row["image"] if "image" in row else Image.open(row["path"])
        image = image.convert("RGB")
        if mode == "train" and knobs["transform_type"] == "crop_flip":
            image = randomly_cropped(image)
            image = ImageOps.mirror(image) if random.random() < 0.5 else image
        image = image.resize((size, size), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(numpy.array(image)).permute(2, 0, 1)
        prepared = {"pixels": pixels / 127.5 - 1}
        return {**prepared, "labels": row["label"]} if "label" in row else prepared

    def create_model(self, cfg):
        """From pixels (B, 3, image_size, image_size) to logits (B, num_classes)."""
        knobs = cfg["user_knobs"]
        build = {"vit": vit, "resnet": resnet, "vgg": vgg, "cnn": cnn}[knobs["model_type"]]
        return build(knobs)

    def compute_forward(self, model, batch, cfg):
        """Cross entropy over the classes; without labels, logits alone."""
        logits = model(batch["pixels"])
        if cfg["user_knobs"]["model_type"] in ("vit", "resnet"):
            logits = logits.logits
        if "labels" not in batch:
            return {"logits": logits}
        return {"loss": functional.cross_entropy(logits, batch["labels"]), "logits": logits}


def randomly_cropped(image):
    """A square of half the image's area or more, anywhere in it."""
    width, height = image.size
    side = round(min(width, height) * random.uniform(0.7, 1))
    left, top = random.randint(0, width - side), random.randint(0, height - side)
    return image.crop((left, top, left + side, top + side))


def vit(knobs):
    """A vision transformer: 4 × 4 patches, heads of 16 dimensions."""
    if "pretrained" in knobs:
        return pretrained(ViTForImageClassification, knobs)
    width = knobs["width"]
    config = ViTConfig(
        image_size=knobs["image_size"],
        patch_size=knobs["image_size"] // 4,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=knobs["depth"],
        num_attention_heads=width // 16,
        initializer_range=0.5 * width**-0.5,  # 0.02, the default, suits a width of 600
        num_labels=knobs["num_classes"],
    )
    return ViTForImageClassification(config)


def resnet(knobs):
    """A residual network: stages of `depth` blocks, each stage twice as wide as the one before."""
    if "pretrained" in knobs:
        return pretrained(ResNetForImageClassification, knobs)
    width = knobs["width"]
    config = ResNetConfig(
        embedding_size=width,
        hidden_sizes=[width, 2 * width],
        depths=[knobs["depth"]] * 2,
        layer_type="basic",
        downsample_in_first_stage=False,
        num_labels=knobs["num_classes"],
    )
    return ResNetForImageClassification(config)


def pretrained(architecture, knobs):
    """The weights of a local directory, with a new head if its number of classes is another one."""
    return architecture.from_pretrained(
        knobs["pretrained"],
        num_labels=knobs["num_classes"],
        ignore_mismatched_sizes=True,
        local_files_only=True,
        dtype=torch.float32,
    )


def vgg(knobs):
    """Two convolutions per stage, as in VGG."""
    return convolutional(knobs, per_stage=2)


def cnn(knobs):
    """One convolution per stage."""
    return convolutional(knobs, per_stage=1)


def convolutional(knobs, per_stage):
    """`depth` stages of 3 × 3 convolutions, each of which halves the image, and a linear layer."""
    layers, channels = [], 3
    for stage in range(knobs["depth"]):
        width = knobs["width"] * 2**stage
        for _ in range(per_stage):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, knobs["num_classes"])
    )
