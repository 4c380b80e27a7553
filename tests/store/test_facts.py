"""Every fact can be written as plain data and read back, the same in the journal and in printed events."""

import json
import math

import pytest

from rapidfire_cli.facts import (
    BracketBegun,
    CheckpointDamaged,
    Decision,
    DevicesChanged,
    EpochEnded,
    Fact,
    MemoryGiven,
    Metric,
    RequestTaken,
    RunAdmitted,
    RunChanged,
    RunFailed,
    RunJoined,
    RunLeft,
    RunOpened,
    RunPurged,
    RunReplaced,
    RunsPacked,
    Saved,
    TurnEnded,
    TurnStarted,
    Verdict,
    WorkerDied,
    WorkerStarted,
)
from rapidfire_cli.requests import Answer, Request, Restore, Stop, Undo
from rapidfire_cli.store.facts import KINDS, body, fact, kind
from rapidfire_cli.terms import OomRetry, Run, RunState

METRICS = (Metric("train", "loss", 0.1 + 0.2), Metric("validation", "head.f1", -math.inf))
VERDICTS = (Verdict(3, None, 2, False), Verdict(4, 0.5, 1, True))
RETRY = Run(4, "0123456789abcdef", 1, '{"train":{"epochs":5}}', 42, 1, OomRetry(3, apart=True))
EVERY: tuple[Fact, ...] = (
    WorkerStarted(0, 41, "cpu"),
    WorkerDied(1, "killed by SIGKILL", 3, 20),
    RunsPacked(4, "4 runs on each GPU: run 3 needs 2 GiB"),
    MemoryGiven(3, (1, 2)),
    TurnStarted(3, 0, 1),
    RunOpened(3, "{}", '{"train": "ab"}', "{}"),
    EpochEnded(3, 1, 20, METRICS, 0.25),
    Saved(3, 1, 20),
    CheckpointDamaged(3, "step-20: weights.pt has a wrong checksum"),
    DevicesChanged(3, 2, 1),
    TurnEnded(3, 0, 1, 20, METRICS[:1], 4096),
    RunFailed(3, "nan", "the loss became NaN", 21),
    RunChanged(3, RunState.FAILED, "the loss became NaN"),
    RunAdmitted(RETRY),
    RunReplaced(3, RETRY, 1),
    RunPurged(3),
    RequestTaken(
        Request("00000000-0000-4000-8000-000000000001", "cli", Undo(), means=Restore((3,))),
        (Answer(3, "applied", "restored, completed", changed=True),),
    ),
    RequestTaken(
        Request(
            "00000000-0000-4000-8000-000000000000", "cli", Stop((3, 4), at_once=True), "running", 1000, 41
        ),
        (
            Answer(3, "accepted", "stopping", changed=True),
            Answer(4, "refused", "does not exist", "see status"),
        ),
    ),
    BracketBegun(1, "{}", (3, 4), (8, 8)),
    RunJoined(5, 1, 8),
    RunLeft(3, 1, "the rule changed", worst=True),
    Decision(
        1, "halving", 1, 1, 2, 1, -math.inf, 3, (Verdict(3, None, 2, False), Verdict(4, 0.5, 1, True)), (3,)
    ),
)


@pytest.mark.parametrize("each", EVERY, ids=kind)
def test_a_fact_is_read_back_as_it_was(each: Fact):
    again = fact(kind(each), json.loads(json.dumps(body(each))))
    assert again == each
    assert repr(again) == repr(each), "a value of another type: a state is equal to its name"


def test_nan_is_spelt_out_as_json_has_none():
    ended = EpochEnded(1, 1, 1, (Metric("train", "loss", math.nan),), math.inf)
    plain = json.loads(json.dumps(body(ended), allow_nan=False))
    assert plain["metrics"] == {"train": {"loss": "NaN"}}
    [metric] = fact("epoch_ended", plain).metrics  # type: ignore[union-attr]
    assert math.isnan(metric.value)


def test_every_kind_of_fact_is_tried():
    assert {kind(each) for each in EVERY} == KINDS.keys()
