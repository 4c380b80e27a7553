"""The knobs and keys of an experiment file: one table per mapping of the grammar."""

from collections.abc import Mapping

from rapidfire_cli.shapes import (
    DIRECTION,
    FLAG,
    METRIC,
    AnyOf,
    Choice,
    Form,
    Free,
    Integer,
    Items,
    Number,
    OrNull,
    Record,
    Shape,
    Text,
    Variants,
    alternatives,
)
from rapidfire_cli.terms import AUTO, DEMO_MODES, SEED_LIMIT, Tracker

_NAME = Text("a name")
_KNOB = Text("the path of a knob, such as train.optimizer.args.lr")
_DOTTED = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
SIZES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
"""Bytes by the unit of a size."""

_OWN = "put your own knobs under `user_knobs`"

_PATTERN = Text("a pattern of parameter names, such as head.* or *.bias")
_PATTERNS = AnyOf((_PATTERN, Items(_PATTERN, least=1)))
PARAMETER_GROUP = Record({"match": _PATTERNS}, required=("match",), free=True)
OPTIMIZER = Record(
    {
        "name": Text("the name of a class in torch.optim, or the dotted path of your own class"),
        "args": Free(),
        "match": _PATTERNS,
        "groups": Items(PARAMETER_GROUP),
    },
    required=("name",),
    hint="put optimizer arguments under `args`",
)
LR_SCHEDULER = Record(
    {
        "name": Text("the name of a class in torch.optim.lr_scheduler, or the dotted path of your own class"),
        "args": Free(),
        "interval": Choice(("step", "epoch")),
        "monitor": _NAME,
    },
    required=("name",),
    hint="put scheduler arguments under `args`",
)
TRAIN = Record(
    {
        "epochs": Integer(1),
        "batch_size": Integer(1),
        "optimizer": AnyOf((OPTIMIZER, Items(OPTIMIZER, least=1))),
        "lr_scheduler": OrNull(LR_SCHEDULER),
        "precision": Choice(("fp32", "bf16", "fp16")),
        "steps_per_epoch": OrNull(Integer(1)),
        "drop_last": FLAG,
        "grad_accumulation": Integer(1),
        "max_grad_norm": OrNull(Number(above=0)),
        "eval_batch_size": OrNull(Integer(1)),
        "compile": FLAG,
        "deterministic": FLAG,
        "on_nan": Choice(("fail", "continue")),
        "gpus": Integer(1),
        "batch_norm": Choice(("local", "sync")),
    },
    required=("epochs", "batch_size", "optimizer"),
    hint=_OWN,
)
CONFIG = Record(
    {
        "train": TRAIN,
        "user_knobs": Free(),
        "named_metrics": Items(METRIC),
        "fsdp_layer_cls": Items(Text("a dotted path such as package.module.Class", _DOTTED)),
        "dev_knob": Record({"demo_mode": Choice(tuple(DEMO_MODES))}),
    },
    required=("train",),
    hint=_OWN,
)

INEFFECTIVE: Mapping[str, str] = {
    "fsdp_layer_cls": "set `train.gpus` to shard the model; without it, runs use all GPUs of the machine",
}
"""Knobs that are accepted and change nothing while a run trains on one device, and what to do about it."""

RANGE = Record(
    {
        "start": Number(),
        "end": Number(),
        "dtype": Choice(("int", "float")),
        "log": FLAG,
        "step": Number(above=0),
    },
    required=("start", "end"),
)


def _rules() -> Mapping[str, Form]:
    from rapidfire_cli.stopping.registry import forms  # only files that stop early wait for it

    return forms()


EARLY_STOPPING = Variants("rule", _rules)
REPLICATES = Integer(1, below=1001)  # assumed: larger numbers are typing errors
_CONDITION = Text("a condition such as train.batch_size <= 128")
CONDITIONS = AnyOf((_CONDITION, Items(_CONDITION)))
FILTERS: Mapping[str, Shape] = {"where": CONDITIONS, "exclude": CONDITIONS}
WARM_START = Record(
    {
        "run": Text("the id of a run, 16 hex digits", "[0-9a-f]{16}"),
        "epoch": Integer(1),
        "matching": FLAG,
        "keep_schedule": FLAG,
    },
    required=("run", "epoch"),
)
SEED = Integer(0, below=SEED_LIMIT)
SINGLE = Record({"replicates": REPLICATES, "seed": SEED, "warm_start": WARM_START})
GRIDSEARCH = Record({"early_stopping": EARLY_STOPPING, "replicates": REPLICATES, **FILTERS})
RANDOMSEARCH = Record(
    {"num_runs": Integer(1), "early_stopping": EARLY_STOPPING, "replicates": REPLICATES, **FILTERS},
    required=("num_runs",),
)
SHA = Record(
    {
        "num_runs": Integer(1),
        "min_epochs": Integer(1),
        "max_epochs": Integer(1),
        "reduction_factor": Integer(2),
        "metric": METRIC,
        "direction": DIRECTION,
        "min_early_stopping_rate": Integer(0),
        "mode": Choice(("sync", "async")),
        "replicates": REPLICATES,
        **FILTERS,
    },
    required=("num_runs", "min_epochs", "max_epochs", "reduction_factor", "metric", "direction"),
)
HYPERBAND = Record(
    {
        "min_epochs": Integer(1),
        "max_epochs": Integer(1),
        "reduction_factor": Integer(2),
        "metric": METRIC,
        "direction": DIRECTION,
        "replicates": REPLICATES,
        **FILTERS,
    },
    required=("max_epochs", "metric", "direction"),
)
SEARCH = Record(
    {
        "num_runs": Integer(1),
        "metric": METRIC,
        "direction": DIRECTION,
        "sampler": Choice(("tpe", "gp", "cmaes", "qmc")),
        "startup": Integer(1),
        "early_stopping": EARLY_STOPPING,
        **FILTERS,
    },
    required=("num_runs", "metric", "direction"),
)
PBT = Record(
    {
        "population": Integer(2),
        "perturb_every": Integer(1),
        "metric": METRIC,
        "direction": DIRECTION,
        "quantile": Number(above=0, most=0.5),
        "resample": Number(least=0, most=1),
        "perturb": AnyOf((_KNOB, Items(_KNOB, least=1))),
        "mode": Choice(("sync", "async")),
        **FILTERS,
    },
    required=("population", "perturb_every", "metric", "direction"),
)
GENERATORS = {
    "config": SINGLE,
    "gridsearch": GRIDSEARCH,
    "randomsearch": RANDOMSEARCH,
    "sha": SHA,
    "hyperband": HYPERBAND,
    "search": SEARCH,
    "pbt": PBT,
}
"""What stands beside the sections, by the word that opens the group."""

SEARCHES = alternatives([f"`{word}:`" for word in GENERATORS if word != "config"])
"""Where value sets stand."""

GROUP_KEYS = ("config_group", *GENERATORS)
"""What opens the file's config groups, one of them per file."""

OBJECTIVE = Record(
    {"metric": METRIC, "direction": DIRECTION, "at": Choice(("last", "best"))},
    required=("metric", "direction"),
)
SIZE = AnyOf((Integer(0), Text("a size such as 512MiB", rf"\d{{1,9}} ?({'|'.join(SIZES)})")))
EXECUTION = Record(
    {
        "checkpoint_every": Number(least=0),
        "hang_timeout": OrNull(Number(above=0)),
        "chunks": Integer(1),
        "data_cache": SIZE,
        "disk_cache": SIZE,
        "data_workers": Integer(0),
        "prefetch": Integer(1),
        "keep": Choice(("resume", "weights")),
        "workers": Integer(1),
        "runs_per_gpu": AnyOf((Choice((AUTO,)), Integer(1))),
        "threads": Integer(1),
        "backend": Choice(("local", "ray")),
        "on_oom": Free(),
    },
    hint="put settings that change results under `train`",
)
EXTENDS = Text("the path of an experiment file, or a list of them")
FILE = Record(
    {
        "experiment": Text(
            "at most 100 letters, digits, dots, hyphens and underscores, starting with a letter or digit",
            r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
        ),
        "mlspec": Text(
            "a dotted path such as package.module:Class",
            rf"{_DOTTED}:[^\W\d]\w*",
            hint="write the module's dotted path, a colon and the class name",
        ),
        "data": Free(),
        "seed": Integer(0, below=SEED_LIMIT),
        "objective": OBJECTIVE,
        "execution": EXECUTION,
        "trackers": Items(Choice(tuple(map(str, Tracker)))),
    },
)
