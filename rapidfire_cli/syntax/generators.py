"""The productions of generators: which arguments each has, and which value sets it rejects."""

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

from rapidfire_cli.problems import Refusal, Span, did_you_mean
from rapidfire_cli.shapes import Record
from rapidfire_cli.syntax.ast import (
    AdaptiveSearch,
    Bracketed,
    Conditions,
    Config,
    Generator,
    GridSearch,
    Hyperband,
    List,
    Path,
    PopulationTraining,
    RandomSearch,
    Range,
    SuccessiveHalving,
    Tree,
)
from rapidfire_cli.syntax.check import Place, check_shape
from rapidfire_cli.syntax.diagnostics import Diagnostics
from rapidfire_cli.syntax.keys import CONFIG, FILTERS, GENERATORS, SEARCHES
from rapidfire_cli.syntax.metrics import lift
from rapidfire_cli.syntax.nodes import Alternatives, Entry, Interval, Mapping, Node, Scalar, Sequence, kind
from rapidfire_cli.syntax.values import tree, value_sets
from rapidfire_cli.syntax.zips import check_zips
from rapidfire_cli.terms import WarmStart

if TYPE_CHECKING:
    from rapidfire_cli.syntax.conditions.located import Known


class Body(NamedTuple):
    """What a generator's mapping holds: a config's sections, and beside them the generator's arguments."""

    opener: Entry
    knobs: dict[str, Tree]
    arguments: dict[str, Any] | None  # None when they are invalid
    sets: tuple[Alternatives | Interval, ...]  # among the knobs


def generator(opener: Entry, path: Path, diagnostics: Diagnostics) -> Generator | None:
    """Parse the generator of an entry such as `sha: {…}`; None if it is too broken."""
    if not isinstance(opener.node, Mapping):
        message, expected = f"`{opener.key}` has the wrong type", "a mapping of sections"
        diagnostics.error("E203", message, opener.node.span, found=kind(opener.node), expected=expected)
        return None
    body = _body(opener, opener.node, path, diagnostics)
    match opener.key:
        case "gridsearch":
            return gridsearch(body, diagnostics)
        case "randomsearch":
            return randomsearch(body)
        case "sha":
            return sha(body, diagnostics)
        case "hyperband":
            return hyperband(body, diagnostics)
        case "search":
            return search(body, diagnostics)
        case "pbt":
            return pbt(body, diagnostics)
    return config(body, diagnostics)


def config(body: Body, diagnostics: Diagnostics) -> Config | None:
    """config := `{` [replicates] [seed] [warm_start] section… `}`, without value sets."""
    for found in body.sets:
        hint = f"value sets are allowed under {SEARCHES}"
        diagnostics.error(
            "E301", "`config` cannot contain value sets", found.span, found=kind(found), hint=hint
        )
    if body.arguments is None:
        return None
    warm = body.arguments.get("warm_start")
    given = {"warm_start": WarmStart(**warm)} if warm else {}
    return Config(body.knobs, **{**body.arguments, **given})


def gridsearch(body: Body, diagnostics: Diagnostics) -> GridSearch | None:
    """grid := `{` [early_stopping] [replicates] [where] [exclude] section… `}`, without ranges."""
    for found in body.sets:
        if isinstance(found, Interval):
            hint = "list the values to try, or draw from the range under `randomsearch:`"
            diagnostics.error(
                "E308",
                "a grid search cannot enumerate a `!range`",
                found.span,
                found=kind(found),
                expected="!list",
                hint=hint,
            )
    return None if body.arguments is None else GridSearch(body.knobs, **_with_rule(body.arguments))


def randomsearch(body: Body) -> RandomSearch | None:
    """random := `{` `num_runs:` integer [early_stopping] [replicates] [where] [exclude] section… `}`."""
    return None if body.arguments is None else RandomSearch(body.knobs, **_with_rule(body.arguments))


def sha(body: Body, diagnostics: Diagnostics) -> SuccessiveHalving | None:
    """sha := `{` `num_runs:` integer `min_epochs:` … section… `}`, with a range and without lists."""
    for found in body.sets:
        if isinstance(found, Alternatives):
            message = "successive halving supports only `!range`"
            diagnostics.error("E308", message, found.span, found=kind(found), expected="!range")
    if not body.sets:
        message = "successive halving needs a `!range`"
        diagnostics.missing("E309", message, body.opener.at, expected="a `!range` for at least one knob")
    if body.arguments is None:
        return None
    halving = SuccessiveHalving(body.knobs, **body.arguments)
    _check_rungs(body, halving, diagnostics)
    return halving


def hyperband(body: Body, diagnostics: Diagnostics) -> Hyperband | None:
    """hyperband := `{` `max_epochs:` integer `metric:` … section… `}`."""
    if body.arguments is None:
        return None
    brackets = Hyperband(body.knobs, **body.arguments)
    _check_rungs(body, brackets, diagnostics)
    return brackets


def search(body: Body, diagnostics: Diagnostics) -> AdaptiveSearch | None:
    """search := `{` `num_runs:` integer `metric:` … [sampler] … [where] [exclude] section… `}`."""
    if not body.sets:
        message = "a search needs a value set"
        diagnostics.missing("E309", message, body.opener.at, expected="a `!list` or `!range` for a knob")
    if body.arguments is None:
        return None
    found = AdaptiveSearch(body.knobs, **_with_rule(body.arguments))
    if found.sampler == "cmaes":
        _check_evolution(body, diagnostics)
    return found


def _check_evolution(body: Body, diagnostics: Diagnostics) -> None:
    """An evolution strategy varies numbers, and at least two of them."""
    lists = [found for found in body.sets if isinstance(found, Alternatives)]
    for found in lists:
        message, hint = "`sampler: cmaes` supports only `!range`", "use `tpe`, `gp` or `qmc`"
        diagnostics.error("E308", message, found.span, found=kind(found), expected="!range", hint=hint)
    if len(body.sets) == 1 and not lists:
        message = "`sampler: cmaes` needs at least two value sets"
        expected = "another `!range`, or `sampler: tpe`"
        diagnostics.missing("E309", message, body.opener.at, expected=expected)


def pbt(body: Body, diagnostics: Diagnostics) -> PopulationTraining | None:
    """pbt := `{` `population:` integer `perturb_every:` integer … [where] [exclude] section… `}`."""
    if not body.sets:
        message = "population based training needs a value set"
        diagnostics.missing("E309", message, body.opener.at, expected="a `!list` or `!range` for a knob")
    train = body.knobs.get("train")
    if not (isinstance(train, dict) and not isinstance(train.get("epochs"), List | Range)):
        message, expected = "`train.epochs` of a population must be a single value", "an integer"
        diagnostics.error("E301", message, _epochs_span(body.opener), found="a value set", expected=expected)
        return None
    if body.arguments is None or not isinstance(train.get("epochs"), int):
        return None
    arguments: dict[str, Any] = {
        key: float(value) if key in ("quantile", "resample") else value
        for key, value in body.arguments.items()
    }
    if isinstance(named := arguments.get("perturb"), str):
        arguments["perturb"] = [named]
    found = PopulationTraining(body.knobs, **arguments)
    _check_population(body.opener, found, diagnostics)
    return found


def _epochs_span(opener: Entry) -> Span:
    """The place of `train.epochs`, or else of `train`, or else of the key that opens the group."""
    at, node = opener.at, opener.node
    for key in ("train", "epochs"):
        entry = node.get(key) if isinstance(node, Mapping) else None
        if entry is None:
            break
        at, node = entry.node.span, entry.node
    return at


def _check_population(opener: Entry, training: PopulationTraining, diagnostics: Diagnostics) -> None:
    """A round ends before the last epoch, forks replace at least one run and change a knob that varies."""

    def refuse(key: str, message: str, found: str, expected: str, hint: str = "") -> None:
        entry = opener.node.get(key) if isinstance(opener.node, Mapping) else None
        at = entry.node.span if entry else opener.at
        diagnostics.error("E314", message, at, found=found, expected=expected, hint=hint)

    every, epochs = training.perturb_every, training.epochs
    if not training.rounds:
        expected = f"fewer than {epochs} (train.epochs)" if epochs > 1 else "train.epochs above 1"
        refuse("perturb_every", "no round ends before the last epoch", f"{every}", expected)
    if not training.forks:
        share = f"{training.quantile:g} of {training.population} runs"
        message = "forks would replace no run"
        refuse("quantile", message, share, "at least one run", "raise `quantile` or `population`")
    varied = [*_varied(training.tree, "")]
    for named in training.perturb or ():
        if not any(path == named or path.startswith(f"{named}.") for path in varied):
            expected = "a knob with a value set, or a section that has some"
            refuse("perturb", f"`{named}` does not vary", named, expected, did_you_mean(named, [*varied]))


def _varied(tree: Tree, at: str) -> Iterator[str]:
    """The dotted paths of all value sets, those inside of alternatives included."""
    match tree:
        case List(values):
            yield at
            for value in values:
                yield from _varied(value, at)
        case Range():
            yield at
        case dict():
            for key, value in tree.items():
                yield from _varied(value, f"{at}.{key}" if at else key)
        case list():
            for place, value in enumerate(tree):
                yield from _varied(value, f"{at}.{place}")
        case _:
            pass


def _with_rule(arguments: dict[str, Any]) -> dict[str, Any]:
    """early_stopping := `early_stopping:` `{` `rule:` word, and the settings of that rule `}`."""
    if "early_stopping" not in arguments:
        return arguments
    from rapidfire_cli.stopping.registry import rule_from

    return {**arguments, "early_stopping": rule_from(arguments["early_stopping"])}


def _body(opener: Entry, node: Mapping, path: Path, diagnostics: Diagnostics) -> Body:
    """Normalize and check the mapping, and note the origins of its values."""
    beside = GENERATORS[opener.key]
    whole = lift(_with_max_epochs(node) if "max_epochs" in beside.keys else node, diagnostics)
    diagnostics.trace(whole, path)
    arguments, sections = whole.split(beside.keys)
    before = diagnostics.errors
    check_shape(beside, arguments, Place(f"`{opener.key}`", "", opener.at), diagnostics)
    sound = diagnostics.errors == before
    shape = Record({**beside.keys, **CONFIG.keys}, CONFIG.required, CONFIG.hint)
    check_shape(shape, sections, Place(f"`{opener.key}`", "", opener.at, sets=True), diagnostics)
    check_zips(sections, diagnostics)
    knobs = {entry.key: tree(entry.node, diagnostics) for entry in sections.entries}
    return Body(
        opener,
        knobs,
        _arguments(arguments, knobs, diagnostics) if sound else None,
        tuple(value_sets(sections)),
    )


def _arguments(node: Mapping, knobs: dict[str, Tree], diagnostics: Diagnostics) -> dict[str, Any]:
    filters, others = node.split(FILTERS)
    said: dict[str, Any] = {entry.key: tree(entry.node, diagnostics) for entry in others.entries}
    return {**said, **_filters(filters, knobs, diagnostics)} if filters.entries else said


def _filters(filters: Mapping, knobs: dict[str, Tree], diagnostics: Diagnostics) -> dict[str, Conditions]:
    from rapidfire_cli.syntax.conditions.located import known  # only files with filters wait for it

    about = known(knobs)
    return {entry.key: conditions(entry.node, about, diagnostics) for entry in filters.entries}


def conditions(node: Node, about: "Known", diagnostics: Diagnostics) -> Conditions:
    """conditions := condition | `[` condition… `]`."""
    from rapidfire_cli.syntax.conditions.located import understood

    match node:
        case Scalar(str(text)):
            try:
                return (understood(text, node.span, about),)
            except Refusal as refusal:
                diagnostics.adopt(refusal.problems)
        case Sequence(items):
            return tuple(chain.from_iterable(conditions(item, about, diagnostics) for item in items))
        case Scalar() | Mapping() | Alternatives() | Interval():
            pass  # which the shape of a filter has refused
        case _:
            assert_never(node)
    return ()


def _with_max_epochs(node: Mapping) -> Mapping:
    """The mapping of a generator with rungs, in which `max_epochs` has replaced `train.epochs`."""
    train, most = node.get("train"), node.get("max_epochs")
    if train is None or most is None or not isinstance(train.node, Mapping):
        return node
    epochs = Entry("epochs", most.at, most.node)
    others = tuple(entry for entry in train.node.entries if entry.key != "epochs")
    replaced: Node = train.node._replace(entries=(epochs, *others))
    return node._replace(
        entries=tuple(entry._replace(node=replaced) if entry is train else entry for entry in node.entries),
    )


def _check_rungs(body: Body, search: Bracketed, diagnostics: Diagnostics) -> None:
    """The first rung, min_epochs · reduction_factor ^ min_early_stopping_rate, is within max_epochs."""
    rung, most = search.min_epochs, search.max_epochs
    rate = search.min_early_stopping_rate if isinstance(search, SuccessiveHalving) else 0
    for _ in range(rate):
        if rung > most:
            break
        rung *= search.reduction_factor
    if rung > most:
        diagnostics.error(
            "E310",
            "max_epochs is below the first rung",
            body.opener.at,
            found=f"a first rung at {rung} or more epochs",
            expected=f"at most {most} (max_epochs)",
            hint="the first rung is at min_epochs"
            + (" · reduction_factor ^ min_early_stopping_rate" if rate else ""),
        )
