"""Config groups, sections and knobs."""

import pytest

from rapidfire_cli.stopping.median import MedianRule
from rapidfire_cli.syntax.ast import (
    AdaptiveSearch,
    Config,
    GridSearch,
    Hyperband,
    PopulationTraining,
    RandomSearch,
    SuccessiveHalving,
)
from tests.syntax.reading import ADAM, TRAIN, generator, refused, understood, wrong

FINE = f"epochs: 1, batch_size: 8, {ADAM}"


def test_nested_lists_of_groups_are_flattened_in_file_order():
    one = f"config: {{{TRAIN}}}"
    file = understood(f"config_group: [{{{one}}}, [[{{{one}}}], {{{one}}}]]")
    assert [group.at for group in file.groups] == [
        ("config_group", 0, "config"),
        ("config_group", 1, 0, 0, "config"),
        ("config_group", 1, 1, "config"),
    ]


def test_a_group_need_not_stand_in_a_list():
    (group,) = understood(f"config_group: {{config: {{{TRAIN}}}}}").groups
    assert group.at == ("config_group", "config")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("config_group: []", ["E207 1:15"]),
        ("config_group: [[]]", ["E207 1:16"]),
        ("config_group: 3", ["E203 1:15"]),
        ("config_group: !list []", ["E203 1:15"]),
        ("config_group: {}", ["E207 1:15"]),
        (f"config_group: [{{{TRAIN}}}]", ["E207 1:16", "E201 1:17"]),
        (f"config_group: {{config: {{{TRAIN}}}, sha: {{}}}}", ["E208 1:104"]),
        ("config: 3", ["E203 1:9"]),
        ("config: !list [{}]", ["E203 1:9"]),
        ("config: {}", ["E202 1:1"]),
        ("config: {train: {}}", ["E202 1:10"] * 3),
        ("config: {train: 3}", ["E203 1:17"]),
    ],
)
def test_a_malformed_group_is_located(text: str, found: list[str]):
    assert wrong(text) == found


@pytest.mark.parametrize(
    "knob",
    [
        "lr_scheduler: null",
        "lr_scheduler: {name: StepLR}",
        "lr_scheduler: {name: ReduceLROnPlateau, args: {patience: 2}, interval: epoch, monitor: loss}",
        "lr_scheduler: {name: StepLR, interval: step}",
        *["precision: fp32", "precision: bf16", "precision: fp16"],
        *["grad_accumulation: 4", "max_grad_norm: 1", "max_grad_norm: 0.5", "max_grad_norm: null"],
        *["eval_batch_size: 512", "eval_batch_size: null", "compile: true", "deterministic: false"],
        *["on_nan: fail", "on_nan: continue", "gpus: 1"],
    ],
)
def test_train_knobs(knob: str):
    assert isinstance(generator(f"config: {{train: {{{FINE}, {knob}}}}}"), Config)


@pytest.mark.parametrize(
    ("knob", "code"),
    [
        ("epochs: 1.0", "E203"),
        ("epochs: true", "E203"),
        ("epochs: null", "E203"),
        ("epochs: 0", "E204"),
        ("batch_size: -1", "E204"),
        ("batch_size: '8'", "E203"),
        ("optimizer: Adam", "E203"),
        ("optimizer: {name: 3}", "E203"),
        ("optimizer: {name: ''}", "E206"),
        ("optimizer: {args: {}}", "E202"),
        ("optimizer: {name: Adam, args: [1]}", "E203"),
        ("optimizer: {name: Adam, lr: 1}", "E201"),
        ("lr_scheduler: {name: StepLR, interval: batch}", "E205"),
        ("lr_scheduler: []", "E203"),
        ("precision: fp64", "E205"),
        ("precision: 32", "E203"),
        ("grad_accumulation: 0", "E204"),
        ("max_grad_norm: 0", "E204"),
        ("max_grad_norm: a", "E203"),
        ("eval_batch_size: 0", "E204"),
        ("compile: 1", "E203"),
        ("compile: yes", "E203"),
        ("deterministic: null", "E203"),
        ("on_nan: stop", "E205"),
        ("gpus: 0", "E204"),
        ("gpus: 0", "E204"),
        ("user_knobs: {a: 1}", "E201"),
        ("learning_rate: 1", "E201"),
    ],
)
def test_a_train_knob_has_a_type_and_bounds(knob: str, code: str):
    key, _ = knob.split(":", maxsplit=1)
    kept = [part for part in ("epochs: 1", "batch_size: 8", ADAM) if not part.startswith(f"{key}:")]
    problems = refused(f"config: {{train: {{{', '.join([*kept, knob])}}}}}")
    assert [problem.code for problem in problems] == [code]


@pytest.mark.parametrize(
    ("section", "code"),
    [
        ("user_knobs: [a]", "E203"),
        ("user_knobs:", "E203"),
        ("named_metrics: top1_accuracy", "E203"),
        ("named_metrics: [1]", "E203"),
        ("named_metrics: [top0_accuracy]", "E206"),
        ("named_metrics: [top_accuracy]", "E206"),
        ("named_metrics: [top-1_accuracy]", "E206"),
        ("named_metrics: [top05_accuracy]", "E206"),
        ("named_metrics: [topk_accuracy]", "E206"),
        ("fsdp_layer_cls: a.B", "E203"),
        ("fsdp_layer_cls: [a..B]", "E206"),
        ("dev_knob: {demo_mode: cifar}", "E205"),
        ("dev_knob: {demo: imdb}", "E201"),
        ("metrics: [a]", "E201"),
    ],
)
def test_a_section_has_a_form(section: str, code: str):
    problems = refused(f"config:\n  {TRAIN}\n  {section}\n")
    assert [problem.code for problem in problems] == [code]


@pytest.mark.parametrize(
    "name", ["top1_accuracy", "top12_accuracy", "f1_score", "my metric", "stop0_accuracy", "loss"]
)
def test_other_metric_names_are_left_to_torchmetrics(name: str):
    assert understood(f"config:\n  {TRAIN}\n  named_metrics: [{name}]\n")


@pytest.mark.parametrize("gpus", ["2", "!list [1, 2]", "!range [1, 4]"])
def test_a_run_may_ask_for_several_gpus(gpus: str):
    assert understood(f"randomsearch: {{num_runs: 1, train: {{{FINE}, gpus: {gpus}}}}}")


@pytest.mark.parametrize("change", ["'*2'", "/2", "4"])
def test_no_change_after_an_out_of_memory_changes_the_number_of_gpus(change: str):
    text = f"execution: {{on_oom: {{train.gpus: {change}}}}}\nconfig: {{{TRAIN}}}"
    assert [problem.code for problem in refused(text)] == ["E351"]


def test_knobs_of_several_gpus_are_said_to_have_no_effect():
    sections = "dev_knob: {demo_mode: imdb}, fsdp_layer_cls: [a.B, a.C]"
    warnings = understood(f"config: {{{TRAIN}, {sections}}}").warnings
    assert [(one.code, one.message.split()[0]) for one in warnings] == [
        ("W201", "`fsdp_layer_cls`"),
    ]
    assert not understood(f"config: {{{TRAIN}, dev_knob: {{}}, user_knobs: {{fsdp_layer_cls: 1}}}}").warnings


def test_named_metrics_inside_train_move_beside_it():
    inside = generator(f"config: {{train: {{{FINE}, named_metrics: [top1_accuracy]}}}}")
    beside = generator(f"config: {{train: {{{FINE}}}, named_metrics: [top1_accuracy]}}")
    assert inside == beside


def test_named_metrics_inside_one_alternative_of_train_are_refused():
    text = (
        f"gridsearch: {{train: !list [{{{FINE}}}, {{epochs: 2, batch_size: 8, {ADAM}, named_metrics: [a]}}]}}"
    )
    (problem,) = refused(text)
    assert (problem.code, problem.hint) == ("E201", "`named_metrics` belongs beside `train`")


def test_every_alternative_of_a_knob_is_checked():
    assert wrong("""
gridsearch:
  train:
    epochs: !list [1, 0]
    batch_size: !list [!list [8, a], 1]
    optimizer: !list [{name: Adam}, {nam: SGD}]
""") == ["E204 4:23", "E203 5:34", "E202 6:37", "E201 6:38"]


@pytest.mark.parametrize(
    ("knob", "found"),
    [
        ("batch_size: !range [8, 64]", []),
        ("batch_size: !range [0, 64]", ["E204"]),
        ("batch_size: !range [8, 64.0]", ["E203"]),
        ("batch_size: !range {start: 8, end: 64, dtype: float}", ["E203"]),
        ("max_grad_norm: !range [0.1, 5.0]", []),
        ("precision: !range [1, 2]", ["E203"]),
        ("optimizer: !range [1, 2]", ["E203"]),
    ],
)
def test_a_range_must_fit_its_knob(knob: str, found: list[str]):
    key, _ = knob.split(":", maxsplit=1)
    kept = [part for part in ("epochs: 1", "batch_size: 8", ADAM) if not part.startswith(f"{key}:")]
    text = f"randomsearch: {{num_runs: 1, train: {{{', '.join([*kept, knob])}}}}}"
    assert [problem.code for problem in (refused(text) if found else ())] == found
    if not found:
        assert understood(text)


HALVING = {
    "num_runs": "8",
    "min_epochs": "1",
    "max_epochs": "8",
    "reduction_factor": "2",
    "metric": "loss",
    "direction": "min",
    "train": "{batch_size: 8, optimizer: {name: Adam, args: {lr: !range [1e-5, 1e-3]}}}",
}


def halving(**changes: str | None) -> str:
    said = {**HALVING, **changes}
    return "sha: {" + ", ".join(f"{key}: {value}" for key, value in said.items() if value is not None) + "}"


def test_successive_halving_needs_no_epochs():
    found = generator(halving())
    assert isinstance(found, SuccessiveHalving)
    assert found.tree["train"]["epochs"] == 8  # type: ignore[index, call-overload]


def test_successive_halving_takes_a_minimum_early_stopping_rate():
    found = generator(halving(min_early_stopping_rate="3"))
    assert isinstance(found, SuccessiveHalving)
    assert found.min_early_stopping_rate == 3


def test_successive_halving_waits_at_its_rungs_unless_told_otherwise():
    modes = [generator(halving(mode=mode)) for mode in (None, "sync", "async")]
    assert [found.mode for found in modes if isinstance(found, SuccessiveHalving)] == [
        "sync",
        "sync",
        "async",
    ]


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"num_runs": "0"}, ["E204"]),
        ({"mode": "both"}, ["E205"]),
        ({"num_runs": None}, ["E202"]),
        ({"num_runs": "!list [1, 2]"}, ["E301"]),
        ({"min_epochs": "9"}, ["E310"]),
        ({"min_early_stopping_rate": "4"}, ["E310"]),
        ({"min_early_stopping_rate": "-1"}, ["E204"]),
        ({"reduction_factor": "1"}, ["E204"]),
        ({"reduction_factor": "2.5"}, ["E203"]),
        ({"max_epochs": "'8'"}, ["E203"]),
        ({"metric": "top0_accuracy"}, ["E206"]),
        ({"direction": "up"}, ["E205"]),
        ({"train": "{batch_size: 8, optimizer: {name: Adam}}"}, ["E309"]),
        ({"train": "{batch_size: !list [8, 16], optimizer: {name: Adam}}"}, ["E308"]),
        ({"train": "{batch_size: !range [8, 16], optimizer: {name: !list [Adam, SGD]}}"}, ["E308"]),
    ],
)
def test_successive_halving_has_rules(changes: dict[str, str], codes: list[str]):
    assert [problem.code for problem in refused(halving(**changes))] == codes


def hyperband(**changes: str | None) -> str:
    said = {"max_epochs": "9", "metric": "loss", "direction": "min", "train": HALVING["train"], **changes}
    text = ", ".join(f"{key}: {value}" for key, value in said.items() if value is not None)
    return f"hyperband: {{{text}}}"


def test_hyperband_has_usual_arguments_and_needs_no_epochs():
    found = generator(hyperband())
    assert isinstance(found, Hyperband)
    assert (found.max_epochs, found.min_epochs, found.reduction_factor) == (9, 1, 3)
    assert found.tree["train"]["epochs"] == 9  # type: ignore[index, call-overload]


def test_hyperband_draws_from_lists_too():
    text = hyperband(train="{batch_size: !list [8, 16], optimizer: {name: !list [Adam, SGD]}}")
    assert isinstance(generator(text), Hyperband)


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"max_epochs": None}, ["E202", "E202"]),  # nor does `train` say how many epochs
        ({"metric": None}, ["E202"]),
        ({"direction": None}, ["E202"]),
        ({"num_runs": "8"}, ["E201"]),
        ({"min_epochs": "10"}, ["E310"]),
        ({"reduction_factor": "1"}, ["E204"]),
    ],
)
def test_hyperband_has_rules(changes: dict[str, str | None], codes: list[str]):
    assert [problem.code for problem in refused(hyperband(**changes))] == codes


@pytest.mark.parametrize("word", ["config", "gridsearch", "randomsearch", "sha", "hyperband"])
def test_any_group_may_have_replicates(word: str):
    more = {"randomsearch": "num_runs: 2, ", "config": "", "gridsearch": ""}
    text = {
        "sha": halving(replicates="3"),
        "hyperband": hyperband(replicates="3"),
    }.get(word) or f"{word}: {{replicates: 3, {more[word]}{TRAIN}}}"
    assert generator(text).replicates == 3


@pytest.mark.parametrize("replicates", ["0", "1001"])
def test_replicates_are_within_bounds(replicates: str):
    assert [problem.code for problem in refused(f"config: {{replicates: {replicates}, {TRAIN}}}")] == ["E204"]


ONE_RANGE = "{epochs: 1, batch_size: !range {start: 8, end: 16}, optimizer: {name: Adam}}"
SEARCH = {"num_runs": "9", "metric": "loss", "direction": "min"}


def search(**changes: str | None) -> str:
    train = "{epochs: 1, batch_size: !list [8, 16], optimizer: {name: Adam}}"
    said = {**SEARCH, "train": train, **changes}
    return f"search: {{{', '.join(f'{key}: {value}' for key, value in said.items() if value is not None)}}}"


def test_a_search_has_usual_arguments():
    found = generator(search())
    assert isinstance(found, AdaptiveSearch)
    assert (found.num_runs, found.metric, found.direction) == (9, "loss", "min")
    assert found.sampler == "tpe" and found.startup is None


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"num_runs": None}, ["E202"]),
        ({"metric": None}, ["E202"]),
        ({"direction": None}, ["E202"]),
        ({"early_stopping": "{rule: halving, metric: loss, direction: min}"}, ["E205"]),
        ({"sampler": "random"}, ["E205"]),
        ({"sampler": "cmaes"}, ["E308"]),
        ({"sampler": "cmaes", "train": ONE_RANGE}, ["E309"]),
        ({"startup": "0"}, ["E204"]),
        ({"replicates": "2"}, ["E201"]),
        ({"train": "{epochs: 1, batch_size: 8, optimizer: {name: Adam}}"}, ["E309"]),
    ],
)
def test_a_search_has_rules(changes: dict[str, str | None], codes: list[str]):
    assert [problem.code for problem in refused(search(**changes))] == codes


@pytest.mark.parametrize("id", ["1234567890123456", "1234567890e12345"])
def test_an_id_of_digits_is_put_in_quotes(id: str):
    [problem] = refused(f"config: {{warm_start: {{run: {id}, epoch: 1}}, {TRAIN}}}")
    if problem.code == "E203":
        assert problem.hint == "put it in quotes, so that it is a string"
    quoted = generator(f"config: {{warm_start: {{run: '{id}', epoch: 1}}, {TRAIN}}}")
    assert isinstance(quoted, Config) and quoted.warm_start and quoted.warm_start.run == id


PBT = {"population": "8", "perturb_every": "2", "metric": "loss", "direction": "min"}


def pbt(**changes: str | None) -> str:
    train = "{epochs: 6, batch_size: !list [8, 16], optimizer: {name: Adam}}"
    said = {**PBT, "train": train, **changes}
    return f"pbt: {{{', '.join(f'{key}: {value}' for key, value in said.items() if value is not None)}}}"


def test_population_based_training_has_usual_arguments():
    found = generator(pbt())
    assert isinstance(found, PopulationTraining)
    assert (found.quantile, found.resample, found.perturb) == (0.25, 0.25, None)
    assert (found.forks, found.rounds, found.epochs) == (2, 2, 6)
    assert generator(pbt(resample="1")) == generator(pbt(resample="1.0"))
    assert generator(pbt(perturb="train")) == generator(pbt(perturb="[train]"))
    modes = [generator(pbt(mode=mode)) for mode in (None, "sync", "async")]
    assert [one.mode for one in modes if isinstance(one, PopulationTraining)] == ["sync", "sync", "async"]


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"population": None}, ["E202"]),
        ({"population": "1"}, ["E204"]),
        ({"perturb_every": None}, ["E202"]),
        ({"perturb_every": "6"}, ["E314"]),
        ({"quantile": "0"}, ["E204"]),
        ({"quantile": "0.6"}, ["E204"]),
        ({"quantile": "0.1"}, ["E314"]),
        ({"resample": "1.5"}, ["E204"]),
        ({"perturb": "train.batch"}, ["E314"]),
        ({"perturb": "train.optimizer"}, ["E314"]),
        ({"mode": "both"}, ["E205"]),
        ({"synchronous": "false"}, ["E201"]),
        ({"replicates": "2"}, ["E201"]),
        ({"train": "{epochs: 6, batch_size: 8, optimizer: {name: Adam}}"}, ["E309"]),
        ({"train": "{epochs: !list [4, 6], batch_size: 8, optimizer: {name: Adam}}"}, ["E301"]),
        ({"train": "!list [{epochs: 4, batch_size: 8, optimizer: {name: Adam}}]"}, ["E301"]),
    ],
)
def test_population_based_training_has_rules(changes: dict[str, str | None], codes: list[str]):
    assert [problem.code for problem in refused(pbt(**changes))] == codes


RULE = "early_stopping: {rule: median, metric: loss, direction: min}"


def test_a_grid_and_a_random_search_may_stop_runs_early():
    grid, search = (
        generator(f"gridsearch: {{{RULE}, {TRAIN}}}"),
        generator(f"randomsearch: {{num_runs: 1, {RULE[:-1]}, min_epochs: 3}}, {TRAIN}}}"),
    )
    assert isinstance(grid, GridSearch) and grid.early_stopping == MedianRule("loss", "min", 1)
    assert isinstance(search, RandomSearch) and search.early_stopping == MedianRule("loss", "min", 3)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (f"config: {{{RULE}, {TRAIN}}}", ["E201"]),
        (hyperband(early_stopping="{rule: median, metric: loss, direction: min}"), ["E201"]),
        (f"gridsearch: {{early_stopping: median, {TRAIN}}}", ["E203"]),
        (f"gridsearch: {{early_stopping: {{rule: mean, metric: loss, direction: min}}, {TRAIN}}}", ["E205"]),
        (f"gridsearch: {{early_stopping: {{rule: median}}, {TRAIN}}}", ["E202", "E202"]),
    ],
)
def test_early_stopping_has_rules(text: str, codes: list[str]):
    assert [problem.code for problem in refused(text)] == codes


def test_a_grid_rejects_a_range_wherever_it_hides():
    text = f"gridsearch: {{{TRAIN}, user_knobs: {{a: !list [{{b: !range [1, 2]}}, {{c: 1}}]}}}}"
    assert [problem.code for problem in refused(text)] == ["E308"]


def test_a_config_rejects_every_value_set():
    text = f"config: {{{TRAIN}, user_knobs: {{a: !list [1, 2], b: [!range [1, 2]]}}}}"
    assert [problem.code for problem in refused(text)] == ["E301", "E301"]


@pytest.mark.parametrize(
    ("value", "code", "hint"),
    [
        ("atuo", "E205", "did you mean `auto`?"),
        ("0", "E204", ""),
        ("1.5", "E203", ""),
        ("2.0", "E203", "write 2"),
        ("true", "E203", ""),
        ("'2'", "E205", "write 2"),
        ("null", "E203", "give it a value, or remove the key"),
    ],
)
def test_the_number_of_runs_that_share_a_gpu_is_auto_or_an_integer(value, code, hint):
    (problem,) = refused(f"execution: {{runs_per_gpu: {value}}}\nconfig: {{{TRAIN}}}")
    assert (problem.code, problem.hint) == (code, hint)
    assert problem.expected == "auto or an integer of at least 1"


@pytest.mark.parametrize("value", ["auto", 3])
def test_runs_that_share_a_gpu_can_be_counted_or_measured(value):
    assert (
        understood(f"execution: {{runs_per_gpu: {value}}}\nconfig: {{{TRAIN}}}").execution.runs_per_gpu
        == value
    )
