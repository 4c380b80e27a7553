"""Replacements for `fit`: a run with a changed leaf config for each that runs out of memory."""

from collections.abc import Iterable, Sequence

from rapidfire_cli.durable import publication
from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.manifest import codec
from rapidfire_cli.manifest.identity import identify
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import Origin, Run

MOST = 20  # replacements in a row: a batch of a million rows is one row then (assumed)


class OomReplacements:
    """What takes the place of a listed run; numbers from `free` on are nobody's."""

    def __init__(self, home: ExperimentDir, file: ExperimentFile, runs: Sequence[Run], free: int) -> None:
        self._home = home
        self._file = file
        self._runs = {run.number: run for run in runs}
        self._free = free

    def of(self, run: int) -> Run | str:
        """The run that would take this one's place, else why there is none; empty where nobody wants one."""
        on_oom, former = self._file.execution.on_oom, self._runs[run]
        if not on_oom:
            return ""
        if self._replaced_before(former) >= MOST:
            return f"on_oom has already changed it {MOST} times"
        from rapidfire_cli.manifest.replacement import Exhausted, changed  # few files need it

        try:
            config = changed(former.config, on_oom)
        except Exhausted as limit:
            return f"on_oom cannot change it further: {limit}"
        name = identify(self._file.mlspec, self._file.data, former.seed, former.replicate)
        same = (former.group, config, former.seed, former.replicate)
        return Run(self._free, name(config), *same, Origin(run))

    def enter(self, run: Run) -> Assignment:
        """Let it take the place; that the manifest lists it is durable when this returns. Raises OSError."""
        self._runs[run.number] = run
        self._free = run.number + 1
        keep_manifest(self._home, self._file, self._runs.values())
        return assignment(self._home, run)

    def _replaced_before(self, run: Run) -> int:
        return 1 + self._replaced_before(self._runs[run.origin.run]) if run.origin else 0


def assignment(home: ExperimentDir, run: Run) -> Assignment:
    """The run as a worker needs it."""
    return Assignment(run.number, run.config, run.seed, str(home.run(run)))


def keep_manifest(home: ExperimentDir, file: ExperimentFile, runs: Iterable[Run]) -> None:
    """Write down, durably and at once, which runs there are."""
    publication.write(home.manifest, codec.header(file) + "".join(map(codec.write, runs)))
