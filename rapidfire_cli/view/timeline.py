"""The simulated schedule, for people and for programs."""

from rapidfire_cli.schedule.simulate import Timeline
from rapidfire_cli.terms import Plain
from rapidfire_cli.view.wording import counted


def timeline_line(timeline: Timeline) -> str:
    """`4 slots: 20 run-epochs in 7 epochs of wall time, 29% idle; 4 to 6 run-epochs per slot`."""
    least, most = min(timeline.busy), max(timeline.busy)
    time = "epoch" if timeline.makespan == 1 else "epochs"
    each = _epochs(most) if least == most else f"{_epochs(least)} to {_epochs(most)}"
    return (
        f"{counted(len(timeline.busy), 'slot')}: {_epochs(sum(timeline.busy))} run-epochs in "
        f"{_epochs(timeline.makespan)} {time} of wall time, {timeline.idle:.0%} idle; "
        f"{each} run-epochs per slot"
    )


def timeline_document(timeline: Timeline) -> dict[str, Plain]:
    """The same in full; time is in units of one epoch."""
    return {
        "slots": len(timeline.busy),
        "run_epochs": sum(timeline.busy),
        "makespan": timeline.makespan,
        "idle": timeline.idle,
        "busy": list(timeline.busy),
        "rungs": [
            {"bracket": bracket, "epochs": epochs, "runs": runs} for bracket, epochs, runs in timeline.rungs()
        ],
    }


def _epochs(count: float) -> str:
    return f"{count:,.1f}".removesuffix(".0")
