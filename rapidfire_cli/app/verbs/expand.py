"""`expand`: the runs of a file, before anything is trained."""

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple, TypeAlias, assert_never

from rapidfire_cli.app.errors import say
from rapidfire_cli.app.files import Given, argument, load
from rapidfire_cli.app.printing import print_rows
from rapidfire_cli.manifest.codec import header, write
from rapidfire_cli.manifest.counting import planned, proposals, total
from rapidfire_cli.manifest.expand import expand as runs_of
from rapidfire_cli.manifest.expand import jsonl, repeats
from rapidfire_cli.manifest.summary import description, summaries
from rapidfire_cli.manifest.varied import every, varied
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.syntax.ast import AdaptiveSearch, ExperimentFile
from rapidfire_cli.terms import Plain, Run
from rapidfire_cli.view.expansion import csv_pieces, expansion_table, group_lines, json_pieces, yaml_pieces
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.tables import show
from rapidfire_cli.view.wording import counted

FILTER, WHY = "--filter", "--why"
PREVIEW = 1000  # rows of a table without --limit (assumed: more are not read)
BATCH = 256  # pieces per write: they stay in the cache (measured: a fifth faster than 4,096)

Chooser: TypeAlias = Callable[[Run], bool]


class Shown(NamedTuple):
    """The options for showing runs."""

    output: Output = Output.TABLE
    limit: int | None = None
    condition: str | None = None
    headed: bool = False
    slots: int | None = None


def expand(given: Given, count: bool, why: int | None, shown: Shown) -> int:
    """Print the runs, or only how many there are, or where the knobs of one come from; the exit code."""
    try:
        file = load(*given)
        chosen = _chosen(file, shown.condition)
        run = None if why is None else _run(file, why)
    except Refusal as refusal:
        return say(refusal.problems, shown.output)
    say(file.warnings)
    if any(warning.code == "W201" for warning in file.warnings):
        from rapidfire_cli.app.devices import spread_note

        print(end=spread_note(file), file=sys.stderr)
    sys.set_int_max_str_digits(0)  # a few lists can multiply to a count of more than 4,300 digits
    if count:
        print(planned(file) if chosen is None else sum(map(chosen, runs_of(file))))
    elif run is not None:
        _print_why(file, run, shown.output)
    else:
        _print(file, chosen, shown)
    return 0


def _chosen(file: ExperimentFile, condition: str | None) -> Chooser | None:
    """Which runs to show; None means every one. Raises Refusal when the condition cannot be understood."""
    if condition is None:
        return None
    from rapidfire_cli.manifest.choice import chooser

    return chooser(file, condition, argument(FILTER, condition))


def _run(file: ExperimentFile, number: int) -> Run:
    """The run with this number. Raises Refusal if it does not exist."""
    run = next(islice(runs_of(file), number - 1, None), None) if number <= total(file) else None
    if run is None:
        at, expected = argument(WHY, f"{number}"), f"a number from 1 to {total(file):,}"
        hint = "use `rapidfire why RUN` for runs that are born while others train"
        hint *= planned(file) > total(file)
        raise Refusal([Problem("E512", f"run {number} does not exist", at, expected=expected, hint=hint)])
    return run


def _print(file: ExperimentFile, chosen: Chooser | None, shown: Shown) -> None:
    runs = islice(_runs(file, chosen), shown.limit)
    match shown.output:
        case Output.TABLE:
            _print_table(file, chosen, shown)
        case Output.JSONL:
            head = [header(file)] if shown.headed else []
            _stream(chain(head, islice(_lines(file, chosen), shown.limit)))
        case Output.JSON:
            _stream(json_pieces(_description(file, shown), islice(_lines(file, chosen), shown.limit)))
        case Output.YAML:
            _stream(yaml_pieces(_description(file, shown), runs))
        case Output.CSV:
            _stream(csv_pieces(every(file), runs))
        case _:
            assert_never(shown.output)


def _runs(file: ExperimentFile, chosen: Chooser | None) -> Iterator[Run]:
    return runs_of(file) if chosen is None else filter(chosen, runs_of(file))


def _lines(file: ExperimentFile, chosen: Chooser | None) -> Iterator[str]:
    return jsonl(file) if chosen is None else map(write, filter(chosen, runs_of(file)))


def _description(file: ExperimentFile, shown: Shown) -> dict[str, Plain]:
    found = description(file)
    if shown.condition is not None:
        found["filter"] = shown.condition
    if shown.slots is not None:
        from rapidfire_cli.app.timeline import timeline
        from rapidfire_cli.view.timeline import timeline_document

        found["timeline"] = timeline_document(timeline(file, shown.slots))
    return found


def _stream(pieces: Iterable[str]) -> None:
    """Write the pieces, including those before a Refusal."""
    left = iter(pieces)
    batch: list[str] = []
    try:
        batch.extend(islice(left, BATCH))
        while batch:
            sys.stdout.write("".join(batch))
            batch.clear()
            batch.extend(islice(left, BATCH))
    except Refusal:
        sys.stdout.write("".join(batch))
        raise


def _print_table(file: ExperimentFile, chosen: Chooser | None, shown: Shown) -> None:
    """A line for the whole, some per group, how it would go, then the runs."""
    groups = summaries(file)
    print(f"{file.name}: {counted(planned(file), 'run')} in {counted(len(groups), 'group')}")
    for group in groups:
        print("\n".join(group_lines(group)))
    if shown.slots is not None:
        _print_timeline(file, shown.slots)
    print()
    runs = _runs(file, chosen)
    limit = PREVIEW if shown.limit is None else shown.limit
    previewed = list(islice(runs, limit))
    show(expansion_table(previewed, varied(file)), sys.stdout)
    if next(runs, None) is not None:
        more = "more runs" if chosen else counted(total(file) - limit, "more run")
        print(f"… and {more} (--limit shows more, --output jsonl shows all)", file=sys.stderr)
    elif chosen:
        print(f"{len(previewed):,} of {counted(total(file), 'run')} match {FILTER}", file=sys.stderr)
    for run, earlier in repeats(file):
        print(f"warning: run {run} is the same as run {earlier}; both are trained", file=sys.stderr)


def _print_timeline(file: ExperimentFile, slots: int) -> None:
    from rapidfire_cli.app.timeline import timeline  # imported here, because few commands need it
    from rapidfire_cli.view.timeline import timeline_line

    later = sum(proposals(group) for group in file.groups if isinstance(group.generator, AdaptiveSearch))
    left_out = f" (without {counted(later, 'run')} that a search proposes)" if later else ""
    print(f"{timeline_line(timeline(file, slots))}{left_out}")


def _print_why(file: ExperimentFile, run: Run, output: Output) -> None:
    from rapidfire_cli.manifest.provenance import provenance
    from rapidfire_cli.view.provenance import provenance_record, provenance_table

    found = list(provenance(file, run))
    print_rows(
        output,
        lambda: provenance_table(found),
        lambda: {"run": run.number, "id": run.id, "knobs": [provenance_record(each) for each in found]},
        lambda: map(provenance_record, found),
    )
