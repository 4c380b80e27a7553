"""Logits and labels are read as they were meant, or refused."""

import pytest
import torch
import torchmetrics
from torch import nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutput, TokenClassifierOutput

from rapidfire_cli.training.failure import Failure
from rapidfire_cli.training.metric_buffer import MetricBuffer
from rapidfire_cli.training.predictions import Reader, counted, is_causal

B, T, C = 4, 6, 3


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(3)


def tokens(classes=C):
    """Logits (B, T, C) and labels (B, T) of which some do not count."""
    labels = torch.randint(0, classes, (B, T))
    labels[:, -2:] = -100
    return torch.randn(B, T, classes), labels


def entropy(logits, labels):
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten())


def read(logits, labels, loss=None, reader=None):
    loss = torch.tensor(0.5) if loss is None else loss
    outputs = {"loss": loss, "logits": logits, "labels": labels}
    return counted((reader or Reader()).flat(outputs, (logits, labels)))


def same(pair, logits, labels):
    kept = labels.flatten() != -100
    expected = logits.flatten(0, -2)[kept], labels.flatten()[kept]
    return all(torch.equal(one, other) for one, other in zip(pair, expected, strict=True))


def test_classes_are_found_in_the_last_and_in_the_second_dimension():
    logits, labels = tokens()

    assert same(read(logits, labels), logits, labels)
    assert same(read(logits.movedim(-1, 1), labels), logits, labels)
    assert same(read(logits.flatten(0, 1), labels.flatten()), logits, labels)


def test_pixels_are_read_like_tokens():
    logits, labels = torch.randn(2, 5, 4, 3), torch.randint(0, 3, (2, 5, 4))

    assert same(read(logits, labels), logits, labels)
    assert same(read(logits.movedim(-1, 1), labels), logits, labels)


@pytest.mark.parametrize("reduction", ["over tokens", "over rows", "of sums", "sum"])
def test_where_tokens_and_classes_are_as_many_the_loss_tells(reduction):
    logits, labels = tokens(T)
    each = functional.cross_entropy(logits.movedim(-1, 1), labels, reduction="none")
    known = labels != -100
    means = {"over tokens": each.sum() / known.sum(), "over rows": (each.sum(1) / known.sum(1)).mean()}
    loss = {**means, "of sums": each.sum(1).mean(), "sum": each.sum()}[reduction]

    assert same(read(logits, labels, loss), logits, labels)
    assert same(read(logits.movedim(-1, 1), labels, loss), logits, labels)


def test_what_an_earlier_batch_settled_holds_where_the_loss_cannot_tell():
    reader = Reader()
    read(*tokens(), reader=reader)
    logits, labels = tokens(T)

    assert same(read(logits, labels, reader=reader), logits, labels)
    again = Reader()
    again.restore(reader.state())
    assert same(read(logits, labels, reader=again), logits, labels)


def test_what_can_be_read_in_two_ways_is_refused():
    told = r"logits \(B, 6, 6\) and labels \(B, 6\) can be read as \(B, T, C\) or \(B, C, T\)"
    with pytest.raises(Failure, match=rf"{told}: the loss is the cross entropy of neither; return logits"):
        read(*tokens(T))


def test_a_model_of_transformers_puts_classes_last():
    logits, labels = tokens(T)
    outputs = TokenClassifierOutput(loss=torch.tensor(0.5), logits=logits)

    assert same(counted(Reader().flat(outputs, (logits, labels))), logits, labels)


@pytest.mark.parametrize("shape", [(B,), (B, 1), (B, T), (B, T, 1)])
def test_binary_logits_are_read_one_for_each_label(shape):
    logits, labels = torch.randn(shape), torch.randint(0, 2, (shape if len(shape) < 3 else (B, T)))
    flat = read(logits, labels)

    assert flat[0].ndim == flat[1].ndim == (2 if shape == (B, T) else 1)


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(Failure, match=r"metrics cannot be computed from logits \(B, 5\) and labels \(B, 2\)"):
        read(torch.randn(B, 5), torch.zeros(B, 2, dtype=torch.long))


def test_labels_that_are_values_all_count():
    labels = torch.tensor([-100.0, 1.0])
    assert torch.equal(read(torch.zeros(2), labels)[1], labels)


def causal():
    config = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=7, **config))


def test_a_causal_language_models_logits_are_for_the_next_token():
    model, labels = causal(), torch.randint(0, 7, (B, T))
    labels[1:, 4:] = -100
    outputs = model(input_ids=labels.clamp(min=0), labels=labels)
    batch, reader = {"labels": labels}, Reader(is_causal(model))
    following = outputs.logits[:, :-1], labels[:, 1:]

    assert isinstance(outputs, dict)
    assert reader.causal
    assert same(counted(reader.flat(outputs, reader.raw(outputs, batch))), *following)
    assert same(counted(reader.flat(dict(outputs), reader.raw(outputs, batch))), *following)
    for each in (outputs, dict(outputs), {"loss": outputs.loss}):
        weight = reader.weight(each, batch, B)
        assert weight == (following[1] != -100).sum()
    assert outputs.loss.item() == pytest.approx(entropy(*following).item())


def test_a_causal_language_model_whose_labels_are_shifted_before_is_taken_as_it_is():
    model, text = causal(), torch.randint(0, 7, (B, T + 1))
    words, labels = text[:, :-1], text[:, 1:]
    logits = model(input_ids=words).logits
    outputs, reader = {"loss": entropy(logits, labels), "logits": logits}, Reader(is_causal(model))

    assert same(reader.flat(outputs, (logits, labels)), logits, labels)
    assert reader.weight(outputs, {"labels": labels}, B) == B * T


def test_other_models_are_not_causal():
    assert not is_causal(nn.Sequential(nn.Linear(1, 1)))


@pytest.mark.parametrize("causal", [False, True])
def test_transcripts_weigh_a_row_each(causal):
    outputs = CausalLMOutput(loss=torch.tensor(0.5), logits=torch.randn(B, 50, C))
    labels = torch.randint(0, C, (B, T))

    assert Reader(causal).weight(outputs, {"labels": labels}, B) == B


@pytest.mark.parametrize(
    "labels", [None, torch.randn(B), torch.randn(B, T), torch.randint(0, C, (B,)), "text"]
)
def test_other_batches_weigh_their_rows(labels):
    assert Reader().weight({"loss": torch.tensor(0.5)}, {"labels": labels}, B) == B
    assert Reader().weight({"loss": torch.tensor(0.5), "labels": labels}, [labels], B) == B


def test_labels_that_count_are_counted():
    _, labels = tokens()
    for each in (labels, labels.flatten(), labels[:, -3]):
        assert Reader().weight({"loss": torch.tensor(0.5)}, {"labels": each}, B) == (each != -100).sum()


def test_labels_that_are_cut_from_one_tensor_are_counted_batch_by_batch():
    """They may be looked at together, until one of them is written to."""
    reader, labels = Reader(), torch.randint(0, C, (6 * B,))
    batches = labels.split(B)

    def weights():
        return [reader.weight({"loss": torch.tensor(0.5)}, {"labels": batch}, B) for batch in batches]

    assert weights() == [B] * 6
    labels[2 * B] = -100
    assert weights() == weights() == [B, B, B - 1, B, B, B]
    labels[2 * B] = 0
    assert weights() == weights() == [B] * 6
    batches[4].fill_(-100)
    assert weights() == [B, B, B, B, 0, B]


@pytest.mark.parametrize("classes_last", [True, False])
def test_perplexity_and_token_accuracy_are_torchmetrics_over_all_tokens_of_unequal_batches(classes_last):
    reader, kept = Reader(), MetricBuffer(["perplexity", "token_accuracy"], {})
    theirs, right = torchmetrics.text.Perplexity(ignore_index=-100).double(), []
    for rows, tokens in ((3, 7), (2, 9), (1, 4)):
        logits = torch.randn(rows, tokens, 5)
        labels = torch.randint(5, (rows, tokens)).masked_fill(torch.rand(rows, tokens) < 0.3, -100)
        given = logits if classes_last else logits.movedim(-1, 1)
        outputs = {"loss": entropy(logits, labels), "logits": given, "labels": labels}
        kept.add(kept.read(outputs, {}, reader))
        theirs.update(logits.double(), labels)
        right.append((logits.argmax(-1) == labels)[labels != -100])

    values = kept.values()
    assert values["perplexity"] == pytest.approx(theirs.compute().item(), rel=1e-6)
    assert values["token_accuracy"] == pytest.approx(torch.cat(right).double().mean().item())
