"""Replace a run that ran out of memory: change its leaf config as `execution.on_oom` says."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from rapidfire_cli.manifest.knob_paths import ABSENT, dotted, knobs
from rapidfire_cli.manifest.varied import values
from rapidfire_cli.problems import Problem, Span, did_you_mean
from rapidfire_cli.syntax.ast import ExperimentFile, Origins
from rapidfire_cli.syntax.keys import TRAIN
from rapidfire_cli.syntax.on_oom import Scale, scale
from rapidfire_cli.syntax.scalars import HIGHEST
from rapidfire_cli.terms import Plain, canonical

Number: TypeAlias = int | float

DEFAULTS: Mapping[str, int] = {"train.grad_accumulation": 1}
"""Defaults of knobs that can be divided and multiplied even if the file does not set them."""

SETTABLE = frozenset(f"train.{key}" for key in TRAIN.keys)
"""Knobs that can be set even if the file does not have them."""


class Exhausted(Exception):  # noqa: N818 - what the changes are
    """The run cannot be changed further; the argument says why."""


def changed(config: str, on_oom: Mapping[str, Plain]) -> str:
    """The leaf config (canonical JSON, as the result is) that takes this one's place. Raises Exhausted.

    Every change is made or none. One must be more than a multiplication, which frees no memory.
    """
    leaf: dict[str, Any] = json.loads(config)
    eased = False
    for knob, change in on_oom.items():
        eased |= _change(leaf, knob, change)
    if not eased:
        raise Exhausted("none of the changes frees memory")
    return canonical(leaf)


def _change(leaf: dict[str, Any], knob: str, change: Plain) -> bool:
    """Make the change, where the leaf has such a knob; whether that can free memory. Raises Exhausted."""
    found = next(((path, value) for path, value in knobs(leaf) if dotted(path) == knob), None)
    if found is None and knob not in SETTABLE:
        return False
    path, old = found or (knob.split("."), DEFAULTS.get(knob))
    factor = scale(change)
    new = change if factor is None else _scaled(knob, old, factor)
    holder: Any = leaf
    for step in path[:-1]:
        holder = holder[step]
    if new is None and factor:
        return False
    holder[path[-1]] = new
    return factor.divides if factor else found is None or canonical(old) != canonical(new)


def _scaled(knob: str, old: Plain, factor: Scale) -> Number | None:
    """The number divided or multiplied, an int as an int; None where there is none. Raises Exhausted."""
    if isinstance(old, bool) or not isinstance(old, int | float):
        return None
    new = (
        (old // factor.by if isinstance(old, int) else old / factor.by) if factor.divides else old * factor.by
    )
    least = 1 if isinstance(old, int) and factor.divides else -HIGHEST
    if not least <= new <= HIGHEST or (new == 0) is not (old == 0):
        raise Exhausted(f"{knob} is {canonical(old)}")
    return new


def misplaced(file: ExperimentFile) -> Iterator[Problem]:
    """What is wrong with the file's changes, seen from its runs."""
    on_oom = file.execution.on_oom
    if not on_oom:
        return
    known = {dotted(path): texts for path, texts in values(file).items()}
    for knob, change in on_oom.items():
        factor = scale(change)
        if knob not in known and (knob not in SETTABLE or (factor and knob not in DEFAULTS)):
            yield _absent(knob, list(known), _span(file.keys, knob))
        elif factor and (odd := [text for text in known.get(knob, ()) if not _scales(text)]):
            span = _span(file.origins, knob)
            found = f"{odd[0]} in some runs"
            yield Problem("E350", f"`{knob}` is not always a number", span, found, expected="a number")


def _scales(text: object) -> bool:
    """Whether a knob's value, as JSON, is a number, null or absent."""
    return text is ABSENT or text == "null" or type(json.loads(str(text))) in (int, float)


def _absent(knob: str, known: list[str], span: Span | None) -> Problem:
    below = [each for each in known if each.startswith(f"{knob}.")]
    message = f"`{knob}` is a section, not a knob" if below else f"no run has the knob `{knob}`"
    hint = f"name one of them, such as `{below[0]}`" if below else did_you_mean(knob, known)
    return Problem("E351", message, span, hint=hint)


def _span(spans: Origins, knob: str) -> Span | None:
    """Where the change of the knob was written."""
    above = ("execution", "on_oom")
    return next((span for at, span in spans.items() if at[:2] == above and dotted(at[2:]) == knob), None)
