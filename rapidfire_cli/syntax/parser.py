"""The production of the experiment file as a whole."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from rapidfire_cli.problems import Problem, Refusal, SourceName, Span
from rapidfire_cli.shapes import Free, Record
from rapidfire_cli.syntax.ast import ExperimentFile, Group
from rapidfire_cli.syntax.check import Place, check_shape
from rapidfire_cli.syntax.diagnostics import Diagnostics
from rapidfire_cli.syntax.extends import Opener, alone, extended
from rapidfire_cli.syntax.groups import WORDS, groups, opened
from rapidfire_cli.syntax.keys import EXTENDS, FILE, GROUP_KEYS, SEARCHES, SIZES
from rapidfire_cli.syntax.nodes import Document, Mapping, Node, kind
from rapidfire_cli.syntax.overrides import Argument, overridden
from rapidfire_cli.syntax.readers import read
from rapidfire_cli.syntax.text import MAX_BYTES
from rapidfire_cli.syntax.toml_paths import name_paths
from rapidfire_cli.syntax.values import tree, value_sets
from rapidfire_cli.terms import DEFAULT_SEED, Execution, Objective, Tracker

_KNOWN = Record(
    {**FILE.keys, "extends": EXTENDS, **dict.fromkeys(GROUP_KEYS, Free())},
    hint=f"put the sections of a config under {WORDS}",
)


def parse(
    data: bytes,
    file: str,
    max_bytes: int = MAX_BYTES,
    opener: Opener = alone,
    arguments: Sequence[Argument] = (),
) -> ExperimentFile:
    """Parse the bytes of `file`, with the files it extends and the command line's arguments.

    Raises Refusal with every problem found.
    """
    file = SourceName(file, data.decode(errors="replace"))
    whole = extended(read(data, file, max_bytes), file, opener, max_bytes)
    return understand(overridden(whole, arguments), file)


def understand(document: Document, file: str) -> ExperimentFile:
    """Parse a document. Raises Refusal with every problem found, including the reader's."""
    diagnostics = Diagnostics({problem.span for problem in document.problems if problem.span})
    understood = experiment_file(document.root, file, diagnostics)
    if understood is None or document.problems:
        problems = name_paths({*document.problems, *diagnostics.problems}, document.places)
        raise Refusal(sorted(problems, key=_place))
    warnings = name_paths({*diagnostics.warnings}, document.places)
    return replace(
        understood,
        origins=diagnostics.origins,
        keys=diagnostics.keys,
        warnings=tuple(sorted(warnings, key=_place)),
    )


def experiment_file(root: Node, file: str, diagnostics: Diagnostics) -> ExperimentFile | None:
    """file := `{` [experiment] [mlspec] [data] [seed] [objective] [execution] [trackers] opened `}`.

    opened := config_group | group

    None when it is wrong, which is then noted.
    """
    if not isinstance(root, Mapping):
        expected = f"a mapping with `config_group:`, {WORDS}"
        diagnostics.error("E203", "not an experiment", root.span, found=kind(root), expected=expected)
        return None
    understood = tuple(config_group(root, diagnostics))
    _, facts = root.split(GROUP_KEYS)
    check_shape(_KNOWN, facts, Place("the file", "", root.span), diagnostics)
    _check_data(facts, diagnostics)
    _check_execution(facts, diagnostics)
    diagnostics.trace(facts, ())
    return None if diagnostics.errors else _experiment(facts, understood, file, diagnostics)


def config_group(root: Mapping, diagnostics: Diagnostics) -> Iterator[Group]:
    """config_group := `config_group:` groups | group, exactly one in a file."""
    openers = [entry for entry in root.entries if entry.key in GROUP_KEYS]
    if len(openers) == 1 and openers[0].key == "config_group":
        yield from groups(openers[0].node, ("config_group",), diagnostics)
    else:
        yield from opened(openers, root.span, (), diagnostics)


def _check_data(facts: Mapping, diagnostics: Diagnostics) -> None:
    data = facts.get("data")
    for found in value_sets(data.node) if data else ():
        hint = f"value sets are allowed under {SEARCHES}"
        diagnostics.error(
            "E301", "`data` cannot contain value sets", found.span, found=kind(found), hint=hint
        )


def _check_execution(facts: Mapping, diagnostics: Diagnostics) -> None:
    execution = facts.get("execution")
    changes = execution.node.get("on_oom") if execution and isinstance(execution.node, Mapping) else None
    if changes:
        from rapidfire_cli.syntax.on_oom import check_on_oom  # only files that have some wait for it

        check_on_oom(changes.node, diagnostics)
    if execution and isinstance(execution.node, Mapping):
        _check_counts(execution.node, diagnostics)


def _check_counts(execution: Mapping, diagnostics: Diagnostics) -> None:
    """Note `runs_per_gpu` beside `workers`: both say how many processes train."""
    each, all_together = execution.get("runs_per_gpu"), execution.get("workers")
    if each and all_together:
        diagnostics.error(
            "E211",
            "`execution.runs_per_gpu` and `execution.workers` cannot be combined",
            each.at,
            expected="one of them",
            hint="`workers` counts all processes, `runs_per_gpu` those on each GPU; remove one",
        )


def _experiment(
    facts: Mapping, understood: tuple[Group, ...], file: str, diagnostics: Diagnostics
) -> ExperimentFile:
    given: dict[str, Any] = {entry.key: tree(entry.node, diagnostics) for entry in facts.entries}
    return ExperimentFile(
        name=given.get("experiment", slug(PurePath(file).stem)),
        groups=understood,
        mlspec=given.get("mlspec"),
        data=given.get("data"),
        seed=given.get("seed", DEFAULT_SEED),
        objective=Objective(**given["objective"]) if "objective" in given else None,
        execution=_execution(given.get("execution", {})),
        trackers=tuple(dict.fromkeys(map(Tracker, given.get("trackers", ())))),
    )


def _execution(given: dict[str, Any]) -> Execution:
    for name in ("data_cache", "disk_cache"):
        if isinstance(size := given.get(name), str):
            number, unit = re.findall(r"\d+|[A-Za-z]+", size)
            given = {**given, name: int(number) * SIZES[unit]}
    if "on_oom" in given:
        from rapidfire_cli.syntax.on_oom import flat

        given = {**given, "on_oom": dict(flat(given["on_oom"])) or None}
    return Execution(**given)


def slug(text: str) -> str:
    """A name for an experiment, made from any text."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:100] or "experiment"


def _place(problem: Problem) -> tuple[Span, str, str]:
    return problem.span or Span("", 0, 0), problem.code, problem.message
