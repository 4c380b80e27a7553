"""What `expand --why` prints."""

from collections.abc import Iterable

from rapidfire_cli.manifest.knob_paths import dotted
from rapidfire_cli.manifest.provenance import Provenance
from rapidfire_cli.problems import position
from rapidfire_cli.syntax.overrides import SET
from rapidfire_cli.terms import Plain
from rapidfire_cli.view.tables import Column, Table
from rapidfire_cli.view.wording import NOTHING, knob_text


def provenance_table(found: Iterable[Provenance]) -> Table[Provenance]:
    """The knobs of one run: where each value was written and how it was chosen."""
    columns: list[Column[Provenance]] = [
        Column("knob", lambda row: row.knob),
        Column("value", lambda row: knob_text(row.value)),
        Column("from", lambda row: position(row.span) if row.span else NOTHING),
        Column("how", how),
    ]
    return Table(columns, list(found))


def how(found: Provenance) -> str:
    """`value 2 of 3`, `drawn from the range, in alternative 1 of 2 of user_knobs`."""
    own = [choice for choice in found.choices if dotted(choice.at) == found.knob]
    around = [choice for choice in found.choices if choice not in own]
    words = {
        "constant": "constant",
        "list": " in ".join(f"value {choice.taken} of {choice.of}" for choice in reversed(own)),
        "range": "drawn from the range",
    }[found.source]
    inside = [
        f"in alternative {choice.taken} of {choice.of} of {dotted(choice.at)}" for choice in reversed(around)
    ]
    return ", ".join([words, *inside, *([f"set by {SET}"] if found.overridden else [])])


def provenance_record(found: Provenance) -> dict[str, Plain]:
    """The same for programs."""
    span = found.span
    return {
        "knob": found.knob,
        "value": found.value,
        "source": found.source,
        "choices": [
            {"knob": dotted(choice.at), "taken": choice.taken, "of": choice.of} for choice in found.choices
        ],
        "overridden": found.overridden,
        "file": span.file if span else None,
        "line": span.line if span else None,
        "column": span.column if span else None,
    }
