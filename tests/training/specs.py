"""Small MLSpecs for runs within the test's own process."""

import os
import random
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torchmetrics import MeanSquaredError, Metric, MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassF1Score
from torchmetrics.wrappers import ClasswiseWrapper

from rapidfire_cli.mlspec import MLSpec

CLASSES = 3


class Blobs(MLSpec):
    """Three classes of 6 numbers each; 37 rows, so that the last batch is a smaller one."""

    def load_data(self, data, cfg):
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(52) % CLASSES
        inputs = torch.randn(52, 6, generator=generator) + functional.one_hot(labels, 6)
        rows = [{"x": row, "labels": int(label)} for row, label in zip(inputs, labels, strict=True)]
        return {"train": rows[:37], "validation": rows[37:]}

    def create_model(self, cfg):
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, CLASSES))

    def compute_forward(self, model, batch, cfg):
        logits = model(batch["x"])
        return {"loss": functional.cross_entropy(logits, batch["labels"]), "logits": logits}


class Wide(Blobs):
    """As wide as `user_knobs.width` says."""

    def create_model(self, cfg):
        width = cfg["user_knobs"].get("width", 8)
        return nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.Linear(width, CLASSES))


class Plain(Blobs):
    """Neither normalisation nor dropout, and weights only: every optimizer's step can be told by hand."""

    def create_model(self, cfg):
        return nn.Sequential(nn.Linear(6, 8, bias=False), nn.Tanh(), nn.Linear(8, CLASSES, bias=False))


class Remembering(Blobs):
    """Weighs the loss by what it has seen, in training and validation, and says so in its state."""

    def initialize_run(self, misc_path, cfg, mode):
        self.seen = 0
        self.mean = torch.zeros(6)

    def compute_forward(self, model, batch, cfg):
        self.seen += 1
        self.mean = 0.9 * self.mean + 0.1 * batch["x"].mean(0)
        outputs = super().compute_forward(model, {**batch, "x": batch["x"] - self.mean}, cfg)
        return {**outputs, "loss": outputs["loss"] * (1 + self.seen % 7)}

    def state_dict(self):
        return {"seen": self.seen, "mean": self.mean}

    def load_state_dict(self, state):
        self.seen, self.mean = state["seen"], state["mean"]


class Switching(Blobs):
    """Changes the default dtype in its first batch, and computes with it from then on."""

    def compute_forward(self, model, batch, cfg):
        noise = torch.rand(6).to(batch["x"].dtype)
        torch.set_default_dtype(torch.float64)
        return super().compute_forward(model, {**batch, "x": batch["x"] + noise}, cfg)


class Filling(Blobs):
    """Keeps 4 MiB on the MLSpec."""

    def initialize_run(self, misc_path, cfg, mode):
        self.table = b"x" * 2**22


class HoardingLater(Blobs):
    """Keeps what no checkpoint can hold once `hoards` is set."""

    hoards = False

    def state_dict(self):
        return {"notes": object() if self.hoards else None}


class Sparse(Blobs):
    """A model whose gradients are sparse."""

    def create_model(self, cfg):
        return nn.EmbeddingBag(20, CLASSES, sparse=True)

    def compute_forward(self, model, batch, cfg):
        return super().compute_forward(model, {**batch, "x": batch["x"].abs().mul(5).long()}, cfg)


class SparseUnderDense(Sparse):
    """A head that learns from an embedding whose gradients are sparse."""

    def create_model(self, cfg):
        return nn.Sequential(nn.EmbeddingBag(20, 4, sparse=True), nn.Linear(4, CLASSES))


class Augmented(Blobs):
    """Rows are shaken at random, by every generator that a spec may use, while training."""

    def row_prep(self, row, cfg, mode):
        if mode == "train":
            shake = torch.randn(6) * 0.1 + random.random() * 0.1 + float(np.random.rand()) * 0.1
            return {"x": row["x"] + shake, "labels": row["labels"]}
        return dict(row)


class OwnGenerator(Blobs):
    """Rows are shaken while training, by a generator on the MLSpec itself."""

    def initialize_run(self, misc_path, cfg, mode):
        self.tools = {"generator": np.random.default_rng(0)}

    def shake(self):
        return self.tools["generator"].normal()

    def row_prep(self, row, cfg, mode):
        return {**row, "x": row["x"] + self.shake()} if mode == "train" else dict(row)


class OwnGeneratorForSome(OwnGenerator):
    """Shakes the last row only, which is not among those that are prepared twice."""

    def load_data(self, data, cfg):
        splits = super().load_data(data, cfg)
        type(self).last = splits["train"][-1]
        return splits

    def row_prep(self, row, cfg, mode):
        return {**row, "x": row["x"] + self.shake()} if row is self.last else dict(row)


class ClassGenerator(OwnGenerator):
    """The generator is the class's: all its runs draw from it, from where the last load_data put it."""

    generator = random.Random(0)

    def load_data(self, data, cfg):
        type(self).generator.seed(0)
        return super().load_data(data, cfg)

    def shake(self):
        return self.generator.gauss(0, 1)


class TorchGenerator(OwnGenerator):
    """The generator is torch's, in a closure."""

    def initialize_run(self, misc_path, cfg, mode):
        generator = torch.Generator().manual_seed(0)
        self.shake = lambda: torch.randn((), generator=generator)


class Scheduled(Blobs):
    """Shakes rows the more of them it has prepared: a count, where nothing is drawn."""

    def initialize_run(self, misc_path, cfg, mode):
        self.count = 0

    def row_prep(self, row, cfg, mode):
        self.count += 1
        return {"labels": row["labels"], "x": row["x"] + self.count % 7 / 10}


class Words(Blobs):
    """Sequences of unequal length, padded; labels of -100 do not count. The loss is a mean over tokens."""

    def load_data(self, data, cfg):
        generator = torch.Generator().manual_seed(0)
        sizes = [20 if index % 4 == 0 else 2 for index in range(32)]
        words = [torch.randint(0, 9, (size,), generator=generator) for size in sizes]
        rows = [{"words": row, "labels": (row + (len(row) > 2)) % 9} for row in words]
        return {"train": rows[:24], "validation": rows[24:]}

    def collate(self, rows, cfg):
        pad = nn.utils.rnn.pad_sequence
        labels = pad([row["labels"] for row in rows], True, -100)
        return {"words": pad([row["words"] for row in rows], True), "labels": labels}

    def create_model(self, cfg):
        return nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9))

    def compute_forward(self, model, batch, cfg):
        logits = model(batch["words"])
        return {"loss": functional.cross_entropy(logits.movedim(-1, 1), batch["labels"]), "logits": logits}


class Weighing(Words):
    """Says the weight of its batches instead of leaving it to the labels, in the form that a knob says."""

    def compute_forward(self, model, batch, cfg):
        outputs = super().compute_forward(model, batch, cfg)
        tokens = (batch["labels"] != -100).sum()
        said = {"tensor": tokens.float(), "number": tokens.item(), "halved": tokens / 2}
        forms = {"row": tokens.repeat(3), "negative": -1, "nan": float("nan"), "text": "many"}
        return {"loss": outputs["loss"], "weight": {**said, **forms}[cfg["user_knobs"]["weight"]]}


class Unlabelled(Blobs):
    """Has rows whose label does not count: the first 8, or all where a knob says so. Their mean is NaN."""

    def load_data(self, data, cfg):
        rows = super().load_data(data, cfg)
        return {"train": [{**row, "number": index} for index, row in enumerate(rows["train"])]}

    def compute_forward(self, model, batch, cfg):
        ignored = batch["number"] < cfg["user_knobs"]["ignored"]
        logits, labels = model[0](batch["x"]), torch.where(ignored, -100, batch["labels"])
        each = functional.cross_entropy(logits, labels, reduction="none")
        return {"loss": each.sum() / (~ignored).sum(), "logits": logits, "labels": labels}


class Restless(Augmented):
    """Draws randomness in the forward pass too, in validation as well."""

    def compute_forward(self, model, batch, cfg):
        noise = torch.randn(()) * 0.1 + random.random() * 0.1
        return super().compute_forward(model, {**batch, "x": batch["x"] + noise}, cfg)


class AugmentedLast(Blobs):
    """Shakes the last row of a split at random, and no other."""

    def load_data(self, data, cfg):
        splits = super().load_data(data, cfg)
        type(self).last = [rows[-1]["x"] for rows in splits.values()]
        return splits

    def row_prep(self, row, cfg, mode):
        shaken = any(row["x"] is last for last in self.last)
        return {**row, "x": row["x"] + torch.randn(6) if shaken else row["x"]}


class Growing(Blobs):
    """Prepares more from each row than from the one before."""

    def initialize_run(self, misc_path, cfg, mode):
        self.rows = 0

    def row_prep(self, row, cfg, mode):
        self.rows += 1
        return {**row, "padding": torch.zeros(self.rows)}

    def collate(self, rows, cfg):
        return super().collate([{"x": row["x"], "labels": row["labels"]} for row in rows], cfg)


class Counted(Blobs):
    """Counts how often a row was prepared, on the class: what is shared between runs shows."""

    prepared = 0

    def row_prep(self, row, cfg, mode):
        type(self).prepared += 1
        return {"x": row["x"] * cfg.get("user_knobs", {}).get("scale", 1.0), "labels": row["labels"]}


class CountedAugmented(Augmented):
    """Counts how often a row was prepared, each shaken at random."""

    prepared = 0

    def row_prep(self, row, cfg, mode):
        type(self).prepared += 1
        return super().row_prep(row, cfg, "train")


class Windows(Blobs):
    """Rows are overlapping views of one tensor, that a collate of its own joins."""

    series = torch.randn(1000, generator=torch.Generator().manual_seed(0))

    def row_prep(self, row, cfg, mode):
        start = int(row["x"].abs().sum() * 50)
        return {"x": self.series[start : start + 6], "labels": row["labels"]}

    def collate(self, rows, cfg):
        for row in rows:
            row["x"] = row["x"] - row["x"].mean()
        return super().collate(rows, cfg)


class Misbehaving(Blobs):
    """Does in compute_forward what `user_knobs.does` says, from its third call on."""

    def initialize_run(self, misc_path, cfg, mode):
        self.calls = 0

    def compute_forward(self, model, batch, cfg):
        outputs = super().compute_forward(model, batch, cfg)
        self.calls += 1
        if self.calls < 3:
            return outputs
        match cfg["user_knobs"]["does"]:
            case "raise":
                raise ValueError("not to my liking\nat all")
            case "exit":
                raise SystemExit(3)
            case "nan":
                return {**outputs, "loss": outputs["loss"] * float("nan")}
            case "forget":
                return {"logits": outputs["logits"]}
            case "number":
                return 1.5
            case "print":
                print("a line from Python")
                os.write(2, b"a line from below\n")
        return outputs


class Default(MLSpec):
    """Loads data as MLSpec does; two numbers, two classes."""

    def row_prep(self, row, cfg, mode):
        return {"x": torch.tensor([row["a"], row["b"]], dtype=torch.float32), "labels": row["labels"]}

    def create_model(self, cfg):
        return nn.Linear(2, 2)

    def compute_forward(self, model, batch, cfg):
        logits = model(batch["x"])
        return {"loss": functional.cross_entropy(logits, batch["labels"]), "logits": logits}


class Pictures(Default):
    """Loads pictures of 4 × 4 pixels from folders named after what they show."""

    def row_prep(self, row, cfg, mode):
        grey = torch.tensor(np.asarray(row["image"]), dtype=torch.float32).mean(-1) / 255 - 0.5
        return {"x": grey.flatten()[:2], "labels": row["label"]}


class Ragged(Blobs):
    """Rows of different lengths, joined by a collate that changes what it is given."""

    def row_prep(self, row, cfg, mode):
        return {"x": row["x"][: 3 + row["labels"]].clone(), "labels": row["labels"]}

    def collate(self, rows, cfg):
        for row in rows:
            row["x"] *= 2
            row["x"] = functional.pad(row["x"], (0, 6 - len(row["x"])))
        return super().collate(rows, cfg)


class Collated(Blobs):
    """Rows that could be stacked, but for a collate that draws randomness."""

    def collate(self, rows, cfg):
        batch = super().collate(rows, cfg)
        return {**batch, "x": batch["x"] + torch.randn(()) * 0.1}


class LateTransform(Blobs):
    """Prepares rows with what create_model left behind."""

    def create_model(self, cfg):
        self.scale = 2.0
        return super().create_model(cfg)

    def row_prep(self, row, cfg, mode):
        return {"x": row["x"] * self.scale, "labels": row["labels"]}


class Projected(Blobs):
    """Prepares rows with a random projection."""

    def initialize_run(self, misc_path, cfg, mode):
        self.projection = torch.randn(6, 6)

    def row_prep(self, row, cfg, mode):
        return {"x": row["x"] @ self.projection, "labels": row["labels"]}


class Watched(Plain):
    """Notes on the class what the model computes in, and the largest batches."""

    dtypes: ClassVar = set()
    largest: ClassVar = {}

    def initialize_run(self, misc_path, cfg, mode):
        type(self).dtypes = set()
        type(self).largest = {"train": 0, "validation": 0}

    def compute_forward(self, model, batch, cfg):
        outputs = super().compute_forward(model, batch, cfg)
        split = "train" if model.training else "validation"
        self.dtypes.add(outputs["logits"].dtype)
        self.largest[split] = max(self.largest[split], len(batch["x"]))
        return outputs


class TrainOnly(Plain):
    """Without a validation split."""

    def load_data(self, data, cfg):
        return {"train": super().load_data(data, cfg)["train"]}


class WithMetrics(Plain):
    """With a metric of its own, the same object each time."""

    def metrics(self, cfg):
        return {"margin": SHARED}


class Margin(Metric):
    """The mean difference between a row's two largest logits."""

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("rows", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits, labels):
        best = logits.topk(2).values
        self.total += (best[:, 0] - best[:, 1]).sum()
        self.rows += len(labels)

    def compute(self):
        return self.total / self.rows


SHARED = Margin()


def count(logits, labels):
    return len(labels)


class OddMetrics(Blobs):
    """With metrics that no run can have, as a knob says."""

    def metrics(self, cfg):
        f1 = MulticlassF1Score(CLASSES, average=None)
        odd = {
            "function": count,
            "collection": MetricCollection([MeanSquaredError()]),
            "classes": f1,
            "wrapped": ClasswiseWrapper(f1),
            "matrix": MulticlassConfusionMatrix(CLASSES),
        }
        whole = {"loss": {"loss": Margin()}, "named": {"top1_accuracy": Margin()}, "list": [Margin()]}
        which = cfg["user_knobs"]["metric"]
        return whole[which] if which in whole else {"own": odd[which]}


class Pairs(Metric):
    """Two numbers, in the form that a knob says: noticed only when it is computed."""

    def __init__(self, form):
        super().__init__()
        self.form = form
        self.add_state("rows", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, logits, labels):
        self.rows += len(labels) + 0 * torch.rand(())  # draws, which must not shift what the run draws

    def compute(self):
        return {"dict": {"one": self.rows}, "vector": self.rows.repeat(2), "number": self.rows}[self.form]


class WithPairs(Blobs):
    def metrics(self, cfg):
        return {"pairs": Pairs(cfg["user_knobs"]["form"])}


class WrongMetrics(Blobs):
    """Cannot tell its metrics before a run has begun."""

    def metrics(self, cfg):
        return self.prepared_later


class LikeTransformers(Blobs):
    """Returns what the models of transformers return; labels are left in the batch."""

    def compute_forward(self, model, batch, cfg):
        from transformers.modeling_outputs import SequenceClassifierOutput

        return SequenceClassifierOutput(**super().compute_forward(model, batch, cfg))


class LossOnly(Blobs):
    """Returns nothing but the loss."""

    def compute_forward(self, model, batch, cfg):
        return {"loss": super().compute_forward(model, batch, cfg)["loss"]}


class Moody(Remembering):
    """Draws randomness and changes its own state and its model's in every forward pass."""

    def create_model(self, cfg):
        model = Plain.create_model(self, cfg)
        model.register_buffer("seen", torch.zeros(()))
        model.calls = 0
        return model

    def compute_forward(self, model, batch, cfg):
        model.seen += 1
        model.calls += 1
        noise = torch.randn(()) * 0.1 + random.random() * 0.1
        return super().compute_forward(model, {**batch, "x": batch["x"] + noise / model.seen}, cfg)


class MisnamedData(Plain):
    def load_data(self, data, cfg):
        return {"train": [1], "Val": [1]}


class NoData(Plain):
    def load_data(self, data, cfg):
        return {"test": [1]}


class ListOfData(Plain):
    def load_data(self, data, cfg):
        return [1]


class StreamedData(Plain):
    def load_data(self, data, cfg):
        return {"train": (row for row in [1])}


class EmptyData(Plain):
    def load_data(self, data, cfg):
        return {"train": []}


class NoModel(Plain):
    def create_model(self, cfg):
        return {}


class Interrupted(Plain):
    def initialize_run(self, misc_path, cfg, mode):
        raise KeyboardInterrupt


class Wandering(Plain):
    """Leaves the working directory for its own."""

    def initialize_run(self, misc_path, cfg, mode):
        misc_path.mkdir(exist_ok=True)
        os.chdir(misc_path)


class Greedy(Plain):
    def create_model(self, cfg):
        raise MemoryError


class GreedyTensor(Plain):
    def create_model(self, cfg):
        return torch.empty(2**50, dtype=torch.uint8)


class WrongSignatures(Plain):
    def __init__(self, depth):
        self.depth = depth

    def row_prep(self, row):
        return row

    def collate(self, rows, cfg, more):
        return rows

    @staticmethod
    def metrics(cfg):
        return {}


class Incomplete(MLSpec):
    def create_model(self, cfg):
        return nn.Linear(1, 1)


class NoSpec:
    pass


class Tied(Blobs):
    """Two layers that share their weights, and a count that is no part of the model's state."""

    def create_model(self, cfg):
        model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False), nn.Linear(6, CLASSES))
        model[1].weight = model[0].weight
        model.register_buffer("seen", torch.zeros(()), persistent=False)
        return model

    def compute_forward(self, model, batch, cfg):
        model.seen += model.training
        return super().compute_forward(model, {**batch, "x": batch["x"] / (1 + model.seen)}, cfg)


class Sized(Plain):
    """Loads as many rows as the data section says, in the share that a knob says."""

    loaded = 0

    def load_data(self, data, cfg):
        type(self).loaded += 1
        rows = super().load_data(data, cfg)["train"][: data["rows"]]
        if data.get("shuffle"):
            random.shuffle(rows)
        return {"train": rows[: int(data["rows"] * cfg["user_knobs"]["share"])]}


class Telling(Plain):
    """Prints what torch does about operations without a deterministic form."""

    def compute_forward(self, model, batch, cfg):
        print("mode", torch.get_deterministic_debug_mode())
        return super().compute_forward(model, batch, cfg)


class CountingEpochs(Blobs):
    """Scales the loss by the number of epochs."""

    def compute_forward(self, model, batch, cfg):
        told = super().compute_forward(model, batch, cfg)
        return {**told, "loss": told["loss"] / cfg["train"]["epochs"]}


class SomeBlobs(Blobs):
    """As many rows as the data section says."""

    def load_data(self, data, cfg):
        splits = super().load_data(data, cfg)
        return {**splits, "train": splits["train"][: data.get("rows", 37)]}
