"""What every journal keeps to: what was committed is durable, all or none; what was not is not."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rapidfire_cli.engine import ports
from rapidfire_cli.facts import BracketBegun, Fact, RunLeft
from rapidfire_cli.store.history import history
from rapidfire_cli.store.journal import SqliteJournal
from tests.app import fake_workers
from tests.app.fake_workers import FaultRates
from tests.engine.test_driver import Notebook
from tests.store.sweep import METADATA, runs

BEGUN, LEFT = BracketBegun(1, "{}", (1, 2), (5, 5)), RunLeft(2, 1, "the rule changed")


@dataclass
class Kept:
    """A journal, and what is durable of it."""

    journal: ports.Journal
    durable: Callable[[], Sequence[Fact]]


@pytest.fixture(params=["sqlite", "sqlite of a controller that may die", "in memory"])
def kept(request, tmp_path: Path) -> Iterator[Kept]:
    path = tmp_path / "journal.db"
    match request.param:
        case "sqlite":
            journal = SqliteJournal(path)
        case "in memory":
            notebook = Notebook()
            yield Kept(notebook, lambda: notebook.facts[: notebook.kept])
            return
        case _:
            journal = fake_workers.Journal(path, FaultRates(), [])
    journal.enroll(replace(METADATA), runs(2), [5, 5])
    yield Kept(journal, lambda: history(path))
    journal.close()


def test_what_is_committed_is_durable_in_its_order(kept: Kept):
    kept.journal.take([BEGUN])
    kept.journal.take([LEFT])
    kept.journal.commit()
    assert [*kept.durable()] == [BEGUN, LEFT]


def test_what_is_only_taken_is_not_durable(kept: Kept):
    kept.journal.take([BEGUN])
    assert [*kept.durable()] == []
    kept.journal.commit()
    kept.journal.take([LEFT])
    assert [*kept.durable()] == [BEGUN]


def test_committing_nothing_changes_nothing(kept: Kept):
    kept.journal.commit()
    kept.journal.take(())
    kept.journal.commit()
    assert [*kept.durable()] == []
