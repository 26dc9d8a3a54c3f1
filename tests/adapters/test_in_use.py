"""Every adapter in a language model: labels are scored and text is written as whole passes say."""

import pytest
import torch
from adapter_training import scatter
from shapes import REFUSED, attached

from declarlm.adapters import adapters
from declarlm.adapters.checks import outputs, still
from declarlm.core.ragged import Ragged
from declarlm.inference.generation import generate
from declarlm.inference.label_scores import score_labels
from declarlm.models.causal import build_causal, collate

PROMPTS = [[5, 9, 11, 7], [5, 9, 30], [8, 3, 22, 6, 17]]
LABELS = [[4, 9, 2], [4, 2], [31, 2]]
CASES = [(kind, shape) for kind in adapters for shape in ("llama", "gpt2") if (kind, shape) not in REFUSED]


@pytest.fixture
def adapted(kind, shape):
    """The wrapped module and the model around it."""
    _, module = attached(kind, shape)
    scatter(module, 0.3)
    return module.eval(), build_causal(module).eval()


def log_probs(module, ids):
    with still(module):
        return outputs(module, {"input_ids": torch.tensor([ids])})[0].log_softmax(-1)


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_labels_are_scored_as_in_whole_passes(adapted):
    module, model = adapted
    found = score_labels(model, PROMPTS, LABELS)
    for row, prompt in enumerate(PROMPTS):
        for place, label in enumerate(LABELS):
            shares = log_probs(module, prompt + label)
            expected = sum(shares[len(prompt) + at - 1, token].item() for at, token in enumerate(label))
            assert found[row, place] == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_training_sees_the_losses_of_whole_passes(adapted):
    module, model = adapted
    rows = [prompt + label for prompt in PROMPTS for label in LABELS]
    roles = [[0] * len(prompt) + [1] * len(label) for prompt in PROMPTS for label in LABELS]
    batch = collate(model, Ragged.from_rows(rows), Ragged.from_rows(roles))
    with torch.no_grad():
        found = model.losses(batch).item()
    expected = 0.0
    for row, role in zip(rows, roles, strict=True):
        shares = log_probs(module, row)
        expected -= sum(shares[at - 1, token].item() for at, token in enumerate(row) if role[at])
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_text_is_written_as_whole_passes_say(adapted):
    module, model = adapted
    found = generate(model, PROMPTS, stop_ids=[2], max_new_tokens=5)
    for prompt, written in zip(PROMPTS, found, strict=True):
        ids = list(prompt)
        while len(ids) < len(prompt) + 5 and ids[-1] != 2:
            ids.append(int(log_probs(module, ids)[-1].argmax()))
        assert list(written) == ids[len(prompt) :]
