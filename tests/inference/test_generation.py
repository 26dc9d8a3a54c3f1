"""Generated answers against transformers' own loop, one row at a time."""

import numpy as np
import pytest
import torch
import transformers as hf
from small_models import small
from transformers.generation import logits_process

from declarlm.core import ConfigError
from declarlm.inference.generation import Generation, generate
from declarlm.inference.picking import _draw
from declarlm.models.causal import build_causal

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers.modeling_utils")  # PEFT's calls cause it.
STOPS = {1, 2}


def prompts(vocab=97, lengths=(5, 17, 9, 30, 12, 9), head=0, seed=0):
    random = np.random.default_rng(seed)
    common = random.integers(3, vocab, head).tolist()
    return [common + random.integers(3, vocab, length).tolist() for length in lengths]


def by_transformers(model, rows, limit, stops=STOPS, **settings):
    """Each row alone, so that nothing can come from padding or from its neighbours."""
    answers = []
    for row in rows:
        config = hf.GenerationConfig(
            max_new_tokens=limit, do_sample=False, eos_token_id=sorted(stops), pad_token_id=0, **settings
        )
        ids = torch.tensor([row])
        output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        answers.append(output[0, len(row) :].tolist())
    return answers


@pytest.mark.parametrize("budget", [1, 150, 10_000])
@pytest.mark.parametrize("head", [0, 20])
def test_greedy_answers_equal_transformers_on_a_real_model(stories, head, budget):
    model = hf.AutoModelForCausalLM.from_pretrained(stories)
    rows = prompts(512, head=head)
    stops = {1, 2, 13, 416}
    answers = generate(build_causal(model), rows, stop_ids=stops, max_new_tokens=40, token_budget=budget)
    assert answers == by_transformers(model, rows, 40, stops)
    assert len({len(answer) for answer in answers}) > 2  # Rows end at different steps.


@pytest.mark.parametrize("head", [0, 20])
@pytest.mark.parametrize("name", ["gpt2", "bloom", "neox", "opt", "gemma2", "mpt", "mamba"])
def test_greedy_answers_equal_transformers_on_every_kind_of_model(name, head):
    model = small(name)
    rows = prompts(head=head)
    stops = set(range(1, 12))
    answers = generate(build_causal(model), rows, stop_ids=stops, max_new_tokens=12)
    assert answers == by_transformers(model, rows, 12, stops)


def test_answers_that_leave_a_sliding_window_equal_transformers():
    """Padding between a shared head and the rest of a prompt would take places in the window."""
    model = small("gemma2", sliding_window=40)
    rows = prompts(lengths=(4, 15, 9, 12), head=20)
    answers = generate(build_causal(model), rows, stop_ids=STOPS, max_new_tokens=25)
    assert answers == by_transformers(model, rows, 25)


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.8},
        {"no_repeat_ngram_size": 2},
        {"min_new_tokens": 6},
        {"num_beams": 3},
        {"num_beams": 3, "length_penalty": 2.0},
    ],
    ids=str,
)
def test_settings_mean_what_they_mean_in_transformers(settings):
    model = small("llama")
    rows, stops = prompts(), set(range(1, 20))
    answers = generate(
        build_causal(model), rows, stop_ids=stops, max_new_tokens=10, settings=Generation(**settings), pad_id=0
    )
    expected = by_transformers(model, rows, 10, stops, **settings)
    if "num_beams" in settings:  # The best beam may be followed by padding.
        expected = [answer[: next((i + 1 for i, t in enumerate(answer) if t in stops), 10)] for answer in expected]
    assert answers == expected


def test_an_answer_that_was_cut_has_no_stop_token():
    causal = build_causal(small("llama"))
    (answer,) = generate(causal, [[3, 4, 5]], stop_ids={0}, max_new_tokens=4)
    assert len(answer) == 4
    assert 0 not in answer


def test_a_full_context_ends_an_answer():
    causal = build_causal(small("llama", max_position_embeddings=12))
    rows = [[3] * 9, [4] * 12, [5] * 2, []]
    answers = generate(causal, rows, stop_ids=set(), max_new_tokens=6)
    assert [len(answer) for answer in answers] == [3, 0, 6, 0]
    assert [len(answer) for answer in generate(causal, rows, stop_ids=set(), max_new_tokens=6, context_length=10)] == [
        *(1, 0, 6, 0),
    ]


def test_a_random_answer_does_not_depend_on_the_batch():
    causal = build_causal(small("llama"))
    settings = Generation(temperature=1.5, top_p=0.9, seed=7)
    rows = prompts()
    together = generate(causal, rows, stop_ids=STOPS, max_new_tokens=8, settings=settings)
    apart = generate(causal, rows, stop_ids=STOPS, max_new_tokens=8, settings=settings, token_budget=1)
    other = generate(causal, rows, stop_ids=STOPS, max_new_tokens=8, settings=settings.replace(seed=8))
    assert together == apart
    assert together != other


def test_drawing_follows_the_warped_distribution():
    torch.manual_seed(0)
    logits = torch.randn(1, 40) * 3
    settings = Generation(temperature=0.7, top_k=20, top_p=0.8)
    warped = logits
    for warper in (
        logits_process.TemperatureLogitsWarper(0.7),
        logits_process.TopKLogitsWarper(20),
        logits_process.TopPLogitsWarper(0.8),
    ):
        warped = warper(None, warped)
    luck = ((np.arange(20_000) + 0.5) / 20_000).tolist()
    drawn = _draw(logits.expand(20_000, -1), luck, settings)
    shares = torch.bincount(drawn, minlength=40) / 20_000
    assert torch.allclose(shares, warped.softmax(-1)[0], atol=1e-4)


def test_a_temperature_of_zero_is_greedy():
    causal = build_causal(small("llama"))
    rows = prompts()
    settings = Generation(temperature=0, top_p=0.5)
    assert not settings.samples
    cold = generate(causal, rows, stop_ids=STOPS, max_new_tokens=8, settings=settings)
    assert cold == generate(causal, rows, stop_ids=STOPS, max_new_tokens=8)


@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")
@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_virtual_tokens_take_part(stories, kind):
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig if kind == "prompt" else peft.PrefixTuningConfig
    model = hf.AutoModelForCausalLM.from_pretrained(stories)
    tuned = peft.get_peft_model(model, config(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(next(weight for weight in tuned.parameters() if weight.requires_grad), std=3)
    rows = prompts(512)
    expected = []
    for row in rows:
        written = []
        while len(written) < 8 and not set(written) & STOPS:
            logits = tuned(input_ids=torch.tensor([row + written])).logits[0, -1]
            written.append(int(logits.argmax()))
        expected.append(written)
    assert generate(build_causal(tuned), rows, stop_ids=STOPS, max_new_tokens=8) == expected
    with tuned.disable_adapter():
        assert by_transformers(model, rows, 8) != expected


def test_training_mode_is_restored():
    causal = build_causal(small("llama")).train()
    causal.backbone.model.norm.eval()
    generate(causal, [[3, 4]], stop_ids=STOPS, max_new_tokens=1)
    assert causal.backbone.training
    assert not causal.backbone.model.norm.training


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError) as error:
        Generation.load(
            {"do_sample": False, "temperature": 0.5, "max_new_tokens": 4, "min_new_tokens": 5}, source="generation"
        )
    assert [str(problem) for problem in error.value.problems] == [
        "temperature: has no effect with do_sample: false; remove one of the two",
        "min_new_tokens: must be at most max_new_tokens (4), got 5",
    ]
    with pytest.raises(ConfigError) as error:
        Generation.load({"top_k": 5, "num_beams": 2}, source="generation")
    assert [str(problem) for problem in error.value.problems] == [
        "num_beams: must be 1 when tokens are drawn at random, got 2"
    ]
