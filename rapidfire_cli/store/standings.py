"""Where runs stood when the journal last heard of them: what `fit` needs to go on."""

from dataclasses import dataclass
from pathlib import Path

from rapidfire_cli.store.about import about
from rapidfire_cli.store.connection import begun, reader
from rapidfire_cli.terms import Run, RunState

RUNS = """
    SELECT runs.number, id, "group", config, seed, replicate, state, durable, epoch, bracket, rule
    FROM runs LEFT JOIN brackets ON bracket = brackets.number ORDER BY runs.number"""


@dataclass(frozen=True, slots=True)
class Standing:
    """A run that the journal knows, listed or not, under its lasting number."""

    run: Run
    state: RunState
    durable: int  # ticks that a checkpoint holds
    epoch: int  # finished, and its metrics kept
    bracket: int | None = None  # of early stopping
    rule: str | None = None  # the bracket's, as canonical JSON


def standings(journal: Path, chunks: int) -> tuple[Standing, ...]:
    """Every run ever numbered, by number, its ticks counted in `chunks` per epoch; none without a journal."""
    if not journal.is_file():
        return ()
    with reader(journal) as db:
        if not begun(db):
            return ()
        before = about(db).chunks
        return tuple(
            Standing(Run(*run), RunState(state), durable * chunks // before, epoch, bracket, rule)
            for *run, state, durable, epoch, bracket, rule in db.execute(RUNS)
        )
