"""Metrics are exact over an epoch's rows, whatever the batches were."""

import math
import sys

import pytest
import sklearn.metrics
import torch
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from rapidfire_cli.training import metric_buffer, metrics
from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.metric_buffer import MetricBuffer
from rapidfire_cli.training.predictions import Reader
from tests.training.sandbox import TrainingSandbox, leaf, same
from tests.training.specs import Margin, WithMetrics

ROWS = 200


def scored(names, logits, labels, batch=32, custom=None):
    kept = MetricBuffer(names, custom or {})
    for rows in torch.arange(len(logits)).split(batch):
        kept.add(kept.read(*outputs(logits[rows], labels[rows])))
    return kept.values()


def outputs(logits, labels, loss=None):
    """What compute_forward returned, the batch, and a reader of it that knows nothing yet."""
    return (
        {"loss": torch.tensor(0.0) if loss is None else loss, "logits": logits, "labels": labels},
        {},
        Reader(),
    )


@pytest.fixture
def multiclass():
    torch.manual_seed(1)
    return torch.randn(ROWS, 5), torch.randint(0, 5, (ROWS,))


@pytest.fixture
def binary():
    torch.manual_seed(1)
    return torch.randn(ROWS), torch.randint(0, 2, (ROWS,))


def test_multiclass_metrics_are_those_of_scikit_learn(multiclass):
    logits, labels = multiclass
    predicted, probabilities = logits.argmax(1), logits.softmax(1)
    values = scored(
        ["top1_accuracy", "top3_accuracy", "accuracy", "f1_score", "auroc", "cohen_kappa"], logits, labels
    )

    ours = sklearn.metrics
    assert values["top1_accuracy"] == ours.accuracy_score(labels, predicted)
    assert values["accuracy"] == pytest.approx(ours.accuracy_score(labels, predicted))
    assert values["top3_accuracy"] == ours.top_k_accuracy_score(labels, probabilities, k=3)
    assert values["f1_score"] == pytest.approx(ours.f1_score(labels, predicted, average="macro"))
    assert values["auroc"] == pytest.approx(ours.roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert values["cohen_kappa"] == pytest.approx(ours.cohen_kappa_score(labels, predicted), abs=1e-6)


@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 1)])
def test_binary_metrics_are_those_of_scikit_learn(binary, shape):
    logits, labels = binary
    values = scored(["top1_accuracy", "f1_score", "auroc"], logits.reshape(shape), labels.reshape(shape))

    assert values["top1_accuracy"] == sklearn.metrics.accuracy_score(labels, logits > 0)
    assert values["f1_score"] == pytest.approx(sklearn.metrics.f1_score(labels, logits > 0))
    assert values["auroc"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, logits))


def test_multilabel_metrics_are_those_of_scikit_learn():
    torch.manual_seed(1)
    logits, labels = torch.randn(ROWS, 3), torch.randint(0, 2, (ROWS, 3))

    ours = sklearn.metrics.f1_score(labels, logits > 0, average="macro")
    assert scored(["f1_score"], logits, labels)["f1_score"] == pytest.approx(ours)


def test_regression_metrics_are_those_of_scikit_learn(binary):
    logits, _ = binary
    labels = logits + torch.linspace(-1, 1, ROWS)
    values = scored(["r2_score", "mean_absolute_error"], logits.unsqueeze(1), labels)

    ours = sklearn.metrics
    assert values["r2_score"] == pytest.approx(ours.r2_score(labels, logits))
    assert values["mean_absolute_error"] == pytest.approx(ours.mean_absolute_error(labels, logits))


def test_more_places_than_classes_are_always_right(multiclass):
    assert scored(["top9_accuracy"], *multiclass) == {"top9_accuracy": 1.0}


@pytest.mark.parametrize("room", [1, 60, 10**9])
def test_how_many_rows_are_kept_changes_nothing(multiclass, monkeypatch, room):
    monkeypatch.setattr(metric_buffer, "BUFFER", room)
    logits, labels = multiclass

    values = scored(["top1_accuracy", "auroc"], logits, labels, batch=7)
    assert values == scored(["top1_accuracy", "auroc"], logits, labels, batch=ROWS)


@pytest.mark.parametrize("room", [1, 60, 10**9])
def test_scores_continue_from_their_state(multiclass, monkeypatch, room):
    monkeypatch.setattr(metric_buffer, "BUFFER", room)
    names, (logits, labels) = ["top1_accuracy", "auroc", "f1_score"], multiclass
    before, after = MetricBuffer(names, {}), MetricBuffer(names, {})

    before.add(before.read(*outputs(logits[:90], labels[:90])))
    after.restore(before.state())
    after.add(after.read(*outputs(logits[90:], labels[90:])))

    assert after.values() == scored(names, logits, labels)


def test_reset_forgets(multiclass):
    logits, labels = multiclass
    kept = MetricBuffer(["top1_accuracy", "f1_score"], {})
    kept.add(kept.read(*outputs(functional.one_hot(labels).float(), labels)))
    kept.values()
    kept.reset()
    kept.add(kept.read(*outputs(logits, labels)))

    assert kept.values() == scored(["top1_accuracy", "f1_score"], logits, labels)


def test_curves_and_metrics_in_want_of_arguments_are_no_names():
    assert metrics.known("auroc")
    assert metrics.known("mean_squared_error")
    for name in ("roc", "confusion_matrix", "precision_at_fixed_recall", "f_beta_score", "nonsense"):
        assert not metrics.known(name)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("spread", [1.0, 100.0], ids=["many equal logits", "few equal logits"])
def test_accuracy_is_that_of_torchmetrics(k, spread):
    torch.manual_seed(k)
    logits, labels = (spread * torch.randn(ROWS, 4)).round(), torch.randint(0, 4, (ROWS,))
    logits[::50, 0] = math.nan
    theirs = MulticlassAccuracy(4, top_k=k, average="micro")
    theirs.update(logits, labels)

    found = scored([f"top{k}_accuracy"], logits, labels)[f"top{k}_accuracy"]
    assert found == int(theirs.tp.sum()) / ROWS


def test_accuracy_continues_from_a_checkpoint_with_the_counts_of_torchmetrics(multiclass):
    logits, labels = multiclass
    theirs = MulticlassAccuracy(5, average="micro")
    theirs.update(logits[:90], labels[:90])
    ours = metrics.measure("top1_accuracy", logits, labels)
    ours.restore((theirs.metric_state, theirs._update_count))
    ours.update(logits[90:], labels[90:])

    assert ours.compute() == scored(["top1_accuracy"], logits, labels)["top1_accuracy"]


@pytest.mark.parametrize(
    "name",
    sorted(["top1_accuracy", *(name for name in metrics.names() if not metrics.needs_torchmetrics(name))]),
)
def test_a_metric_that_is_computed_here_does_not_import_torchmetrics(name, monkeypatch):
    for cached in (metrics._classification, metrics._regression):
        monkeypatch.setattr(metrics, cached.__name__, cached.__wrapped__)
    for module in ("torchmetrics", "torchmetrics.classification", "torchmetrics.regression"):
        monkeypatch.setitem(sys.modules, module, None)
    numbers, classes = torch.rand(8, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    several = torch.tensor([[0, 1, 1], [1, 0, 0]] * 4)

    defined = 0
    for logits, labels in (
        (numbers, classes),
        (numbers, several),
        (numbers, numbers),
        (numbers, numbers[:, 0]),
    ):
        try:
            scored([name], logits, labels)
            defined += 1
        except (Failure, ImportError):
            continue
    assert defined


def test_accuracy_refuses_shapes_it_is_not_defined_for():
    with pytest.raises(Failure, match=r"needs logits \(B, C\) or \(B,\) and labels \(B,\)"):
        scored(["top1_accuracy"], torch.randn(4, 3), torch.zeros(4, 3))


def test_a_classification_metric_of_values_is_refused(binary):
    with pytest.raises(Failure, match="`hinge` is not defined"):
        metrics.measure("hinge", *binary)


def test_a_run_reports_named_and_custom_metrics_of_both_splits(tmp_path):
    place = TrainingSandbox(tmp_path, "WithMetrics")
    place.train(leaf(named_metrics=("top1_accuracy", "f1_score")), until=3)

    names = ("loss", "top1_accuracy", "f1_score", "margin")
    assert place.epochs()[3].keys() == {(split, name) for split in ("train", "validation") for name in names}


def test_a_custom_metric_sees_each_splits_rows_alone(tmp_path):
    place = TrainingSandbox(tmp_path, "WithMetrics")
    place.train(leaf(), until=3)

    model, rows = WithMetrics().create_model({}), WithMetrics().load_data({}, {})["validation"]
    model.load_state_dict(place.weights())
    margin = Margin()
    margin.update(model(torch.stack([row["x"] for row in rows])), torch.zeros(len(rows)))
    assert place.epochs()[3]["validation", "margin"] == pytest.approx(margin.compute().item())


def test_a_model_output_of_transformers_is_a_mapping_too(tmp_path):
    plain, like = TrainingSandbox(tmp_path / "plain"), TrainingSandbox(tmp_path / "like", "LikeTransformers")
    plain.train(leaf(), until=3)
    like.train(leaf(), until=3)

    assert like.epochs() == plain.epochs()


def test_a_run_continues_its_metrics_in_the_middle_of_an_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(metric_buffer, "BUFFER", 40)
    config = leaf(named_metrics=("top1_accuracy", "auroc"), epochs=1)
    whole = TrainingSandbox(tmp_path / "whole", "WithMetrics")
    whole.train(config, until=1)
    stopped = TrainingSandbox(tmp_path / "stopped", "WithMetrics")
    stopped.stop_at = 3
    stopped.train(config, until=1)
    continued = TrainingSandbox(tmp_path / "stopped", "WithMetrics")
    continued.train(config, until=1)

    assert continued.epochs() == whole.epochs()


@pytest.mark.parametrize(
    ("form", "told"), [("dict", "is a dict"), ("vector", "has shape (2,)")], ids=["dict", "vector"]
)
def test_a_metric_that_computes_more_than_one_number_fails_at_the_first_batch(tmp_path, form, told):
    place = TrainingSandbox(tmp_path, "WithPairs")
    place.train(leaf(user_knobs={"form": form}), until=1)

    assert place.failure().cause == f"metric `pairs` {told}, not a single number"
    assert place.failure().step == 0


def test_trying_a_metric_on_a_first_batch_changes_nothing(tmp_path):
    config = leaf(named_metrics=(), epochs=2, user_knobs={"form": "number"})
    whole, stopped = (
        TrainingSandbox(tmp_path / "a", "WithPairs"),
        TrainingSandbox(tmp_path / "b", "WithPairs"),
    )
    whole.train(config, until=2)
    stopped.train(config, until=1)
    stopped.evict()
    stopped.train(config, until=2)

    assert whole.epochs()[1]["train", "pairs"] == 37
    assert whole.epochs()[1]["validation", "pairs"] == 15
    assert same(stopped.weights(), whole.weights())


def test_metrics_without_logits_fail_the_run(tmp_path):
    place = TrainingSandbox(tmp_path, "LossOnly")
    place.train(leaf(), until=1)
    place.train(leaf(named_metrics=()), until=1, run=2)

    assert place.failure().cause == "metrics need `logits`, but compute_forward did not return it"
    assert place.epochs(2)[1].keys() == {("train", "loss"), ("validation", "loss")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mean", [10_000.0, -311_030.0, 1e-3])
def test_regression_metrics_keep_the_spread_of_values_far_from_zero(dtype, mean):
    torch.manual_seed(1)
    scale = min(1.0, mean * mean)
    labels = (mean + scale * torch.randn(ROWS, dtype=torch.float64)).to(dtype)
    values = (labels.double() + scale * 0.2 * torch.randn(ROWS, dtype=torch.float64)).to(dtype)
    found = scored(["r2_score", "explained_variance", "mean_squared_error"], values, labels)

    one, other = labels.double().numpy(), values.double().numpy()
    assert found["r2_score"] == pytest.approx(sklearn.metrics.r2_score(one, other), abs=1e-9)
    explained = sklearn.metrics.explained_variance_score(one, other)
    assert found["explained_variance"] == pytest.approx(explained, abs=1e-9)
    squared = sklearn.metrics.mean_squared_error(one, other)
    assert found["mean_squared_error"] == pytest.approx(squared, rel=1e-9)


@pytest.mark.parametrize(("off", "value"), [(0.0, 1.0), (0.1, 0.0)])
def test_r2_of_equal_labels_is_one_or_zero(off, value):
    labels = torch.full((ROWS,), 0.1)
    assert scored(["r2_score"], labels + off, labels) == {"r2_score": value}


@pytest.mark.parametrize("name", ["top1_accuracy", "accuracy", "f1_score", "auroc", "cohen_kappa"])
def test_labels_that_do_not_count_are_ignored_by_every_metric_alike(multiclass, name):
    logits, labels = multiclass
    labels[::3] = -100

    kept = labels != -100
    assert scored([name], logits, labels) == scored([name], logits[kept], labels[kept])


def test_where_nothing_counts_there_is_no_value(multiclass):
    logits, labels = multiclass
    found = scored(["top1_accuracy", "f1_score"], logits, torch.full_like(labels, -100))

    assert all(map(math.isnan, found.values()))
    assert found.keys() == {"top1_accuracy", "f1_score"}


def test_values_inside_an_epoch_change_nothing_of_what_it_comes_to(multiclass):
    logits, labels = multiclass
    names = ["top1_accuracy", "f1_score", "auroc"]
    kept = MetricBuffer(names, {"margin": Margin()})
    for rows in torch.arange(ROWS).split(7):
        kept.add(kept.read(*outputs(logits[rows], labels[rows])))
        seen = slice(int(rows[-1]) + 1)
        assert kept.partial_values() == scored(names, logits[seen], labels[seen], ROWS, {"margin": Margin()})

    assert kept.values() == scored(names, logits, labels, ROWS, {"margin": Margin()})


def test_inside_an_epoch_a_metric_that_holds_many_rows_is_left_out(multiclass, monkeypatch):
    logits, labels = multiclass
    kept = MetricBuffer(["auroc", "f1_score"], {})
    kept.add(kept.read(*outputs(logits, labels)))
    monkeypatch.setattr(metric_buffer, "BUFFER", 1)
    kept.add(kept.read(*outputs(logits, labels)))
    assert kept.partial_values().keys() == {"auroc", "f1_score"}

    monkeypatch.setattr(metric_buffer, "LOOKED_AT", 1000)
    assert kept.partial_values().keys() == {"f1_score"}
    assert kept.values().keys() == {"auroc", "f1_score"}


def test_logits_are_kept_without_the_storage_they_were_cut_from(multiclass):
    logits, labels = multiclass
    wide = torch.cat([logits, torch.zeros(ROWS, 995)], 1)
    kept = MetricBuffer(["top1_accuracy"], {})
    kept.add(kept.read(*outputs(wide[:, :5], labels)))

    assert kept.state()[0]["kept"][0].untyped_storage().nbytes() == logits.nbytes
