import numpy as np
import pytest
import torch
from torch.nn import functional

from declarlm.core import ConfigError, DataError
from declarlm.losses import losses

SCORES = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [-1.0, 3.0, 0.0], [0.0, 0.0, 1.0]])
TARGETS = torch.tensor([0, 2, 1, 1])


def cross_entropy(**settings):
    return losses["softmax_cross_entropy"].Config.load(settings).build(labels=["a", "b", "c"], counts=[6, 3, 1])


def mean(loss, scores, targets):
    return loss.sum(scores, targets).item() / loss.denominator(targets.numpy())


def test_cross_entropy_is_that_of_torch():
    assert mean(cross_entropy(), SCORES, TARGETS) == pytest.approx(functional.cross_entropy(SCORES, TARGETS).item())
    smoothed = functional.cross_entropy(SCORES, TARGETS, label_smoothing=0.2).item()
    assert mean(cross_entropy(label_smoothing=0.2), SCORES, TARGETS) == pytest.approx(smoothed)


@pytest.mark.parametrize("class_weights", [[1.0, 2.0, 4.0], {"b": 2.0, "c": 4.0}])
def test_class_weights_are_those_of_torch(class_weights):
    expected = functional.cross_entropy(SCORES, TARGETS, weight=torch.tensor([1.0, 2.0, 4.0])).item()
    assert mean(cross_entropy(class_weights=class_weights), SCORES, TARGETS) == pytest.approx(expected)


def test_balanced_labels_weigh_the_same_in_total():
    weights = cross_entropy(class_weights="balanced").class_weights()
    np.testing.assert_allclose(weights * [6, 3, 1], [10 / 3] * 3)


def test_an_unknown_target_weighs_nothing():
    known = mean(cross_entropy(), SCORES[:3], TARGETS[:3])
    unknown = torch.tensor([0, 2, 1, -1])
    assert mean(cross_entropy(), SCORES, unknown) == pytest.approx(known)
    assert cross_entropy().denominator(np.array([-1])) == 0


def test_confidence_penalty_is_the_entropy_that_is_lacking():
    even = torch.zeros(1, 3)
    target = torch.tensor([0])
    plain, penal = cross_entropy(), cross_entropy(confidence_penalty=0.5)
    assert penal.sum(even, target).item() == pytest.approx(plain.sum(even, target).item())
    entropy = torch.distributions.Categorical(logits=SCORES).entropy()
    added = penal.sum(SCORES, TARGETS) - plain.sum(SCORES, TARGETS)
    assert added.item() == pytest.approx(0.5 * (np.log(3) - entropy).sum().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("class_weights", "message"),
    [
        ({"d": 1.0}, "column 'x': loss.class_weights: no label is 'd', choose from: a, b, c"),
        ([1.0], "column 'x': loss.class_weights has 1 weights, but there are 3 labels: a, b, c"),
        (dict.fromkeys("abc", 0.0), "column 'x': loss.class_weights are 0 for every label: no row would count"),
    ],
)
def test_class_weights_must_fit_the_labels(class_weights, message):
    loss = losses["softmax_cross_entropy"].Config(class_weights=class_weights).build(labels=list("abc"), column="x")
    with pytest.raises(DataError) as raised:
        loss.class_weights()
    assert str(raised.value) == message


@pytest.mark.parametrize("weight", [None, 3.0, "balanced"])
def test_binary_cross_entropy_is_that_of_torch(weight):
    loss = losses["binary_weighted_cross_entropy"].Config(positive_class_weight=weight).build(counts=[30, 10])
    scores, targets = torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([1, 0, 0])
    positive = torch.tensor(1.0 if weight is None else 3.0)
    rows = functional.binary_cross_entropy_with_logits(
        scores[:, 0], targets.float(), pos_weight=positive, reduction="none"
    )
    assert loss.sum(scores, targets).item() == pytest.approx(rows.sum().item())
    assert loss.denominator(targets.numpy()) == pytest.approx(positive.item() + 2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean_squared_error", functional.mse_loss),
        ("mean_absolute_error", functional.l1_loss),
        ("huber", functional.huber_loss),
    ],
)
def test_losses_of_numbers_are_those_of_torch(name, expected):
    scores, targets = torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([0.0, -1.5, 0.75])
    loss = losses[name].Config().build()
    assert mean(loss, scores, targets) == pytest.approx(expected(scores[:, 0], targets).item())
    missing = torch.tensor([0.0, -1.5, torch.nan])
    assert mean(loss, scores, missing) == pytest.approx(expected(scores[:2, 0], targets[:2]).item())


def test_a_step_does_not_depend_on_how_it_was_cut():
    loss = cross_entropy(class_weights=[1.0, 2.0, 4.0])
    cut = sum(loss.sum(SCORES[rows], TARGETS[rows]) for rows in ([0], [1, 2], [3]))
    assert cut.item() == pytest.approx(loss.sum(SCORES, TARGETS).item())


def test_a_negative_weight_is_refused():
    with pytest.raises(ConfigError, match="weight: must be at least 0, got -1"):
        losses["huber"].Config.load({"weight": -1})


def test_only_a_language_model_learns_tokens():
    assert losses["next_token_softmax_cross_entropy"].model_types == {"llm"}
    assert list(losses.where(accepts="text")) == ["next_token_softmax_cross_entropy"]
