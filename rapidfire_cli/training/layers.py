"""The modules that `fsdp_layer_cls` names: the layers of a model that are sharded one by one."""

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import cast

from torch import nn

from rapidfire_cli.engine.messages import Finding
from rapidfire_cli.problems import did_you_mean
from rapidfire_cli.terms import LeafConfig
from rapidfire_cli.training.failure import Failure, one_line

KNOB = "fsdp_layer_cls"
SHOWN = 5  # classes in a message


def layer_names(leaf: LeafConfig) -> tuple[str, ...]:
    """Return the dotted paths of the classes that the leaf config names."""
    return tuple(cast("list[str]", leaf.get(KNOB, [])))


def layer_findings(leaf: LeafConfig) -> Iterator[Finding]:
    """Yield a finding for each name that cannot be imported as a class of modules."""
    for index, name in enumerate(layer_names(leaf)):
        try:
            cls = _imported(name)
        except Exception as error:  # the module runs any code
            message = f"`{name}` cannot be imported"
            yield Finding(0, (KNOB, str(index)), "E417", message, one_line(error), _EXPECTED)
            continue
        if cls is None:
            package, _, own = name.rpartition(".")
            hint = did_you_mean(name, [f"{package}.{each}" for each in _classes_in(package)])
            message = f"`{package}` has no class `{own}`"
            yield Finding(0, (KNOB, str(index)), "E417", message, name, _EXPECTED, hint)
        elif not issubclass(cls, nn.Module):
            message = f"`{name}` is not a class of modules"
            yield Finding(0, (KNOB, str(index)), "E417", message, name, _EXPECTED)


def layers_named(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Return the modules of the named classes, inner ones first. Raises Failure if a class has none."""
    modules = [module for name, module in model.named_modules() if name]
    chosen: set[int] = set()
    for index, name in enumerate(names):
        found = [id(module) for module in modules if _is(module, name)]
        if not found:
            raise Failure("error", _missing(name, modules), knob=(KNOB, str(index)))
        chosen.update(found)
    return [module for module in reversed(modules) if id(module) in chosen]


_EXPECTED = "the path of a class of modules, such as transformers.models.vit.modeling_vit.ViTLayer"


def _is(module: nn.Module, name: str) -> bool:
    try:
        cls = _imported(name)
    except Exception:
        cls = None
    return isinstance(module, cls) if cls else any(_path(each) == name for each in type(module).__mro__)


def _imported(name: str) -> type | None:
    """Return the class with this dotted path; None if its module has no such class. Raises what it raises."""
    package, _, own = name.rpartition(".")
    module = sys.modules.get(package) or import_module(package)
    found = getattr(module, own, None)
    return found if isinstance(found, type) else None


def _classes_in(package: str) -> list[str]:
    members = vars(sys.modules[package])
    return [name for name, each in members.items() if isinstance(each, type) and issubclass(each, nn.Module)]


def _missing(name: str, modules: Sequence[nn.Module]) -> str:
    paths = [*dict.fromkeys(_path(type(module)) for module in modules)]
    by_name = {path.rpartition(".")[2]: path for path in paths}
    hint = did_you_mean(name, paths) or did_you_mean(name.rpartition(".")[2], by_name)
    for short, path in by_name.items():
        hint = hint.replace(f"`{short}`", f"`{path}`")
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    has = f"it has {', '.join(paths[:SHOWN])}{more}" if paths else "it has no modules"
    return f"no module of the model is a `{name}`; {hint or has}"


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
