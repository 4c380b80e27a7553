"""Make clones: a run's config with changed knobs, and the weights to begin with."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rapidfire_cli.app.control.trash import directory_of, is_cleaned
from rapidfire_cli.app.files import reload
from rapidfire_cli.durable import publication
from rapidfire_cli.durable.publication import Damaged, claimed
from rapidfire_cli.engine.checkpoints import KEPT, ORIGIN, STATE, Reached, from_facts, newest_first
from rapidfire_cli.manifest.check import checked
from rapidfire_cli.manifest.expand import expand
from rapidfire_cli.manifest.identity import identify, seed_of
from rapidfire_cli.problems import Problem, Refusal
from rapidfire_cli.requests import CloneRun
from rapidfire_cli.store.layout import ExperimentDir
from rapidfire_cli.store.queries import overview
from rapidfire_cli.syntax.ast import ExperimentFile, PopulationTraining
from rapidfire_cli.syntax.extends import alone
from rapidfire_cli.syntax.keys import FILE
from rapidfire_cli.syntax.overrides import SET, arguments
from rapidfire_cli.syntax.parser import parse
from rapidfire_cli.terms import SEED_LIMIT, Clone, Run, WarmStart, canonical

MOST_BYTES = 1 << 26  # of a leaf config (assumed)
SCHEDULED = ("optimizer", "lr_scheduler")  # sections of `train` that a schedule depends on


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """A checkpoint of the end of an epoch."""

    path: Path
    reached: Reached


class NoneYet(Refusal):
    """No end of an epoch of the run is durable yet."""


class Cloning:
    """Makes clones of the runs of one experiment."""

    def __init__(self, home: ExperimentDir, file: ExperimentFile | None = None) -> None:
        """`file` is what is trained; by default, what the experiment's directory says."""
        self.code: str | None = None  # that workers train with now: hashes as JSON, once that is known
        self._home = home
        self._given = file

    @cached_property
    def _file(self) -> ExperimentFile:
        return self._given or reload(self._home.file)

    def clone(self, parent: Run, ask: CloneRun, runs: Mapping[int, Run]) -> Run:
        """The clone, with the next free number; the weights that it begins with are pinned, durably.

        `runs` are all that the experiment ever had. Raises Refusal, and OSError when the disk refuses.
        """
        config = self.config(parent, ask)
        source = self.source(parent, ask) if ask.warm else None
        warm = (
            WarmStart(parent.id, source.reached.epoch, ask.warm == "matching", ask.keep_schedule)
            if source
            else None
        )
        seed, replicate = self._seed(parent, ask, config, runs)
        name = identify(self._file.mlspec, self._file.data, seed, replicate, warm)(config)
        if same := [run.number for run in runs.values() if run.id == name]:
            hint = "change a knob (`--set`), the seed (`--seed`), or use `--replicate`"
            raise Refusal([_problem(f"would be the same as run {same[0]}", hint)])
        number = max(runs) + 1
        clone = Run(number, name, parent.group, config, seed, replicate, Clone(parent.number), warm)
        if source:
            self._pin(source, clone, parent)
        return clone

    def keep(self, run: Run) -> int:
        """Keep the run's last durable epoch end; which epoch that is. Raises Refusal, and OSError."""
        directory = self._home.run(run)
        found = epoch_ends(directory)
        if not found:
            raise Refusal([_none_yet(run)])
        last = found[max(found)]
        try:
            publication.twin(last.path, directory / KEPT / last.path.name)
        except FileNotFoundError:  # it was outdated meanwhile
            raise Refusal([_replaced(run)]) from None
        return last.reached.epoch

    def release(self, run: Run, runs: Iterable[Run]) -> int | None:
        """Delete the newest kept epoch end that none of `runs` begins with; which epoch that was.

        A population deletes the ends of its rounds itself, when no fork can need them.
        """
        needed = [each.warm_start.epoch for each in runs if each.warm_start and each.warm_start.run == run.id]
        in_population = isinstance(self._file.groups[run.group - 1].generator, PopulationTraining)
        for path in newest_first(self._home.run(run) / KEPT):
            if (epoch := int(path.name.rpartition("-")[2])) not in needed:
                if not in_population:
                    publication.remove(path)
                return epoch
        return None

    def config(self, parent: Run, ask: CloneRun) -> str:
        """The clone's leaf config. Raises Refusal with every problem, located in the changes."""
        config = next(iter(expand(self.as_file(parent, ask)))).config
        if ask.keep_schedule:
            _check_schedule(parent, config)
        return config

    def as_file(self, parent: Run, ask: CloneRun) -> ExperimentFile:
        """The experiment with the clone as its only run. Raises Refusal with every problem."""
        _check_options(ask)
        changes = [*arguments(SET, ask.changes)]
        outside = [each for each in changes if each.text.lstrip("+").split("=")[0].split(".")[0] in FILE.keys]
        if outside:
            message = "a clone can only change knobs"
            raise Refusal([Problem("E531", message, each.span()) for each in outside])
        leaf = parent.leaf
        if ask.epochs is not None:
            leaf["train"]["epochs"] = ask.epochs
        whole = {"experiment": self._file.name, "seed": self._file.seed, "config": leaf}
        text = json.dumps(whole, ensure_ascii=False).encode()
        file = checked(parse(text, f"run-{parent.number}.json", MOST_BYTES, alone, changes))
        return replace(file, mlspec=self._file.mlspec, data=self._file.data, execution=self._file.execution)

    def _seed(self, parent: Run, ask: CloneRun, config: str, runs: Mapping[int, Run]) -> tuple[int, int]:
        """The seed, and which replicate the clone is."""
        if ask.seed is not None:
            return ask.seed, parent.replicate
        if not ask.replicate:
            return parent.seed, parent.replicate
        replicate = 1 + max(run.replicate for run in runs.values() if run.config in (config, parent.config))
        return seed_of(self._file.seed, replicate), replicate

    def source(self, parent: Run, ask: CloneRun) -> EpochEnd:
        """The epoch end to begin with. Raises Refusal where it is not durable."""
        found = epoch_ends(directory_of(self._home, parent))
        if not found:
            rows = overview(self._home.journal, alive=True, unlisted=True, only={parent.number}).rows
            if any(is_cleaned(self._home, row) for row in rows):
                message = f"the weights of run {parent.number} were deleted by `rapidfire clean`"
                raise Refusal([_problem(message, "leave `--warm-start` out to train from scratch")])
            raise NoneYet([_none_yet(parent)])
        wanted = _wanted(ask.source, found)
        if wanted is None or wanted not in found:
            known = ", ".join(f"epoch:{epoch}" for epoch in sorted(found))
            epoch = "the best epoch" if ask.source == "best" else f"epoch {wanted}"
            message = f"{epoch} of run {parent.number} is not durable"
            raise Refusal([_problem(message, f"use `--from` with one of: {known}")])
        opened = found[wanted].reached.opened
        if self.code and opened and opened.code != self.code:
            message = f"the code changed since run {parent.number} was trained"
            raise Refusal([_problem(message, "leave `--warm-start` out to train from scratch")])
        if not (found[wanted].path / STATE).is_file():
            message = f"run {parent.number} kept only its weights"
            raise Refusal([_problem(message, "`execution: {keep: resume}` also keeps the optimizer's state")])
        return found[wanted]

    def _pin(self, source: EpochEnd, clone: Run, parent: Run) -> None:
        try:
            publication.twin(source.path, self._home.run(clone) / ORIGIN)
        except FileNotFoundError:  # it was outdated meanwhile
            raise Refusal([_replaced(parent)]) from None


def epoch_ends(directory: Path) -> dict[int, EpochEnd]:
    """The durable epoch ends of the run in this directory, by epoch."""
    found: dict[int, EpochEnd] = {}
    for path in (*newest_first(directory), *newest_first(directory / KEPT)):
        try:
            reached = from_facts(claimed(path).facts)
        except (Damaged, KeyError, TypeError, ValueError):
            continue
        if reached.epoch_end and reached.epoch:
            found.setdefault(reached.epoch, EpochEnd(path, reached))
    return found


def _wanted(source: str, found: Mapping[int, EpochEnd]) -> int | None:
    match source:
        case "last":
            return max(found)
        case "best":
            best = found[max(found)].reached.best
            return best.epoch if best else None
        case _:
            return int(source.removeprefix("epoch:"))


def _check_options(ask: CloneRun) -> None:
    """Raise Refusal for options of which one would be ignored, and for a seed that no file accepts."""
    if ask.warm is None and (ask.keep_schedule or ask.wait or ask.source != "last"):
        message = "`--from`, `--keep-schedule` and `--wait` need `--warm-start`"
        raise Refusal([_problem(message, "add `--warm-start`")])
    if ask.seed is not None and ask.replicate:
        message = "`--seed` and `--replicate` cannot be combined"
        raise Refusal([_problem(message, "a replicate has a seed of its own")])
    if ask.seed is not None and ask.seed >= SEED_LIMIT:
        raise Refusal([_problem(f"the seed must be below {SEED_LIMIT:,}", "choose a smaller seed")])
    if ask.epochs is not None and any(_sets_epochs(change) for change in ask.changes):
        message = "`--epochs` and `--set train.epochs` cannot be combined"
        raise Refusal([_problem(message, "leave one of them out")])


def _sets_epochs(change: str) -> bool:
    return change.lstrip("+").partition("=")[0].strip() == "train.epochs"


def _check_schedule(parent: Run, config: str) -> None:
    before, after = parent.leaf["train"], json.loads(config)["train"]
    changed = [key for key in SCHEDULED if canonical(before.get(key)) != canonical(after.get(key))]
    if changed:
        message = f"`--keep-schedule` needs the schedule unchanged, but `train.{changed[0]}` changed"
        raise Refusal([_problem(message, "leave `--keep-schedule` out to begin a new schedule")])


def _none_yet(run: Run) -> Problem:
    hint = "it is when the run completes, is pruned or rests for a while; `clone --wait` waits for it"
    return _problem(f"no end of an epoch of run {run.number} is durable yet", hint)


def _replaced(run: Run) -> Problem:
    return _problem(f"the checkpoint of run {run.number} was replaced by a newer one", "try again")


def _problem(message: str, hint: str) -> Problem:
    return Problem("E517", message, hint=hint)
