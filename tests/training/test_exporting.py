"""An exported model is loaded by its own library, and computes the same bits."""

import json

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_model
from transformers import LlamaForCausalLM

from rapidfire_cli.durable import publication
from rapidfire_cli.engine.messages import Export
from tests.training import using_specs
from tests.training.sandbox import leaf
from tests.training.test_using import Place

SPECS = "tests.training.export_specs"
TOKENS = torch.arange(12).reshape(2, 6)
ATTENTION = ["q_proj", "v_proj"]


def words(**knobs):
    return leaf(epochs=1, named_metrics=(), user_knobs=knobs)


def exported(place, directory, merge=False):
    answer = place.use(Export(str(directory), merge, "a: 1\n"))
    assert not answer.findings, answer.findings
    return directory


def logits(model):
    model.eval()
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def test_a_plain_model_is_a_file_of_safetensors_beside_what_it_came_from(tmp_path):
    place = Place(tmp_path, "Tied")
    directory = exported(place, tmp_path / "exported")
    fresh = using_specs.Tied().create_model({})
    load_model(fresh, directory / "model.safetensors")
    known = place.model()
    for name, value in known.state_dict().items():
        assert torch.equal(value, fresh.state_dict()[name]), name
    assert yaml.safe_load((directory / "config.yaml").read_text()) == {"a": 1}
    told = json.loads((directory / "metrics.json").read_text())
    assert told["metrics"]["validation"]["loss"] == place.epochs()[3]["validation", "loss"]
    assert (
        (told["epoch"], told["step"]) == (3, 9)
        and told["code"]
        and told["data"].keys() == {"train", "validation", "test"}
    )
    assert publication.verify(directory).files.keys() == {"config.yaml", "metrics.json", "model.safetensors"}


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_of_transformers_is_read_by_from_pretrained(tmp_path, tied):
    place = Place(tmp_path, f"{SPECS}:Words", until=1, config=words(tied=tied))
    directory = exported(place, tmp_path / "exported")
    read = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32)
    assert torch.equal(logits(read), logits(place.model()))


def test_adapters_are_exported_alone_or_merged_when_asked(tmp_path):
    place = Place(tmp_path, f"{SPECS}:Adapted", until=1, config=words(target_modules=ATTENTION))
    known = logits(place.model())
    alone = exported(place, tmp_path / "alone")
    assert (alone / "adapter_model.safetensors").stat().st_size < 4000
    base = place.model().unload()
    assert torch.equal(logits(PeftModel.from_pretrained(base, alone)), known)
    whole = exported(place, tmp_path / "whole", merge=True)
    read = LlamaForCausalLM.from_pretrained(whole, dtype=torch.float32)
    assert torch.equal(logits(read), logits(place.model().merge_and_unload()))
    assert torch.allclose(logits(read), known, atol=1e-5)


@pytest.mark.parametrize(
    "knobs",
    [
        {"target_modules": [*ATTENTION, "lm_head"]},
        {"target_modules": ATTENTION, "modules_to_save": ["embed_tokens"]},
    ],
)
def test_adapters_are_not_merged_where_that_unties_weights(tmp_path, knobs):
    place = Place(tmp_path, f"{SPECS}:Adapted", until=1, config=words(**knobs))
    finding = place.refused(Export(str(tmp_path / "whole"), True, ""))
    assert finding.code == "E625" and "untie" in finding.message
    assert not (tmp_path / "whole").exists()
    free = Place(tmp_path / "free", f"{SPECS}:Adapted", until=1, config=words(tied=False, **knobs))
    whole = exported(free, tmp_path / "whole", merge=True)
    read = LlamaForCausalLM.from_pretrained(whole, dtype=torch.float32)
    assert torch.allclose(logits(read), logits(free.model()), atol=1e-5)


def test_a_model_without_adapters_cannot_be_merged(tmp_path):
    place = Place(tmp_path)
    assert place.refused(Export(str(tmp_path / "whole"), True, "")).code == "E625"


def test_adapters_that_keep_weights_tied_are_merged(tmp_path):
    knobs = {"target_modules": ATTENTION, "modules_to_save": ["embed_tokens"], "ensured": True}
    place = Place(tmp_path, f"{SPECS}:Adapted", until=1, config=words(**knobs))
    whole = exported(place, tmp_path / "whole", merge=True)
    read = LlamaForCausalLM.from_pretrained(whole, dtype=torch.float32)
    assert torch.allclose(logits(read), logits(place.model()), atol=1e-5)
