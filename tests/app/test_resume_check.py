"""Runs are continued with the code that they began with; older fingerprints are understood."""

import pytest

from rapidfire_cli.app.resume_check import check_resume
from rapidfire_cli.engine.messages import Probed
from rapidfire_cli.facts import RunOpened
from rapidfire_cli.problems import Refusal
from rapidfire_cli.store.known_runs import KnownRun
from rapidfire_cli.terms import RunState
from tests.store.sweep import runs

NOW = Probed((), (), (), '{"own": "tokens-1"}', '{"own": "abc"}')


def answer(*continued: int) -> Probed:
    return Probed((), (), tuple(opened(run, NOW.code) for run in continued), NOW.code, NOW.texts)


def opened(run: int, code: str) -> RunOpened:
    return RunOpened(run, code, "{}", "{}")


def stood(*codes: str, state: RunState = RunState.INTERRUPTED) -> dict[int, KnownRun]:
    return {
        run.number: KnownRun(run, state, 1, 1, opened=opened(run.number, code))
        for run, code in zip(runs(len(codes)), codes, strict=True)
    }


@pytest.mark.parametrize("code", ['{"own": "tokens-1"}', '{"own": "abc"}'])
def test_tokens_that_agree_or_bytes_of_an_older_fingerprint_are_the_same_code(code, capsys):
    check_resume(stood(code), runs(1), answer(1), accepted=False)
    check_resume(stood(code, state=RunState.COMPLETED), runs(1), answer(), accepted=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "code", ['{"own": "tokens-2"}', '{"own": "abd"}', "{}", '{"own": "abc", "gone": "1"}']
)
def test_anything_else_is_other_code(code):
    with pytest.raises(Refusal) as refused:
        check_resume(stood(code), runs(1), answer(1), accepted=False)
    assert refused.value.problems[0].code == "E606"


def test_older_code_is_told_of_listed_runs_only(capsys):
    known = stood(*['{"own": "tokens-0"}'] * 4, state=RunState.COMPLETED)
    check_resume(known, runs(4)[1:3], answer(), accepted=False)
    assert capsys.readouterr().err == "note: runs 2 and 3 were trained with older code\n"
