"""What the MLSpecs of `specs/` promise beyond learning."""

import sys

import pytest
import torch
from datasets import load_dataset

from specs.causal_lm import CausalLMSpec
from specs.imagenet import ImageNetSpec
from specs.imdb import IMDBSpec
from specs.tabular import TabularSpec
from tests.scenarios.conftest import ROOT
from tests.shares import share
from tests.templates.project import Project

IMAGES = {"image_size": 16, "transform_type": "resize", "num_classes": 10, "width": 16, "depth": 1}


def knobs(**changed):
    return {"user_knobs": {**IMAGES, **changed}}


def test_images_come_from_a_folder_or_from_a_table_of_paths(project):
    spec = ImageNetSpec()
    folder = spec.load_data({"path": "imagefolder", "data_dir": "data/digits"}, knobs())["validation"]
    table = load_dataset("csv", data_files={"validation": "data/digits_validation.csv"})["validation"]
    rows = [[spec.row_prep(row, knobs(), "validation") for row in rows] for rows in (folder, table)]
    sums = [sorted((row["labels"], row["pixels"].sum().item()) for row in each) for each in rows]
    assert sums[0] == sums[1]
    assert rows[0][0]["pixels"].shape == (3, 16, 16)
    assert rows[0][0]["pixels"].min() >= -1 and rows[0][0]["pixels"].max() <= 1


def test_only_training_images_are_cropped_and_flipped(project):
    spec, cfg = ImageNetSpec(), knobs(transform_type="crop_flip")
    table = load_dataset("csv", data_files={"train": "data/digits_train.csv"})["train"]
    first, *others = (spec.row_prep(table[0], cfg, "train")["pixels"] for _ in range(20))
    assert not all(torch.equal(first, other) for other in others)
    held_out = spec.row_prep(table[0], cfg, "validation")["pixels"]
    assert torch.equal(held_out, spec.row_prep(table[0], knobs(), "train")["pixels"])


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_an_image_model_starts_from_a_local_directory_with_a_new_head(tmp_path, kind):
    spec, cfg = ImageNetSpec(), knobs(model_type=kind)
    model = spec.create_model(cfg)
    model.save_pretrained(tmp_path)
    loaded = spec.create_model(knobs(model_type=kind, num_classes=3, pretrained=str(tmp_path)))
    before, after = model.state_dict(), loaded.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        name for name in before if name.startswith("classifier")
    }
    assert loaded(torch.zeros(2, 3, 16, 16)).logits.shape == (2, 3)


@pytest.mark.parametrize("kind", ["vgg", "cnn"])
def test_a_vgg_has_two_convolutions_where_a_cnn_has_one(kind):
    model = ImageNetSpec().create_model(knobs(model_type=kind, depth=2))
    count = sum(isinstance(layer, torch.nn.Conv2d) for layer in model)
    assert count == {"vgg": 4, "cnn": 2}[kind]
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 10)


def test_texts_are_padded_to_the_longest_of_their_batch(project, tmp_path):
    spec, cfg = IMDBSpec(), Project(ROOT / "configs/imdb.yaml").leaves[0]
    data = Project(ROOT / "configs/imdb.yaml").file.data
    spec.prepare(tmp_path, data, [cfg])
    spec.initialize_run(tmp_path, cfg, "fit")
    rows = [spec.row_prep({"text": text, "label": 1}, cfg, "train") for text in ("def", "import a, b")]
    batch = spec.collate(rows, cfg)
    lengths = [len(row["tokens"]) for row in rows]
    assert batch["input_ids"].shape == (2, max(lengths)) and lengths[0] < lengths[1]
    assert batch["attention_mask"].sum(1).tolist() == lengths


def test_a_text_model_starts_from_a_local_directory_with_its_tokenizer(project, tmp_path):
    spec, cfg = IMDBSpec(), Project(ROOT / "configs/imdb.yaml").leaves[0]
    spec.prepare(tmp_path, Project(ROOT / "configs/imdb.yaml").file.data, [cfg])
    spec.initialize_run(tmp_path, cfg, "fit")
    model = spec.create_model(cfg)
    for saved in (model, spec.tokenizer):
        saved.save_pretrained(tmp_path / "saved")
    other = IMDBSpec()
    there = {"user_knobs": {"num_classes": 4, "max_length": 48, "pretrained": str(tmp_path / "saved")}}
    other.initialize_run(tmp_path, there, "fit")
    row = {"text": "def f(x):", "label": 0}
    tokens = [one.row_prep(row, each, "train")["tokens"] for one, each in ((spec, cfg), (other, there))]
    assert torch.equal(*tokens)
    before, after = model.state_dict(), other.create_model(there).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_adapter_alone_is_trained(project, tmp_path):
    leaf = Project(ROOT / "configs/lora.yaml").leaves[0]
    spec = CausalLMSpec()
    spec.initialize_run(tmp_path, leaf, "fit")
    names = [name for name, weight in spec.create_model(leaf).named_parameters() if weight.requires_grad]
    assert names and all("lora_" in name for name in names)


def test_without_peft_one_line_names_the_extra(project, tmp_path, monkeypatch):
    leaf = Project(ROOT / "configs/lora.yaml").leaves[0]
    spec = CausalLMSpec()
    spec.initialize_run(tmp_path, leaf, "fit")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModuleNotFoundError, match=r"^[^\n]*pip install 'rapidfire-cli\[peft\]'$"):
        spec.create_model(leaf)


def test_a_batch_of_text_weighs_its_next_tokens(project, tmp_path):
    leaf = Project(ROOT / "configs/lora.yaml").leaves[0]
    spec = CausalLMSpec()
    spec.initialize_run(tmp_path, leaf, "fit")
    rows = [spec.row_prep({"text": text}, leaf, "train") for text in ("def", "import a, b")]
    batch = spec.collate(rows, leaf)
    outputs = spec.compute_forward(spec.create_model(leaf), batch, leaf)
    assert outputs["weight"] == sum(len(row["tokens"]) - 1 for row in rows)


def test_columns_are_normalised_and_texts_that_training_lacks_have_a_place(project, tmp_path):
    project = Project(ROOT / "configs/tabular_regression.yaml")
    spec, cfg = TabularSpec(), project.leaves[0]
    spec.prepare(tmp_path, project.file.data, [cfg])
    spec.initialize_run(tmp_path, cfg, "fit")
    rows = spec.load_data(project.file.data, cfg)["train"]
    numbers = torch.stack([spec.row_prep(row, cfg, "train")["numbers"] for row in rows])
    assert torch.allclose(numbers.mean(0), torch.zeros(8), atol=1e-5)
    assert torch.allclose(numbers.std(0, correction=0), torch.ones(8), atol=1e-5)
    unknown = {**rows[0], "sex": "group 3", "bmi": None}
    prepared = spec.row_prep(unknown, cfg, "validation")
    assert prepared["texts"][list(spec.categories).index("sex")] == 0
    assert prepared["numbers"][list(spec.numbers).index("bmi")] == 0


@pytest.mark.parametrize("spec", share([IMDBSpec, ImageNetSpec, TabularSpec], 3))
def test_rows_without_a_label_are_predicted(project, tmp_path, spec):
    name = {ImageNetSpec: "imagenet", IMDBSpec: "imdb", TabularSpec: "tabular"}[spec]
    project = Project(ROOT / "configs" / f"{name}.yaml")
    cfg, made = project.leaves[0], spec()
    made.prepare(tmp_path, project.file.data, [cfg])
    made.initialize_run(tmp_path, cfg, "predict")
    rows = made.load_data(project.file.data, cfg)["validation"]
    unlabelled = [{k: v for k, v in rows[at].items() if k not in ("label", "diagnosis")} for at in range(3)]
    batch = made.collate([made.row_prep(row, cfg, "predict") for row in unlabelled], cfg)
    outputs = made.compute_forward(made.create_model(cfg).eval(), batch, cfg)
    assert "labels" not in batch and outputs["logits"].shape[0] == 3


@pytest.mark.parametrize(
    "name", share(["imdb", "causal_lm", "lora", "tabular", "tabular_regression", "reference/sha"], 3)
)
def test_rows_are_prepared_once(project, tmp_path, name):
    experiment = Project(ROOT / "configs" / f"{name}.yaml")
    place = experiment.sandbox(tmp_path)
    place.stop_at = 1
    place.train(experiment.leaves[0], until=1)
    assert "prepared again" not in place.log()
