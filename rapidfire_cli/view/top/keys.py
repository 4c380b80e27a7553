"""The keys of the app, for its bindings, its last line and its help alike."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Key:
    """A key and what it does."""

    keys: str  # as textual names them, separated by commas
    action: str
    about: str
    short: str = ""  # in the last line; empty if only the help shows it
    shown: str = ""  # how people read the key, where its name is not
    asks: bool = False  # whether it changes the experiment


SECTIONS: tuple[tuple[str, tuple[Key, ...]], ...] = (
    (
        "Requests: about the marked runs, or the one under the cursor",
        (
            Key("s", "ask('stop')", "stop at the next optimizer step", "stop", asks=True),
            Key("S", "ask('stop_now')", "stop now: kill the worker, the last checkpoint counts", asks=True),
            Key("r", "ask('resume')", "resume stopped, pruned or failed runs", "resume", asks=True),
            Key("c", "clone", "clone the run under the cursor, in a form", "clone", asks=True),
            Key("d", "ask('delete')", "delete: move to the trash", "delete", asks=True),
            Key("R", "ask('restore')", "restore from the trash", asks=True),
            Key("P", "ask('purge')", "purge: free the disk of deleted runs", asks=True),
            Key("k", "ask('keep')", "keep the last saved epoch for later clones", asks=True),
            Key("u", "undo", "undo your last request", "undo", asks=True),
        ),
    ),
    (
        "Runs",
        (
            Key("up,down", "", "move, also with pageup, pagedown, home, end", shown="↑ ↓"),
            Key("left,right", "", "show other columns", shown="← →"),
            Key("space", "mark", "mark the run, or take the mark off", "mark", shown="space"),
            Key("a", "mark_all", "mark all runs that are shown, or none"),
            Key("slash", "filter", "show the runs that match a condition", "filter", shown="/"),
            Key("o,O", "sort(1),sort(-1)", "sort by the next or the previous column", shown="o O"),
            Key("i", "invert", "reverse the order"),
            Key("b", "go_to_best", "go to the best run"),
            Key("escape", "clear", "leave the filter, then take off all marks", shown="esc"),
        ),
    ),
    (
        "Below the table",
        (
            Key("1,2,3,4,5", "", "curves, log, rungs, slots, run", shown="1–5"),
            Key("m,M", "metric(1),metric(-1)", "the next or the previous metric", shown="m M"),
            Key("l", "logarithm", "logarithmic axis"),
            Key("z", "zoom", "make the lower half larger, then the upper half"),
            Key("tab", "", "let the arrow keys scroll the other half"),
        ),
    ),
    (
        "Other",
        (
            Key("question_mark", "help", "this help", "help", shown="?"),
            Key("q", "quit", "quit; training continues", "quit"),
        ),
    ),
)
