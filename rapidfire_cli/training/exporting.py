"""Export a trained run's model in the format of its own library.

A model that has a method to save itself (transformers, peft) is saved by it; any other model becomes a
safetensors file. Beside it are the config, the metrics with the hashes of code, data and environment, and a
manifest with the hash of each file. The directory appears complete or not at all.
"""

import json
from pathlib import Path
from typing import Any

from torch import nn

from rapidfire_cli.durable import publication
from rapidfire_cli.engine.messages import Export, Finding, Use, Used
from rapidfire_cli.facts import by_split
from rapidfire_cli.terms import spoken
from rapidfire_cli.training import weights
from rapidfire_cli.training.opening import Shared
from rapidfire_cli.training.trained import Refused, Trained, reopened

CONFIG, METRICS, MODEL = "config.yaml", "metrics.json", "model"


def export(order: Use, task: Export, shared: Shared) -> Used:
    """Publish the exported model. Raises Refused, Failure, OSError, and what user code or libraries raise."""
    trained = reopened(order.assignment, order.at, shared, "evaluate")
    model = merged(trained.model) if task.merge else trained.model
    target = Path(task.directory)
    facts = _facts(trained)
    with publication.draft(target) as draft:
        _save(model, draft)
        publication.write(draft / CONFIG, task.config)
        publication.write(draft / METRICS, f"{json.dumps(facts, indent=2)}\n")
        publication.issue(draft, target, publication.measured(draft), facts)
    return Used(epoch=trained.kept.ended.epoch, step=trained.kept.step, is_inside=trained.kept.is_inside)


def merged(model: nn.Module) -> Any:
    """Return the base model with the adapters merged into its weights. Raises Refused."""
    if not hasattr(model, "merge_and_unload"):
        found = f"a {type(model).__name__}, which is not a model of peft"
        raise Refused(Finding(-1, (), "E625", "`--merge` needs adapters", found))
    if name := _adapted_tie(model):
        raise Refused(_tied(f"`{name}` is shared by two modules"))
    peft: Any = model
    base = peft.merge_and_unload()
    if not _is_tied_as_said(base):
        raise Refused(_tied("the model's input and output embeddings share their weights"))
    return base


def _save(model: Any, directory: Path) -> None:
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(directory)
        return
    now = weights.weights(model, {})  # frozen ones included
    now.write(directory / f"{MODEL}{now.suffix}")


def _facts(trained: Trained) -> dict[str, Any]:
    """The exported facts of the run: its metrics in that epoch, and the hashes its bits depend on."""
    kept, opened = trained.kept, trained.kept.reached.opened
    split = by_split(kept.ended.metrics)
    return {
        "run": kept.reached.run,
        "seed": trained.source.seed,
        "epoch": kept.ended.epoch,
        "step": kept.step,
        "metrics": {name: {one: spoken(value) for one, value in its.items()} for name, its in split.items()},
        "code": json.loads(opened.code) if opened else {},
        "data": json.loads(opened.data) if opened else {},
        "environment": json.loads(opened.environment) if opened else {},
    }


def _adapted_tie(model: nn.Module) -> str:
    """The name of an adapted parameter that another module shares; empty if there is none.

    Merging would change both modules, or would leave one of them without the trained change.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for same in names.values():
        adapted = [name for name in same if "base_layer." in name]
        saved = [name for name in same if "original_module." in name]  # if both are saved, a tie is correct
        if len(same) > 1 and (adapted or 0 < len(saved) < len(same)):
            return [*adapted, *saved][0]
    return ""


def _is_tied_as_said(model: Any) -> bool:
    """Whether the embeddings are one tensor, as far as the model's config requires it."""
    said = getattr(getattr(model, "config", None), "tie_word_embeddings", False)
    if not said or not hasattr(model, "get_output_embeddings"):
        return True
    ends = model.get_input_embeddings(), model.get_output_embeddings()
    return any(end is None for end in ends) or ends[0].weight is ends[1].weight


def _tied(found: str) -> Finding:
    return Finding(
        *(-1, (), "E625", "merging these adapters would untie weights that the model ties", found),
        hint="export the adapters without `--merge`, or train with `ensure_weight_tying=True`",
    )
