"""Every named metric is what scikit-learn, or float64 by hand, makes of all rows at once."""

import warnings

import numpy as np
import pytest
import torch

from rapidfire_cli.training import metric_buffer, metrics
from rapidfire_cli.training.metric_buffer import MetricBuffer
from rapidfire_cli.training.predictions import Reader
from tests.shares import share
from tests.training import references as by

ROWS = 300
SEEDS = 40
KINDS = {
    "binary": by.BINARY,
    "multiclass": by.MULTICLASS,
    "multilabel": by.MULTILABEL,
    "values": by.VALUES,
    "outputs": by.OUTPUTS,
    "distributions": by.DISTRIBUTIONS,
    "ensembles": by.ENSEMBLES,
}
DATA = ("plain", "offset", "imbalanced", "ignored")
PAIRS = [(kind, name) for kind, references in KINDS.items() for name in references]


def drawn(kind, data, seed):
    """Logits and labels, float32: around 10,000, with one rare and one missing class, with labels of -100."""
    generator = torch.Generator().manual_seed(seed)
    classes = {"binary": 2, "multiclass": 5}.get(kind)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    if classes:
        shares = torch.tensor([0.9, 0.08, 0.02, 0.0, 0.0] if data == "imbalanced" else [1.0] * 5)[:classes]
        labels = torch.multinomial(shares, ROWS, replacement=True, generator=generator)
        logits = normal(ROWS, classes) + torch.nn.functional.one_hot(labels, classes)
        logits = logits if kind == "multiclass" else logits[:, 1] - logits[:, 0] - 0.1
        logits = (
            logits * 40 if data == "offset" else logits
        )  # as sure as float32's sigmoid can tell, and more
    elif kind == "multilabel":
        logits = normal(ROWS, 4)
        above = 1.8 if data == "imbalanced" else 0.3
        labels = (logits + normal(ROWS, 4) > above).long()
    elif kind == "distributions":
        logits, labels = normal(ROWS, 4), (3 * normal(ROWS, 4)).softmax(1)
        labels[::7] = torch.tensor([0.5, 0.0, 0.5, 0.0])
    elif kind == "ensembles":
        labels = normal(ROWS) + (10_000 if data == "offset" else 0)
        logits = labels[:, None] + normal(ROWS, 6)
    else:
        labels = normal(ROWS, 3).abs() + {"offset": 10_000, "imbalanced": 0.01}.get(data, 1)
        logits = (labels + 0.3 * normal(ROWS, 3)).abs()
        logits, labels = (logits, labels) if kind == "outputs" else (logits[:, 0], labels[:, 0])
    if data == "ignored":
        if kind == "multilabel":
            labels[torch.rand(labels.shape, generator=generator) < 0.3] = -100
        elif classes:
            labels[::3] = -100
        else:
            labels = labels.double()
            logits = logits.double()
    return logits, labels


def found(kind, names, logits, labels):
    kept = MetricBuffer(names, {})
    for rows in torch.arange(len(logits)).split(32):
        outputs = {"loss": torch.tensor(0.0), "logits": logits[rows], "labels": labels[rows]}
        kept.add(kept.read(outputs, {}, Reader()))
    return kept.values()


def check(kind, data, seed):
    names = list(KINDS[kind])
    logits, labels = drawn(kind, data, seed)
    ours = found(kind, names, logits, labels)
    z, y = logits.double().numpy(), labels.numpy()
    if y.ndim == 1:
        z, y = z[y != -100], y[y != -100]
    y = y.astype(np.float64) if np.issubdtype(y.dtype, np.floating) else y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = {name: float(KINDS[kind][name](z, y)) for name in names}
    wrong = {
        name: (ours[name], theirs[name])
        for name in names
        if ours[name] != pytest.approx(theirs[name], rel=1e-6, abs=1e-9, nan_ok=True)
    }
    assert not wrong, (kind, data, seed, wrong)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kind", share(KINDS, 2))
def test_it_is_what_others_compute(kind, data, monkeypatch):
    monkeypatch.setattr(metric_buffer, "BUFFER", 2000)
    check(kind, data, seed=1)


@pytest.mark.campaign
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_others_compute_again_and_again(kind, data, monkeypatch):
    for seed in range(2, SEEDS):
        monkeypatch.setattr(metric_buffer, "BUFFER", 4000 if seed % 2 else 2**21)
        check(kind, data, seed)


def test_every_name_that_is_offered_is_compared():
    assert {name for _, name in PAIRS} >= {*metrics.names()}
