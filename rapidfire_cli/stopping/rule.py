"""What an early-stopping rule is: results in, decisions out; no clock, no randomness, no I/O."""

from collections.abc import Mapping
from typing import Protocol

from rapidfire_cli.stopping.decision import Decision, Ranking


class Policy(Protocol):
    """Decides for the runs of one bracket how far each may train."""

    def start(self, bracket: int, goals: Mapping[int, int]) -> int:
        """Take in the bracket's number and its runs' epochs, once; how many each may train at first."""

    def report(self, run: int, epoch: int, value: float | None) -> list[Decision]:
        """Take in the metric of a finished epoch; hearing it again changes nothing.

        A run may be further than it was allowed to train, when the rule changed or a decision was lost.
        """

    def replace(self, run: int, by: int) -> bool:
        """Let another run stand where this one does, if it has no result yet; whether that was so."""

    def withdraw(self, run: int, failed: bool) -> list[Decision]:
        """Take in that the run ended before its time: it failed, or it was taken out of the bracket."""

    def ranking(self, decision: Decision) -> Ranking:
        """All that a decision knew, the runs that it names among it; ask right after it was taken.

        A decision does not hold it: where nobody waits for a rung, that would be n² values.
        """
