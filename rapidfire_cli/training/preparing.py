"""Prepared files: the files that the MLSpec's `prepare` makes once, before anything is trained.

They are written to a draft and published together, so that runs see all of them or none. They are made again
only if the user's code or data changed, if a leaf config has a new value for a knob that `prepare` reads, or
if a file is damaged. Files that runs were trained with are never replaced by different ones.
"""

import copy
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rapidfire_cli.durable import publication
from rapidfire_cli.durable.publication import Damaged, Published
from rapidfire_cli.engine.messages import Finding, Preparation, Smoked
from rapidfire_cli.terms import LeafConfig, Plain, canonical
from rapidfire_cli.training import rng, user_code
from rapidfire_cli.training.failure import located, traced
from rapidfire_cli.training.opening import Shared, prepares
from rapidfire_cli.training.tracked_config import Reads, TrackedConfig, agrees, seen, sought

SHOWN = 5  # the most differing files that a message names (assumed)


class _Differs(Exception):  # noqa: N818 - what was found
    """`prepare` made different files than runs were trained with; the argument holds their names."""


def prepare(order: Preparation, shared: Shared) -> Finding | None:
    """Make the prepared files unless they are present; return the problem, if any."""
    leaves = [json.loads(config) for config in order.cfgs]
    now: dict[str, Plain] = {"code": shared.code, "data": shared.setup.data, "splits": _splits(order, shared)}
    before = _published(shared.misc.path)
    if before and _covers(before.facts, now, leaves):
        return None
    try:
        _make(order, shared, leaves, now, before)
    except _Differs as differs:
        return _other_files(differs.args[0])
    except BaseException as error:  # anything that user code raises, including SystemExit
        print(told := traced(error), file=sys.stderr)
        place = user_code.place(error)
        message = f"`{shared.spec.__name__}.prepare` failed"
        at = place.span if place else None
        return Finding(-1, ("mlspec",), "E415", message, located(error), at=at, traceback=told)
    return None


def counted(answer: Smoked, shared: Shared) -> Smoked:
    """Return the answer, with the knobs that `prepare` read counted as read."""
    found = _published(shared.misc.path) if prepares(shared.spec) else None
    if found is None:
        return answer
    reads = {read: value for each in _known(found.facts) for read, value in each.items()}
    known = tuple(path for path in answer.unread if seen(reads, path))
    unread = tuple(path for path in answer.unread if path not in known)
    return replace(answer, read=answer.read + known, unread=unread, sought=(*answer.sought, *sought(reads)))


def _make(
    order: Preparation,
    shared: Shared,
    leaves: Sequence[LeafConfig],
    now: Mapping[str, Plain],
    before: Published | None,
) -> None:
    """Run `prepare` and publish its files. Raises _Differs, OSError, and what `prepare` raises."""
    target = shared.misc.path
    publication.sweep(target.parent)
    reads: list[Reads] = [{} for _ in leaves]
    cfgs = tuple(TrackedConfig(leaf, its) for leaf, its in zip(leaves, reads, strict=True))
    with publication.draft(target) as draft:
        rng.reseed(order.seed, "prepare")
        with shared.settings.apart():
            shared.spec().prepare(draft, copy.deepcopy(json.loads(shared.setup.data) or {}), cfgs)
        files = publication.measured(draft)
        if order.kept and before and before.files != files:
            raise _Differs(sorted(_differing(before.files, files)))
        publication.issue(draft, target, files, {**now, "reads": _distinct(reads)})


def _splits(order: Preparation, shared: Shared) -> str:
    """Hashes of the data that the first run loads, which `prepare` may depend on."""
    try:
        return shared.data.load(order.seed, json.loads(order.cfgs[0])).fingerprint
    except Exception:  # the run fails later, unless `prepare` makes what load_data needs
        return ""


def _covers(facts: Mapping[str, Any], now: Mapping[str, Plain], leaves: Sequence[LeafConfig]) -> bool:
    """Whether `prepare` would see the same code, data and knobs as when these files were made."""
    same = all(facts.get(name) == value for name, value in now.items())
    return same and all(any(agrees(reads, leaf) for reads in _known(facts)) for leaf in leaves)


def _known(facts: Mapping[str, Any]) -> list[Reads]:
    """The distinct sets of reads that `prepare` made in leaf configs."""
    return [{(tuple(path), deep): value for path, deep, value in each} for each in facts["reads"]]


def _distinct(reads: Sequence[Reads]) -> list[Plain]:
    """The distinct sets of reads as sorted plain data."""
    spelt = {canonical([[list(path), deep, value] for (path, deep), value in each.items()]) for each in reads}
    return [json.loads(text) for text in sorted(spelt)]


def _differing(before: Mapping[str, Plain], now: Mapping[str, Plain]) -> set[str]:
    return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}


def _other_files(names: Sequence[str]) -> Finding:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    message = "`prepare` made different files than earlier runs were trained with"
    return Finding(
        *(-1, ("mlspec",), "E606", message),
        found=f"changed: {', '.join(names[:SHOWN])}{more}",
        hint="use `fit --fresh` to start over, or `fit --accept-changes` to continue",
    )


def _published(path: Path) -> Published | None:
    try:
        return publication.verify(path)
    except Damaged:
        return None
