"""Hypothesis strategies built from the grammar: experiment files as ASTs, every production of them."""

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from rapidfire_cli.stopping.median import MedianRule
from rapidfire_cli.stopping.patience import PatienceRule
from rapidfire_cli.syntax.ast import (
    AdaptiveSearch,
    Config,
    ExperimentFile,
    Generator,
    GridSearch,
    Group,
    Hyperband,
    List,
    PopulationTraining,
    RandomSearch,
    Range,
    SuccessiveHalving,
)
from rapidfire_cli.syntax.scalars import HIGHEST, LOWEST
from rapidfire_cli.terms import Execution, Objective

TRICKY = [
    *[
        "",
        " ",
        "~",
        "null",
        "true",
        "No",
        "1",
        "1e-4",
        "0x1F",
        ".5",
        "-",
        "- a",
        "? b",
        ": c",
        "a: b",
        "a #b",
    ],
    *[
        "<<",
        "*a",
        "&a",
        "!list",
        "%d",
        "@x",
        "`",
        "'",
        '"',
        "\\",
        "\n",
        "a\nb\n",
        "\t",
        "\x7f",
        "\x85",
        "\u2028",
    ],
    *[
        "\ufeff",
        "日本",
        "e\u0301",
        "😀",
        "[",
        "{",
        ",",
        "a.b",
        "=",
        '"""',
        "'''",
        "${x}",
        "2024-05-01",
        "x" * 1100,
    ],
]
texts = st.sampled_from(TRICKY) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
keys = texts.filter(lambda key: not key.startswith("!"))
integers = st.integers(LOWEST, HIGHEST)
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | integers | floats | texts
directions = st.sampled_from(["min", "max"])
metrics = st.sampled_from(["loss", "top1_accuracy", "top12_accuracy", "f1_score", "my: metric"])


def branching(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)


plain = st.recursive(scalars, branching, max_leaves=8)
mappings = st.dictionaries(keys, plain, max_size=4)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the keys, in any order."""
    chosen = st.fixed_dictionaries({}, optional=fields)
    return chosen.flatmap(lambda some: st.permutations(list(some.items()))).map(dict)


@st.composite
def int_ranges(draw: Any, least: int = LOWEST) -> Range:
    start, end = sorted(draw(st.tuples(*[st.integers(least, HIGHEST)] * 2)))
    if start > 0 and draw(st.booleans()):
        return Range(start, end, "int", log=True)
    return Range(start, end, "int", step=draw(st.none() | st.integers(1, 9)))


@st.composite
def float_ranges(draw: Any) -> Range:
    start, end = sorted(draw(st.tuples(floats, floats)))
    if start > 0 and draw(st.booleans()):
        return Range(start, end, "float", log=True)
    return Range(start, end, "float", step=draw(st.none() | st.floats(0.1, 9)))


ranges = int_ranges() | float_ranges()


def lists(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[List]:
    """Values of one type, none twice; null may stand beside them."""
    kinds = [integers, floats, texts, st.booleans(), st.dictionaries(keys, inner, max_size=3)]
    some = st.one_of([st.lists(kind, min_size=1, max_size=4, unique_by=repr) for kind in kinds])
    return st.tuples(some.filter(distinct), st.booleans()).map(
        lambda drawn: List((*drawn[0], None) if drawn[1] else tuple(drawn[0]))
    )


def distinct(values: list[Any]) -> bool:
    """Whether the values differ however their keys are ordered, 0.0 and -0.0 being one."""
    return all(one != other for index, one in enumerate(values) for other in values[:index])


def free(sets: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Knobs of any name, with such value sets among them."""
    return st.dictionaries(keys, st.recursive(scalars | sets, branching, max_leaves=6), max_size=3)


names = texts.filter(bool)
changed = st.just("train.batch_size") | keys.filter(bool).map(lambda key: f"user_knobs.{key}")


@st.composite
def zips(draw: Any) -> dict[str, Any]:
    """Two lists that advance together."""
    label, rows = draw(names), draw(st.lists(st.tuples(integers, texts), min_size=1, max_size=3, unique=True))
    return {
        key: List(tuple(column), label) for key, column in zip("ab", zip(*rows, strict=True), strict=True)
    }


def labels(knobs: dict[str, Any]) -> set[str]:
    """The labels of the `!zip`s among the knobs; lists of one label advance together, so they are as long."""
    return {value.label for value in knobs.values() if isinstance(value, List) and value.label}


in_grid = free(lists(scalars)) | zips()
in_search = free(ranges | lists(scalars | ranges)) | zips()
in_halving = free(ranges)
counts = st.integers(1, 99)


train_knobs = optional(
    lr_scheduler=st.none() | st.just({"name": "StepLR", "interval": "epoch"}),
    precision=st.sampled_from(["fp32", "bf16"]),
    max_grad_norm=st.none() | st.floats(0.1, 9) | st.integers(1, 9),
    compile=st.booleans(),
)
sections = optional(
    named_metrics=st.lists(metrics, max_size=2),
    fsdp_layer_cls=st.just(["a.b.C"]),
    dev_knob=st.just({"demo_mode": "imdb"}),
)


@st.composite
def trees(draw: Any, own: st.SearchStrategy[dict[str, Any]], epochs: int | None = None) -> dict[str, Any]:
    """A config's sections, epochs first in `train` where another argument says them."""
    optimizer = {"name": draw(names)} | ({"args": draw(own)} if draw(st.booleans()) else {})
    train = {"epochs": epochs or draw(counts), "batch_size": draw(counts), "optimizer": optimizer}
    user = {"user_knobs": draw(own)} if draw(st.booleans()) else {}
    assume(not labels(optimizer.get("args", {})) & labels(user.get("user_knobs", {})))
    return {**user, "train": train | draw(train_knobs), **draw(sections)}


rules = st.builds(MedianRule, metrics, directions, st.integers(1, 9)) | st.builds(
    PatienceRule, metrics, directions, st.integers(1, 9), st.floats(0, 9)
)
replicates = st.integers(1, 3)


@st.composite
def halvings(draw: Any) -> Generator:
    most = draw(st.integers(8, 99))
    tree = draw(trees(in_halving, most))
    tree["user_knobs"] = {**tree.get("user_knobs", {}), "drawn": draw(ranges)}
    shared = {"metric": draw(metrics), "direction": draw(directions), "max_epochs": most}
    if draw(st.booleans()):
        return Hyperband(tree, **shared, min_epochs=draw(st.integers(1, 8)), replicates=draw(replicates))
    return SuccessiveHalving(
        tree,
        num_runs=draw(counts),
        min_epochs=1,
        reduction_factor=2,
        min_early_stopping_rate=draw(st.integers(0, 3)),
        mode=draw(st.sampled_from(["sync", "async"])),
        **shared,
    )


@st.composite
def adaptive(draw: Any) -> Generator:
    tree = draw(trees(in_search))
    tree["user_knobs"] = {**tree.get("user_knobs", {}), "drawn": draw(ranges)}
    sampler = draw(st.sampled_from(["tpe", "gp", "qmc"]))
    return AdaptiveSearch(
        tree, draw(counts), draw(metrics), draw(directions), sampler, draw(counts), draw(st.none() | rules)
    )


@st.composite
def populations(draw: Any) -> Generator:
    tree = draw(trees(in_search))
    tree["train"]["epochs"] = draw(st.integers(2, 9))
    tree["user_knobs"] = {**tree.get("user_knobs", {}), "drawn": draw(ranges)}
    perturb = draw(st.none() | st.just(["user_knobs.drawn"]))
    shares = st.sampled_from([0.25, 0.5])
    judged = (draw(metrics), draw(directions))
    mode = draw(st.sampled_from(["sync", "async"]))
    return PopulationTraining(
        tree, draw(st.integers(4, 9)), 1, *judged, draw(shares), draw(shares), perturb, mode
    )


generators = st.one_of(
    st.builds(Config, trees(mappings), replicates=replicates, seed=st.none() | st.integers(0, 9)),
    st.builds(GridSearch, trees(in_grid), st.none() | rules),
    st.builds(RandomSearch, trees(in_search), counts, st.none() | rules),
    halvings(),
    adaptive(),
    populations(),
)

files = st.builds(
    ExperimentFile,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True),
    groups=st.lists(st.builds(Group, generators), min_size=1, max_size=3).map(tuple),
    mlspec=st.none() | st.just("specs.digits:DigitsSpec"),
    data=st.none() | mappings,
    seed=st.integers(0, 2**32 - 1),
    objective=st.none() | st.builds(Objective, metrics, directions),
    execution=st.builds(
        Execution,
        st.integers(0, 99),
        st.integers(1, 4),
        workers=st.none() | st.integers(1, 9),
        on_oom=st.none() | st.dictionaries(changed, st.sampled_from(["/2", "*16"]), min_size=1),
    ),
)
"""Experiment files, understood; those that they print as are valid."""
