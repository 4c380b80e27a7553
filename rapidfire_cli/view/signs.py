"""The signs and colours of states, the same in all views."""

from collections.abc import Mapping

from rapidfire_cli.terms import RunState

BEST = "★"
WAITING = "○"  # a running run between two turns

SIGNS: Mapping[RunState, str] = {
    RunState.QUEUED: "·",
    RunState.RUNNING: "●",
    RunState.INTERRUPTED: "■",
    RunState.STOPPED: "□",
    RunState.COMPLETED: "✓",
    RunState.PRUNED: "✂",
    RunState.FAILED: "✗",
    RunState.DELETED: "×",
}
PLAIN: Mapping[str, str] = dict(
    zip("★○·●■□✓✂✗×–—…→≤≥≠━╸─▁▂▃▄▅▆▇█", "*o.@#=+%xx--.><>!---_.:-=+*#", strict=True)
)
"""What stands for a sign where the terminal's encoding has only ASCII."""
STYLES: Mapping[str, str] = {
    RunState.QUEUED: "dim",
    RunState.RUNNING: "cyan",
    RunState.INTERRUPTED: "yellow",
    RunState.STOPPED: "dim",
    RunState.COMPLETED: "green",
    RunState.PRUNED: "magenta",
    RunState.FAILED: "red",
    RunState.DELETED: "dim",
}
"""rich styles"""
