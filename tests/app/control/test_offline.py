"""Requests while nothing trains: the verb holds the lock itself."""

from dataclasses import replace

import pytest

from rapidfire_cli.app.control import side_file, trash
from rapidfire_cli.app.control.asking import new_request, send
from rapidfire_cli.app.control.offline import catch_up
from rapidfire_cli.app.verbs.log import log
from rapidfire_cli.facts import BracketBegun, RequestTaken, RunChanged, RunLeft
from rapidfire_cli.requests import Answer, Ask, Delete, Purge, Restore, Resume, Stop, Undo
from rapidfire_cli.store.history import history
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.known_runs import known_runs
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.terms import RunState
from rapidfire_cli.view.formats import Output
from tests.store.sweep import enrolled


@pytest.fixture
def home(tmp_path):
    home = ExperimentDir(tmp_path / "digits")
    journal = enrolled(home.journal)
    journal.record([BracketBegun(1, "{}", (1, 2, 3), (5, 5, 5)), RunChanged(3, RunState.PRUNED)])
    journal.close()
    return home


def states(home: ExperimentDir) -> list[str]:
    return [str(one.state) for one in known_runs(home.journal, 1)]


def asked(home: ExperimentDir, ask: Ask) -> tuple[Answer, ...]:
    reply = send(home, new_request(ask, "cli"))
    assert not reply.live
    return reply.answers


def test_a_stop_takes_the_run_out_of_its_bracket_ranked_worst(home):
    asked(home, Stop((1,)))
    assert states(home) == ["stopped", "queued", "pruned"]
    assert history(home.journal)[-1] == RunLeft(1, 1, "stopped by the user", worst=True)


def test_a_run_that_is_resumed_is_trained_by_the_next_fit_outside_its_bracket(home):
    asked(home, Stop((1,)))
    assert [answer.text for answer in asked(home, Resume((1, 3)))] == ["resumed", "resumed"]
    assert states(home) == ["queued", "queued", "queued"]
    assert [one.bracket for one in known_runs(home.journal, 1)] == [None, 1, None]


def test_the_log_lists_refused_requests_only_when_asked_for_all(home, capsys):
    asked(home, Stop((1,)))
    asked(home, Stop((3,)))
    assert log(str(home.path), None, False, Output.TABLE) == 0
    shown = capsys.readouterr()
    assert "stop 1" in shown.out and "stop 3" not in shown.out
    assert shown.err == "1 refused request not shown (--all shows them)\n"
    assert log(str(home.path), None, True, Output.TABLE) == 0
    assert "refused: already pruned" in capsys.readouterr().out


def with_checkpoint(home: ExperimentDir, run: int) -> str:
    """Give the run a directory; its name."""
    [one] = [one for one in known_runs(home.journal, 1) if one.run.number == run]
    home.run(one.run).mkdir(parents=True)
    (home.run(one.run) / "log.txt").write_text("trained")
    return home.run(one.run).name


def test_a_deleted_run_is_in_the_trash_until_it_is_restored(home):
    name = with_checkpoint(home, 3)
    asked(home, Delete((3, 1)))
    assert states(home) == ["deleted", "queued", "deleted"]
    assert (home.trash / name / "log.txt").is_file() and not (home.runs / name).exists()
    asked(home, Restore((3, 1)))
    assert states(home) == ["stopped", "queued", "pruned"], "a run that was wanted is stopped before"
    assert (home.runs / name / "log.txt").is_file()


def test_a_purged_run_is_gone_and_cannot_be_restored(home):
    name = with_checkpoint(home, 3)
    asked(home, Delete((3,)))
    asked(home, Purge((3,)))
    assert not (home.trash / name).exists()
    assert [answer.text for answer in asked(home, Restore((3,)))] == ["already purged"]


@pytest.mark.parametrize(
    ("ask", "between", "after"),
    [
        (Stop((1,)), "stopped", "queued"),
        (Delete((3,)), "deleted", "pruned"),
        (Resume((3,)), "queued", "stopped"),
    ],
)
def test_undo_reverts_the_last_request_and_undoing_that_reverts_the_undo(home, ask, between, after):
    run = ask.runs[0] - 1
    asked(home, ask)
    assert states(home)[run] == between
    asked(home, Undo())
    assert states(home)[run] == after
    asked(home, Undo())
    assert states(home)[run] == between


def test_what_cannot_be_undone_is_refused_with_the_reason(home):
    assert [answer.text for answer in asked(home, Undo())] == ["you have not changed anything"]
    asked(home, Delete((3,)))
    asked(home, Purge((3,)))
    assert [answer.text for answer in asked(home, Undo())] == ["purged runs cannot be restored"]


def test_a_kill_between_the_rename_and_the_journal_leaves_a_run_that_is_deleted_completely(home, monkeypatch):
    name = with_checkpoint(home, 3)

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trash, "throw_away", crash)
        asked(home, Delete((3,)))
    assert states(home)[2] == "pruned"
    catch_up(home)
    assert states(home)[2] == "deleted" and (home.trash / name).is_dir()


def test_a_run_that_was_being_stopped_when_the_fit_was_killed_is_not_continued(home):
    journal = SqliteJournal(home.journal)
    request = new_request(Stop((1,)), "cli")
    side_file.note(home, request)
    answers = (Answer(1, "accepted", "stopping", changed=True),)
    journal.record([RunChanged(1, RunState.RUNNING), RequestTaken(request, answers)])
    journal.close()
    catch_up(home)
    assert states(home)[0] == "stopped"


def test_a_request_that_is_sent_twice_counts_once(home):
    request = new_request(Stop((1,)), "cli")
    first = send(home, request)
    asked(home, Resume((1,)))
    assert send(home, request) == first
    assert states(home)[0] == "queued"
    assert len(requests_taken(home.journal)) == 2


def test_the_journal_says_who_asked(home):
    asked(home, Stop((1, 9)))
    [recorded] = requests_taken(home.journal)
    request, answers = recorded.taken.request, recorded.taken.answers
    assert request.uid >= 0 and request.pid > 0 and request.ask == Stop((1, 9))
    assert [answer.outcome for answer in answers] == ["applied", "refused"]


def test_a_request_that_a_kill_interrupted_is_carried_out_by_the_next_holder_of_the_lock(home):
    side_file.note(home, new_request(Stop((2,)), "cli"))
    with home.requests.open("a") as file:
        file.write('{"is": "Request", "torn')
    catch_up(home)
    assert states(home)[1] == "stopped"
    side_file.note(home, later := new_request(Stop((1,)), "cli"))
    assert [*side_file.noted(home)][-1] == later, "it does not continue the torn line"


def test_the_journal_is_read_and_written_by_one_table(home):
    asked(home, Stop((1,)))
    asked(home, Undo())
    kinds = [type(each.taken.request.ask) for each in requests_taken(home.journal)]
    assert kinds == [Stop, Undo] and requests_taken(home.journal)[1].taken.request.means == Resume((1,))


def test_what_changes_nothing_is_only_in_the_journal(home):
    asked(home, Stop((9,)))
    assert not home.requests.exists()
    assert len(requests_taken(home.journal)) == 1


def test_a_run_in_another_state_than_expected_is_refused(home):
    request = replace(new_request(Stop((1,)), "cli"), if_state="running")
    assert [answer.text for answer in send(home, request).answers] == ["is queued, not running"]
