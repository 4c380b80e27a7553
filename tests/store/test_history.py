"""Each bracket's own past says the same as the whole past, however the brackets' events are mixed."""

from hypothesis import given
from hypothesis import strategies as st

from rapidfire_cli.engine.ports import BracketBegun, RunLeft
from rapidfire_cli.stopping.decision import Decision
from rapidfire_cli.store.history import EpochEnded, Failed, Past, RunReplaced, bracket_events, by_bracket

RUNS = st.integers(1, 6)
BRACKETS = st.integers(1, 3)


@st.composite
def pasts(draw: st.DrawFn) -> list[Past]:
    """Brackets of some runs each, and what may happen to them, in any order after they began."""
    homes = draw(st.dictionaries(BRACKETS, st.sets(RUNS, min_size=1), min_size=1))
    events: list[Past] = [
        BracketBegun(bracket, "{}", tuple(sorted(runs)), (9,) * len(runs)) for bracket, runs in homes.items()
    ]
    known = sorted(set().union(*homes.values()))
    failed: set[int] = set()
    replacement = 10
    for _ in range(draw(st.integers(0, 12))):
        run, bracket = draw(st.sampled_from(known)), draw(st.sampled_from(sorted(homes)))
        match draw(st.sampled_from(["finished", "failed", "replaced", "left", "decision"])):
            case "finished":
                events.append(EpochEnded(run, draw(st.integers(1, 9)), {"validation": {"loss": 0.5}}))
            case "failed":
                events.append(Failed(run))
                failed.add(run)
            case "replaced" if run in homes[bracket]:
                events.append(RunReplaced(run, replacement, bracket, draw(st.booleans())))
                known.append(replacement)
                replacement += 1
            case "left":
                events.append(RunLeft(run, bracket, "its early-stopping rule changed"))
            case "decision":
                counted = tuple(sorted(failed & homes[bracket]))
                events.append(Decision(bracket, "halving", 1, 1, 2, 1, 0.5, 3, (), counted))
    return events


@given(pasts())
def test_a_bracket_hears_the_same_of_its_own_past_as_of_the_whole(past: list[Past]):
    told = by_bracket(past)
    for began in past:
        if isinstance(began, BracketBegun):
            own = told[began.bracket]
            assert list(bracket_events(began, "loss", own)) == list(bracket_events(began, "loss", past))


def test_what_concerns_other_brackets_is_left_out():
    past: list[Past] = [
        BracketBegun(1, "{}", (1, 2), (3, 3)),
        BracketBegun(2, "{}", (3,), (3,)),
        EpochEnded(1, 1, {}),
        EpochEnded(3, 1, {}),
        EpochEnded(9, 1, {}),
    ]
    assert by_bracket(past) == {1: [past[0], past[2]], 2: [past[1], past[3]]}
