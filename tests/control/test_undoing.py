"""Undo reverts one's own last request, unless somebody has changed the same run since."""

from rapidfire_cli.control.decisions import Effect
from rapidfire_cli.control.intents import intents
from rapidfire_cli.control.undoing import undone
from rapidfire_cli.facts import RequestTaken
from rapidfire_cli.requests import (
    Answer,
    Ask,
    CloneRun,
    Delete,
    Keep,
    Purge,
    Release,
    Request,
    Restore,
    Resume,
    Stop,
    Undo,
    subject,
)

ME, ROOT = 1000, 0


def taken(ask: Ask, uid: int = ME, changed: bool = True, means=None) -> RequestTaken:
    request = Request("00000000-0000-4000-8000-000000000000", "cli", ask, uid=uid, means=means)
    about = subject(request)
    answers = tuple(Answer(run, "applied", "", changed=changed) for run in (about.runs if about else (0,)))
    return RequestTaken(request, answers)


def test_each_verb_has_its_inverse():
    for ask, inverse in [
        (Stop((1, 2)), Resume((1, 2))),
        (Resume((1,)), Stop((1,))),
        (Delete((1,)), Restore((1,))),
        (Restore((1,)), Delete((1,))),
    ]:
        assert undone([taken(ask)], ME) == inverse


def test_undoing_a_clone_deletes_it():
    request = Request("00000000-0000-4000-8000-000000000000", "cli", CloneRun((1, 2)), uid=ME)
    made = RequestTaken(request, (Answer(1, "applied", "", changed=True, born=9), Answer(2, "refused", "")))
    assert undone([made], ME) == Delete((9,))
    assert undone([made, taken(Stop((9,)), uid=ROOT)], ME) == "someone else has changed run 9 since"
    assert intents([taken(Stop((1,))), made]) == {1: Effect.STOP}


def test_only_what_changed_something_and_was_ones_own_counts():
    past = [taken(Stop((1,))), taken(Resume((2,)), changed=False), taken(Stop((3,)), uid=ROOT)]
    assert undone(past, ME) == Resume((1,))
    assert undone(past[1:], ME) == "you have not changed anything"


def test_one_that_another_person_overtook_is_refused():
    past = [taken(Stop((1, 2))), taken(Resume((2,)), uid=ROOT)]
    assert undone(past, ME) == "someone else has changed run 2 since"


def test_an_undo_is_undone_by_what_it_reverted_and_a_purge_never_is():
    assert undone([taken(Stop((1,))), taken(Undo(), means=Resume((1,)))], ME) == Stop((1,))
    assert undone([taken(Purge((1,)))], ME) == "purged runs cannot be restored"
    assert undone([taken(Keep((1,)))], ME) == Release((1,))
    assert undone([taken(Undo(), means=Release((1,)))], ME) == Keep((1,))


def test_the_last_wish_about_a_run_counts():
    past = [taken(Stop((1, 2, 3))), taken(Delete((2, 4))), taken(Resume((3,))), taken(Undo(), changed=False)]
    assert intents(past) == {1: Effect.STOP, 2: Effect.DELETE, 4: Effect.DELETE}
    assert intents([*past, taken(Restore((4,))), taken(Purge((2,)))]) == {1: Effect.STOP}
