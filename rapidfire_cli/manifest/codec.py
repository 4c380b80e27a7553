"""Write and read manifest.jsonl: one line per run, after an optional header for the experiment."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, assert_never

from rapidfire_cli.manifest.identity import identify
from rapidfire_cli.problems import Problem, Refusal, SourceName, Span
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.syntax.json_reader import read_json
from rapidfire_cli.syntax.parser import understand
from rapidfire_cli.syntax.serialize import whole
from rapidfire_cli.terms import (
    SEED_LIMIT,
    Clone,
    Fork,
    OomRetry,
    Origin,
    Plain,
    Proposal,
    Run,
    WarmStart,
    canonical,
)

FIELDS: Mapping[str, tuple[str, Callable[[Any], object]]] = {
    "number": ("an integer of at least 1", lambda value: type(value) is int and value >= 1),
    "id": ("16 hex digits", lambda value: type(value) is str and re.fullmatch("[0-9a-f]{16}", value)),
    "group": ("an integer of at least 1", lambda value: type(value) is int and value >= 1),
    "config": ("a mapping", lambda value: type(value) is dict),
    "seed": (
        f"an integer of at least 0 and below {SEED_LIMIT:,}",
        lambda value: type(value) is int and 0 <= value < SEED_LIMIT,
    ),
    "replicate": ("an integer of at least 0", lambda value: type(value) is int and value >= 0),
    "origin": (
        '{"run": …, "why": "oom" or "clone"}, or that of a proposal or fork',
        lambda value: value is None or _is_origin(value),
    ),
    "warm_start": ('{"run": ID, "epoch": …}', lambda value: value is None or _is_warm_start(value)),
}
"""What each field of a line must be; `replicate` is left out when it is 0, and what there is none of."""


def line(  # noqa: PLR0913, PLR0917 - the fields of a run
    number: int,
    id: str,
    group: int,
    config: str,
    seed: int,
    replicate: int = 0,
    origin: Origin | None = None,
    warm_start: WarmStart | None = None,
) -> str:
    """The manifest line of the run with these fields, newline included."""
    tail = f',"replicate":{replicate}' if replicate else ""
    tail += f',"origin":{canonical(spelt(origin))}' if origin else ""
    tail += f',"warm_start":{canonical(spelt_warm(warm_start))}' if warm_start else ""
    return f'{{"number":{number},"id":"{id}","group":{group},"config":{config},"seed":{seed}{tail}}}\n'


def write(run: Run) -> str:
    """The manifest line of a run, newline included."""
    fields = (run.number, run.id, run.group, run.config, run.seed, run.replicate)
    return line(*fields, run.origin, run.warm_start)


def spelt(origin: Origin) -> dict[str, Plain]:
    """The origin as plain data; `apart` is left out when it is false, and lists when they are empty."""
    match origin:
        case OomRetry(run, apart):
            return {"run": run, "why": "oom", **({"apart": True} if apart else {})}
        case Clone(run):
            return {"run": run, "why": "clone"}
        case Proposal(search, place, unfinished, failed, pruned, basis):
            lists: dict[str, Plain] = {
                "unfinished": [*unfinished],
                "failed": [*failed],
                "pruned": [[*each] for each in pruned],
            }
            known = {name: runs for name, runs in lists.items() if runs}
            return {"search": search, "place": place, **known, "basis": basis, "why": "proposal"}
        case Fork():
            return {**asdict(origin), "why": "fork"}
    assert_never(origin)


def origin_of(plain: Mapping[str, Any]) -> Origin:
    """Read an origin from plain data, the inverse of `spelt`."""
    if plain["why"] == "clone":
        return Clone(plain["run"])
    if plain["why"] == "proposal":
        unfinished, failed = (tuple(plain.get(name, ())) for name in ("unfinished", "failed"))
        pruned = tuple((run, epoch) for run, epoch in plain.get("pruned", ()))
        return Proposal(plain["search"], plain["place"], unfinished, failed, pruned, plain["basis"])
    if plain["why"] == "fork":
        return Fork(**{name: value for name, value in plain.items() if name != "why"})
    return OomRetry(plain["run"], plain.get("apart", False))


def spelt_warm(warm: WarmStart) -> dict[str, Plain]:
    """The warm start as plain data; flags are left out when they are false."""
    flags: dict[str, Plain] = {"matching": warm.matching, "keep_schedule": warm.keep_schedule}
    return {"run": warm.run, "epoch": warm.epoch, **{name: flag for name, flag in flags.items() if flag}}


def header(file: ExperimentFile) -> str:
    """The experiment as the first line of a manifest, newline included."""
    return f"{json.dumps(whole(file), ensure_ascii=False)}\n"


def read_whole(text: str, file: str) -> tuple[ExperimentFile, tuple[Run, ...]]:
    """The experiment in a manifest's header, and its runs, whose ids are theirs. Raises Refusal."""
    file = SourceName(file, text)
    head, _, lines = text.partition("\n")
    if not head.startswith('{"experiment":'):
        raise Refusal([_headless(Span(file, 1, 1))])
    experiment = understand(read_json(head, file, most=len(head)), file)
    runs = read(lines, file, first=2)
    _check_against(experiment, runs, file)
    return experiment, runs


def read(text: str, file: str, first: int = 1) -> tuple[Run, ...]:
    """The runs of a manifest without header, its lines counted from `first`.

    Raises Refusal with every line that is none; `file` is its name in there.
    """
    if first == 1:  # else it is the name of the whole
        file = SourceName(file, text)
    runs: dict[int, Run] = {}
    problems = []
    for place, words in enumerate(text.removesuffix("\n").split("\n") if text else (), first):
        try:
            run = _run(words)
            if runs.setdefault(run.number, run) is not run:
                raise ValueError(f"duplicate run number {run.number}")
        except (ValueError, RecursionError) as error:
            problems.append(_problem(error, Span(file, place, getattr(error, "colno", 1))))
    if problems:
        raise Refusal(problems)
    return tuple(runs.values())


def without_torn_line(text: str) -> str:
    """The manifest up to its last whole line: a run is appended while others train, and that can be cut off.

    The run of such a line was never admitted: it has not been trained.
    """
    return text[: text.rfind("\n") + 1]


def _check_against(experiment: ExperimentFile, runs: Sequence[Run], file: str) -> None:
    """Check that each run's id is that of the experiment. Raises Refusal."""

    @cache
    def name(seed: int, replicate: int, warm: WarmStart | None) -> Callable[[str], str]:
        return identify(experiment.mlspec, experiment.data, seed, replicate, warm)

    for place, run in enumerate(runs, 2):
        right = name(run.seed, run.replicate, run.warm_start)(run.config)
        if run.id != right or run.group > len(experiment.groups):
            message = "this run does not belong to the experiment in the first line"
            found = f"id {run.id}, group {run.group}"
            expected = f"id {right}, a group up to {len(experiment.groups)}"
            hint = "write a new manifest with `rapidfire expand FILE --output jsonl --header`"
            raise Refusal([Problem("E333", message, Span(file, place, 1), found, expected, hint)])


def _headless(span: Span) -> Problem:
    return Problem(
        "E334",
        "the manifest has no header",
        span,
        expected='{"experiment": …, "mlspec": …} as the first line',
        hint="write it with `rapidfire expand FILE --output jsonl --header`",
    )


def _run(words: str) -> Run:
    record = json.loads(words, object_pairs_hook=_mapping, parse_constant=_not_json)
    _check(record)
    config = canonical(record["config"])
    config.encode()  # raises ValueError on lone surrogates, which no id can be made of
    origin = origin_of(record["origin"]) if record.get("origin") else None
    warm = WarmStart(**record["warm_start"]) if record.get("warm_start") else None
    return Run(**{**record, "config": config, "origin": origin, "warm_start": warm})


def _check(record: Any) -> None:
    if not isinstance(record, dict):
        raise ValueError("not a mapping")
    for name in record.keys() - FIELDS.keys():
        raise ValueError(f"unknown field {name!r}")
    for name, (expected, fits) in FIELDS.items():
        if not fits(record.get(name, 0 if name == "replicate" else None)):
            raise ValueError(f"{name!r} must be {expected}")


def _is_origin(value: Any) -> object:
    match value:
        case {"run": int(run), "why": "oom", **rest} if type(run) is int and run >= 1:
            return rest in ({}, {"apart": True})
        case {"run": int(run), "why": "clone", **rest} if type(run) is int and run >= 1:
            return rest == {}
        case {"search": str(search), "place": int(place), "basis": str(basis), "why": "proposal", **rest}:
            pruned = rest.pop("pruned", [])
            paired = isinstance(pruned, list) and all(_are_counts(pair) and len(pair) == 2 for pair in pruned)
            counts = [[place], *(rest.pop(name, []) for name in ("unfinished", "failed"))]
            named = all(re.fullmatch("[0-9a-f]{16}", name) for name in (search, basis))
            return named and paired and all(map(_are_counts, counts)) and rest == {}
        case {"population": str(name), "why": "fork", **rest}:
            numbers = rest.keys() == {"epochs", "place", "run", "instead"} and _are_counts([*rest.values()])
            return numbers and re.fullmatch("[0-9a-f]{16}", name)
    return False


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 1 for each in value)


def _is_warm_start(value: Any) -> bool:
    match value:
        case {"run": str(), "epoch": int(epoch), **rest} if type(epoch) is int and epoch >= 1:
            return rest.keys() <= {"matching", "keep_schedule"} and set(rest.values()) <= {True}
    return False


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("duplicate key")
    return mapping


def _not_json(word: str) -> None:
    raise ValueError(f"{word} is not valid JSON")


def _problem(error: Exception, span: Span) -> Problem:
    match error:
        case json.JSONDecodeError():
            cause = "not valid JSON"
        case RecursionError():
            cause = "nested too deeply"
        case _:
            cause = str(error)
    return Problem(
        "E332",
        f"invalid manifest line: {cause}",
        span,
        expected='{"number": …, "id": …, "group": …, "config": {…}, "seed": …}',
        hint="write manifests with `rapidfire expand FILE --output jsonl`",
    )
