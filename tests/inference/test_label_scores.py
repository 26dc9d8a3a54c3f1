"""Label scores against the naive full forward pass of each prompt with each label."""

import numpy as np
import pytest
import torch
import transformers as hf
from small_models import small

from declarlm.backbones import Quantization, open_backbone
from declarlm.core.ragged import Ragged
from declarlm.inference import label_scores
from declarlm.inference.generation import generate
from declarlm.inference.label_scores import score_labels
from declarlm.inference.label_tree import plant
from declarlm.models.causal import build_causal, collate

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers.modeling_utils")  # PEFT's calls cause it.
STOP = 2
LABELS = [[10, 11, 12, STOP], [10, 13, STOP], [10, STOP], [20, 21, 22, 23, STOP], [30, STOP], [10, 11, STOP], [31]]


def prompts(vocab=97, lengths=(5, 17, 9, 30, 12, 9), head=0, seed=0):
    random = np.random.default_rng(seed)
    common = random.integers(3, vocab, head).tolist()
    return [common + random.integers(3, vocab, length).tolist() for length in lengths]


def naive(model, rows, labels):
    scores = np.zeros((len(rows), len(labels)))
    for i, row in enumerate(rows):
        for j, label in enumerate(labels):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([row + label])).logits[0].float()  # Virtual tokens come first.
            steps = logits[-len(label) - 1 : -1].log_softmax(-1)
            scores[i, j] = steps.gather(1, torch.tensor(label)[:, None]).sum().item()
    return scores


@pytest.mark.parametrize("budget", [1, 100, 10_000])
@pytest.mark.parametrize("head", [0, 20])
def test_scores_equal_a_full_pass_on_a_real_model(stories, head, budget):
    model = hf.AutoModelForCausalLM.from_pretrained(stories)
    rows = prompts(512, head=head)
    scores = score_labels(build_causal(model), rows, LABELS, token_budget=budget)
    assert scores.shape == (6, 7)
    np.testing.assert_allclose(scores, naive(model, rows, LABELS), rtol=1e-5)


@pytest.mark.parametrize("head", [0, 20])
@pytest.mark.parametrize("name", ["gpt2", "bloom", "neox", "opt", "gemma2", "mpt", "mamba"])
def test_scores_equal_a_full_pass_on_every_kind_of_model(name, head):
    model = small(name)
    rows = prompts(head=head)
    np.testing.assert_allclose(score_labels(build_causal(model), rows, LABELS), naive(model, rows, LABELS), rtol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox", "opt"])
def test_usual_models_score_all_labels_in_one_pass(name):
    assert build_causal(small(name)).can_branch(64)


@pytest.mark.parametrize("name", ["bloom", "mpt", "mamba"])
def test_models_without_masks_or_positions_score_each_label_apart(name):
    assert not build_causal(small(name)).can_branch(64)


def test_rows_beyond_a_sliding_window_are_scored_apart():
    causal = build_causal(small("gemma2"))
    assert causal.can_branch(7)
    assert not causal.can_branch(8)


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gemma3", "phi3", "gpt_neo"])
@pytest.mark.parametrize("length", [8, 9, 10, 30])
def test_scores_equal_a_full_pass_at_the_edge_of_a_sliding_window(name, length):
    """The longest prompt and the seven nodes of the labels take 15 tokens, 16, 17 and many more."""
    window = {"window_size": 16} if name == "gpt_neo" else {"sliding_window": 16}
    model, rows = small(name, **window), prompts(lengths=(length, 5, 9))
    labels = [[10, 11, 12, STOP], [10, 13, STOP], [20, 21, STOP], [30, STOP]]
    assert len(plant(labels, 99)[0].tokens) == 7
    np.testing.assert_allclose(score_labels(build_causal(model), rows, labels), naive(model, rows, labels), rtol=1e-5)


def test_only_the_rows_beyond_a_sliding_window_are_scored_apart(monkeypatch):
    causal, apart = build_causal(small("mistral", sliding_window=16)), []
    monkeypatch.setattr(label_scores, "_score_apart", lambda _, rows, *args: apart.extend(rows.lengths) or 0)
    score_labels(causal, prompts(lengths=(5, 11, 12, 9)), [[10, 11, STOP], [12, 13, 14, STOP]])
    assert apart == [11, 12]


def test_labels_may_need_several_trees(monkeypatch):
    model = small("llama")
    monkeypatch.setattr("declarlm.inference.label_scores._MOST_NODES", 2)
    np.testing.assert_allclose(
        score_labels(build_causal(model), prompts(), LABELS), naive(model, prompts(), LABELS), rtol=1e-5
    )


def test_logits_may_need_several_chunks(monkeypatch):
    model = small("llama")
    monkeypatch.setattr("declarlm.layers.causal_head._CHUNK", {"cpu": 97 * 12})
    np.testing.assert_allclose(
        score_labels(build_causal(model), prompts(), LABELS), naive(model, prompts(), LABELS), rtol=1e-5
    )


def test_all_labels_of_one_step_share_out_one_probability():
    causal = build_causal(small("llama"))
    scores = score_labels(causal, prompts(), [[token] for token in range(97)])
    np.testing.assert_allclose(np.exp(scores).sum(1), np.ones(6), rtol=1e-5)


def test_a_prompt_without_tokens_has_no_scores():
    causal = build_causal(small("llama"))
    scores = score_labels(causal, [[3, 4], [], [5]], LABELS)
    assert np.isnan(scores).tolist() == [[False] * 7, [True] * 7, [False] * 7]


@pytest.mark.parametrize("adapter", ["lora", "prompt", "prefix"])
def test_adapters_take_part(stories, adapter):
    peft = pytest.importorskip("peft")
    configs = {
        "lora": peft.LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False),
        "prompt": peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        "prefix": peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    }
    torch.manual_seed(0)
    base = hf.AutoModelForCausalLM.from_pretrained(stories)
    rows = prompts(512)
    plain = naive(base, rows, LABELS)
    tuned = peft.get_peft_model(base, configs[adapter]).eval()
    expected = naive(tuned, rows, LABELS)
    np.testing.assert_allclose(score_labels(build_causal(tuned), rows, LABELS), expected, rtol=1e-5)
    assert np.abs(expected - plain).max() > 0.01


@pytest.mark.parametrize("bits", [4, 8])
def test_quantized_models_are_scored(stories, bits):
    """What 8 bits round depends on the other rows, so that its scores are only near those of a row alone."""
    model = open_backbone(stories).load_causal(Quantization(bits=bits))
    rows = prompts(512, head=10)
    scores = score_labels(build_causal(model), rows, LABELS)
    np.testing.assert_allclose(scores, naive(model, rows, LABELS), rtol=1e-4 if bits == 4 else 0.05)


@pytest.mark.parametrize("bits", [4, 8])
def test_predicting_leaves_the_gradients_of_a_quantized_model_as_they_were(stories, bits):
    peft = pytest.importorskip("peft")
    model = open_backbone(stories).load_causal(Quantization(bits=bits))
    torch.manual_seed(0)
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False)
    causal = build_causal(peft.get_peft_model(model, config))
    ids = Ragged.from_rows(prompts(512))
    batch = collate(causal, ids, ids)

    def gradients():
        causal.zero_grad(set_to_none=True)
        causal.losses(batch).backward()
        return [weight.grad for weight in causal.parameters() if weight.grad is not None]

    before = gradients()
    score_labels(causal, prompts(512), LABELS)
    generate(causal, prompts(512), stop_ids={STOP}, max_new_tokens=4)
    assert len(before) == 2 * 7 * 5  # Both matrices of each linear layer.
    for one, other in zip(before, gradients(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_tree_merges_what_labels_share():
    (tree,) = plant(LABELS, 100)
    assert tree.tokens.tolist() == [10, 11, 12, 13, 20, 21, 22, 23, 30]
    assert tree.depth.tolist() == [0, 1, 2, 1, 0, 1, 2, 3, 0]
    assert tree.paths.sum(0).tolist() == [len(LABELS[label]) for label in tree.labels]
    assert tree.visible.sum(1).tolist() == (tree.depth + 1).tolist()
    assert (np.diff(tree.sources) >= 0).all()


def test_trees_are_bounded_and_hold_every_label_once():
    trees = plant(LABELS, 3)
    assert sorted(np.concatenate([tree.labels for tree in trees]).tolist()) == list(range(7))
    assert all(len(tree.tokens) <= 3 or len(tree.labels) == 1 for tree in trees)
