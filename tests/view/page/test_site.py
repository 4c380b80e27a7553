"""What the page's server answers: everything, then what changed; runs; requests, which go where others go."""

import asyncio
import json
import math
import struct

import pytest

from rapidfire_cli.app.control.selection import Selection
from rapidfire_cli.app.control.steering_verb import Options
from rapidfire_cli.app.verbs.delete import delete
from rapidfire_cli.app.verbs.show import show
from rapidfire_cli.durable.lock import lock
from rapidfire_cli.facts import RunAdmitted, RunChanged, RunFailed, TurnStarted
from rapidfire_cli.store.journal import SqliteJournal
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.requests_taken import requests_taken
from rapidfire_cli.terms import Clone, Fork, RunState
from rapidfire_cli.view.formats import Output
from rapidfire_cli.view.page.stream import Follower
from tests.store.sweep import enrolled, epoch
from tests.view.page.pages import POSTED, born, experiment, visitor


@pytest.fixture
def home(tmp_path):
    return experiment(tmp_path)


def test_a_tab_is_sent_everything_then_what_changed_then_nothing(home):
    journal = enrolled(home.journal)
    journal.record([epoch(1, 1, 0.7), RunChanged(1, RunState.RUNNING)])
    with lock(home.lock, "test"):
        follower = Follower(lambda: home)
        whole = follower.step()
        assert (whole.kind, whole.id) == ("snapshot", 2)
        assert whole.data["state"] == "running"
        assert whole.data["runs"]["number"] == [1, 2, 3]
        assert whole.data["runs"]["knobs"][0] == [[64], [32], [64]]
        assert whole.data["knobs"] == [["train.batch_size", "batch_size"], ["train.optimizer.args.lr", "lr"]]
        assert follower.step() is None
        journal.record([epoch(2, 1, 0.8), TurnStarted(2, 0, 2)])
        change = follower.step()
        assert (change.kind, change.id) == ("delta", 3)
        assert change.data["runs"]["number"] == [2]
        assert change.data["runs"]["training"] == [True]
        assert change.data["points"][-1] == [2, 1, 20, "validation", "top1_accuracy", 0.8]
        assert follower.step() is None
    ended = follower.step()  # the lock was let go
    assert (ended.kind, ended.data["state"]) == ("snapshot", "interrupted")
    follower.close()
    journal.close()


def test_where_showing_takes_long_changes_wait_but_not_the_end_of_a_fit(home):
    journal = enrolled(home.journal)
    with lock(home.lock, "test"):
        follower = Follower(lambda: home)
        follower._allowance.left = -math.inf
        assert follower.look().kind == "snapshot"
        journal.record([epoch(1, 1, 0.7)])
        assert follower.look() is None
    assert follower.look().data["state"] == "interrupted"
    follower.close()
    journal.close()


def test_a_tab_that_reconnects_gets_what_it_missed(home):
    journal = enrolled(home.journal)
    journal.record([RunChanged(1, RunState.RUNNING)])
    with lock(home.lock, "test"):
        first = Follower(lambda: home)
        whole = first.step()
        first.close()
        journal.record([epoch(3, 1, 0.9)])
        again = Follower(lambda: home, whole.data["journal"], whole.id, live=True)
        found = again.step()
        assert (found.kind, found.data["runs"]["number"]) == ("delta", [3])
        again.close()
        other = Follower(lambda: home, "another", whole.id, live=True)
        assert other.step().kind == "snapshot"
        other.close()
    journal.close()


def test_a_tab_that_reconnects_to_an_experiment_at_rest_gets_nothing_unless_it_missed_something(home):
    journal = enrolled(home.journal)
    journal.record([RunChanged(1, RunState.RUNNING)])
    client = visitor(home)
    whole = client.get("/api/changes").json()
    seen = {"journal": whole["data"]["journal"], "seq": whole["id"], "live": "0"}
    assert client.get("/api/changes", params=seen).json() is None
    assert client.get("/api/changes", params={**seen, "live": "1"}).json()["kind"] == "snapshot"
    journal.record([RunChanged(1, RunState.STOPPED)])
    assert client.get("/api/changes", params=seen).json()["kind"] == "snapshot"
    journal.close()


def test_a_clone_is_sent_with_all_runs_as_others_may_get_a_column_for_its_knobs(home):
    journal = enrolled(home.journal)
    journal.record([RunChanged(1, RunState.RUNNING)])
    with lock(home.lock, "test"):
        follower = Follower(lambda: home)
        follower.step()
        journal.record([RunAdmitted(born(4, Clone(1)))])
        found = follower.step()
        assert (found.kind, found.data["runs"]["number"]) == ("snapshot", [1, 2, 3, 4])
        assert found.data["runs"]["origin"][3] == {"run": 1, "why": "clone"}
        follower.close()
    journal.close()


def test_what_cannot_be_read_is_said(home):
    follower = Follower(lambda: None)
    assert follower.step().kind == "empty"
    assert follower.step() is None
    home.path.mkdir()
    home.journal.write_bytes(b"no database" * 200)
    damaged = Follower(lambda: home)
    found = damaged.step()
    assert found.kind == "problem"
    assert found.data["problems"][0]["code"] == "E604"
    assert damaged.step() is None


def test_messages_are_server_sent_events(home):
    enrolled(home.journal).close()

    async def first() -> str:
        messages = Follower(lambda: home).messages()
        try:
            assert await anext(messages) == "event: hello\ndata:\n\n"
            return await anext(messages)
        finally:
            await messages.aclose()

    lines = asyncio.run(first()).split("\n")
    assert lines[0] == "id: 0"
    assert lines[1] == "event: snapshot"
    assert json.loads(lines[2].removeprefix("data: "))["experiment"] == "digits"
    assert lines[3:] == ["", ""]


def test_polling_answers_the_same_as_the_stream(home):
    enrolled(home.journal).close()
    found = visitor(home).get("/api/changes").json()
    assert (found["kind"], found["data"]["runs"]["number"]) == ("snapshot", [1, 2, 3])


def test_values_that_json_lacks_are_sent_by_name(home):
    journal = enrolled(home.journal)
    journal.record([epoch(1, 1, math.nan, loss=math.inf)])
    journal.close()
    runs = visitor(home).get("/api/changes").json()["data"]["runs"]
    assert [column[0] for column in runs["metrics"]] == ["NaN", "Infinity", "Infinity"]


def test_curves_and_times_are_binary(home):
    journal = enrolled(home.journal)
    journal.record([epoch(2, 1, 0.5), epoch(2, 2, 0.75)])
    journal.close()
    client = visitor(home)
    found = client.get("/api/series?split=validation&metric=top1_accuracy").content
    assert struct.unpack("<8I2f", found) == (1, 2, 2, 2, 1, 2, 20, 40, 0.5, 0.75)
    assert struct.unpack("<8I2f", client.get("/api/times").content)[8:] == (1.0, 2.0)


def test_a_run_is_shown_with_its_failure_and_its_log(home):
    journal = enrolled(home.journal)
    journal.record(
        [RunFailed(1, "error", "ValueError: no", 3), RunChanged(1, RunState.FAILED, "ValueError: no")]
    )
    journal.close()
    log = home.path / "runs" / f"1-{1:016x}" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("<script>alert(1)</script>\n")
    client = visitor(home)
    found = client.get("/api/runs/1").json()
    assert found["troubles"][0]["what"] == "failed (error) at step 3: ValueError: no"
    lr = next(each for each in found["provenance"] if each["knob"] == "train.optimizer.args.lr")
    assert lr == {"knob": "train.optimizer.args.lr", "value": 0.001, "how": "", "at": None}
    assert client.get("/api/runs/1/log").json() == {"log": "<script>alert(1)</script>\n"}
    assert client.get("/api/runs/1/why").json()["why"][0] == "run 1 failed in epoch 1 of 5: ValueError: no"
    assert client.get("/api/runs/9").status_code == 422


@pytest.mark.parametrize("origin", [Clone(1), Fork("0" * 16, 1, 1, 1, 2)])
def test_the_knobs_of_a_clone_or_a_fork_say_what_was_changed(home, origin):
    journal = enrolled(home.journal)
    journal.record([RunAdmitted(born(5, origin))])
    journal.close()
    found = visitor(home).get("/api/runs/5").json()["provenance"]
    changed = {each["knob"]: each["how"] for each in found if each["how"]}
    assert changed == {"train.optimizer.args.lr": "changed for run 5"}


def test_a_run_is_shown_with_its_clones_as_by_show(home, capsys):
    journal = enrolled(home.journal)
    journal.record([RunAdmitted(born(4, Clone(1)))])
    journal.close()
    found = visitor(home).get("/api/runs/1").json()
    assert found.pop("provenance")
    show("1", str(home.path), None, Output.JSON)
    assert found == json.loads(capsys.readouterr().out)
    assert found["clones"] == [4]


def test_a_request_is_carried_out_and_recorded_as_one_of_the_page(home):
    enrolled(home.journal).close()
    home.file.write_text("config: {}\n")
    client = visitor(home)
    body = {"verb": "stop", "runs": [1, 2], "id": "0" * 8 + "-0000" * 3 + "-" + "0" * 12}
    found = client.post("/api/requests", headers=POSTED, json=body).json()
    assert found["live"] is False
    assert [(each["run"], each["outcome"]) for each in found["answers"]] == [(1, "applied"), (2, "applied")]
    client.post("/api/requests", headers=POSTED, json=body)  # sent twice: carried out once
    [taken] = requests_taken(home.journal)
    assert taken.taken.request.source == "web"
    [shown] = client.get("/api/requests").json()["requests"]
    assert (shown["text"], shown["source"]) == ("stop 1-2", "web")
    assert client.get("/api/changes").json()["data"]["requests"] == 1


def test_experiments_in_the_same_directory_can_be_looked_at_and_no_other(home, tmp_path):
    enrolled(home.journal).close()
    other, hidden = ExperimentDir(tmp_path / "other"), ExperimentDir(tmp_path / "apart" / "hidden")
    for each in (other, hidden):
        enrolled(each.journal).record([RunChanged(1, RunState.FAILED, "other")])
    (tmp_path / "empty").mkdir()
    client = visitor(home)
    assert client.get("/api/experiments").json() == {"experiments": ["digits", "other"]}

    def state(name: str) -> str:
        found: str = client.get(f"/api/changes?experiment={name}").json()["data"]["runs"]["state"][0]
        return found

    assert (state(""), state("digits"), state("other")) == ("queued", "queued", "failed")
    assert client.get("/api/runs/1?experiment=other").json()["state"] == "failed"
    body = {"verb": "delete", "runs": [1]}
    assert client.post("/api/requests?experiment=other", headers=POSTED, json=body).status_code == 200
    assert (state(""), state("other")) == ("queued", "deleted")
    for name in ("hidden", "apart/hidden", "../other", "empty", "/", "%2e%2e"):
        assert client.get(f"/api/runs/1?experiment={name}").status_code == 404
        assert client.get(f"/api/changes?experiment={name}").json()["kind"] == "empty"


def test_a_dry_request_is_answered_as_on_the_command_line_and_changes_nothing(home, capsys):
    enrolled(home.journal).close()
    client = visitor(home)
    body = {"verb": "delete", "runs": [1, 9], "dry_run": True}
    found = client.post("/api/requests", headers=POSTED, json=body).json()
    assert [(each["run"], each["text"]) for each in found["answers"]] == [
        (1, "deleted"),
        (9, "does not exist"),
    ]
    assert found["effects"] == ["0 B would go to the trash"]
    assert not requests_taken(home.journal)
    delete(Selection(("1", "9")), True, Options(str(home.path), None, None, True, Output.TABLE))
    told = capsys.readouterr()
    assert (
        "run 1: deleted" in told.out and f"dry run: nothing was changed ({found['effects'][0]})" in told.err
    )
    stop = {"verb": "stop", "runs": [1], "dry_run": True}
    assert client.post("/api/requests", headers=POSTED, json=stop).json()["effects"] == []


@pytest.mark.parametrize(
    "body",
    [
        "no JSON",
        [],
        {"verb": "explode", "runs": [1]},
        {"verb": "stop"},
        {"verb": "stop", "runs": []},
        {"verb": "stop", "runs": ["1"]},
        {"verb": "stop", "runs": [1], "is": "Undo"},
        {"verb": "stop", "runs": [1], "at_once": "yes"},
        {"verb": "clone", "runs": [1], "source": "$(rm)"},
        {"verb": "undo", "id": "1"},
        {"verb": "stop", "runs": [1], "dry_run": "yes"},
    ],
)
def test_what_is_not_a_request_is_refused_with_a_reason(home, body):
    enrolled(home.journal).close()
    client = visitor(home)
    text = body if isinstance(body, str) else json.dumps(body)
    headers = {**POSTED, "content-type": "application/json"}
    found = client.post("/api/requests", headers=headers, content=text)
    assert found.status_code == 400
    assert found.json()["error"]
    assert not requests_taken(home.journal)


def test_a_request_that_is_too_large_is_refused(home):
    enrolled(home.journal).close()
    headers = {**POSTED, "content-type": "application/json"}
    assert visitor(home).post("/api/requests", headers=headers, content=b"[" * (1 << 21)).status_code == 400


def test_the_holder_of_the_experiment_that_does_not_answer_is_named(home, monkeypatch):
    monkeypatch.setattr("rapidfire_cli.app.control.asking.PATIENCE", 0.1)
    enrolled(home.journal).close()
    with lock(home.lock, "process 77"):
        found = visitor(home).post("/api/requests", headers=POSTED, json={"verb": "stop", "runs": [1]})
    assert found.status_code == 503
    assert "process 77" in found.json()["error"]


def test_without_an_experiment_every_question_says_so(home):
    client = visitor(None)
    assert client.get("/api/rungs").status_code == 404
    assert client.post("/api/requests", headers=POSTED, json={"verb": "undo"}).status_code == 404


def test_the_journal_is_the_controllers(home):
    """A page that is open does not keep the controller from writing."""
    journal = SqliteJournal(home.journal)
    enrolled(home.journal).close()
    follower = Follower(lambda: home)
    follower.step()
    for at in range(1, 4):
        journal.record([epoch(1, at, 0.5)])
        assert follower.step().id == at
    journal.close()
    follower.close()
