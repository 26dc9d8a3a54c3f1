"""A causal model's loss against plain transformers, on real and on tiny random architectures."""

import numpy as np
import pytest
import torch
import transformers as hf

from declarlm.core import ModelError
from declarlm.core.ragged import Ragged
from declarlm.models.causal import build_causal, collate, count_supervised

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers.modeling_utils")  # PEFT's calls cause it.
SHAPE = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GQA = {**SHAPE, "num_key_value_heads": 2, "intermediate_size": 64}
ARCHITECTURES = {
    "llama": (hf.LlamaConfig, hf.LlamaForCausalLM, GQA),
    "gpt2": (hf.GPT2Config, hf.GPT2LMHeadModel, {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    "bloom": (hf.BloomConfig, hf.BloomForCausalLM, {"vocab_size": 97, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "neox": (hf.GPTNeoXConfig, hf.GPTNeoXForCausalLM, {**SHAPE, "intermediate_size": 64}),
    "opt": (hf.OPTConfig, hf.OPTForCausalLM, {**SHAPE, "ffn_dim": 64, "word_embed_proj_dim": 32}),
    "gemma2": (hf.Gemma2Config, hf.Gemma2ForCausalLM, {**GQA, "head_dim": 8, "final_logit_softcapping": 0.5}),
    "cohere": (hf.CohereConfig, hf.CohereForCausalLM, {**GQA, "logit_scale": 0.0625}),
    "granite": (hf.GraniteConfig, hf.GraniteForCausalLM, {**GQA, "logits_scaling": 6.0}),
}
PACKABLE = [
    (name, implementation)
    for name in sorted(set(ARCHITECTURES) - {"bloom"})
    for implementation in ("sdpa", "eager")
    if (name, implementation) != ("gemma2", "sdpa")  # Attention softcaps need eager.
]


def tiny(name, **changes):
    config, model, shape = ARCHITECTURES[name]
    torch.manual_seed(0)
    return model(config(**{**shape, **changes})).eval()


def rows(seed=0, lengths=(5, 12, 9, 2, 7)):
    """Ids, and roles with the last third of each row supervised."""
    random = np.random.default_rng(seed)
    ids = [random.integers(3, 97, length).tolist() for length in lengths]
    roles = [[0] * (length - max(1, length // 3)) + [1] * (max(1, length // 3) - 1) + [2] for length in lengths]
    return Ragged.from_rows(ids), Ragged.from_rows(roles, dtype="uint8")


def plain_loss(model, ids, roles):
    """The sum of transformers' own cross entropy, row by row, with -100 on the prompt."""
    total = torch.zeros(())
    for row, row_roles in zip(ids, roles, strict=True):
        row, labels = torch.from_numpy(row.astype("int64"))[None], torch.from_numpy(row_roles.astype("int64"))
        labels = torch.where(labels[None] > 0, row, -100)
        supervised = int((labels[:, 1:] != -100).sum())
        if supervised:
            total = total + model(input_ids=row, labels=labels).loss * supervised
    return total


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_loss_equals_plain_transformers(name):
    model = tiny(name)
    ids, roles = rows()
    batch = collate(build_causal(model), ids, roles, layout="padded")
    loss = build_causal(model).losses(batch)
    assert loss.item() == pytest.approx(plain_loss(model, ids, roles).item(), rel=1e-5)


def test_loss_equals_plain_transformers_on_a_real_model(stories):
    model = hf.AutoModelForCausalLM.from_pretrained(stories)
    ids, roles = rows(lengths=(40, 3, 61, 17, 9, 28))
    causal = build_causal(model)
    for layout in ("padded", "packed"):
        loss = causal.losses(collate(causal, ids, roles, layout=layout))
        assert loss.item() == pytest.approx(plain_loss(model, ids, roles).item(), rel=1e-5)


def test_the_loss_of_a_bfloat16_model_is_summed_in_float32(stories):
    model = hf.AutoModelForCausalLM.from_pretrained(stories, dtype=torch.bfloat16)
    ids, roles = rows()
    causal = build_causal(model)
    loss = causal.losses(collate(causal, ids, roles))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(plain_loss(model.float(), ids, roles).item(), rel=0.01)


def test_batches_of_one_add_up_to_one_batch(stories):
    causal = build_causal(hf.AutoModelForCausalLM.from_pretrained(stories))
    ids, roles = rows()
    alone = sum(causal.losses(collate(causal, ids.take([row]), roles.take([row]))).item() for row in range(5))
    assert causal.losses(collate(causal, ids, roles)).item() == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize(("name", "implementation"), PACKABLE)
def test_packed_rows_do_not_see_each_other(name, implementation):
    model = tiny(name, attn_implementation=implementation)
    causal = build_causal(model)
    ids, _ = rows()
    everything = Ragged(np.ones_like(ids.values), ids.offsets)
    batch = collate(causal, ids, everything, layout="packed")
    assert batch.inputs["input_ids"].shape == (1, 35)
    alone = [model(input_ids=torch.from_numpy(row.astype("int64"))[None]).logits[0, :-1] for row in ids]
    packed = causal.head.logits(causal.head.hidden(batch.inputs).flatten(0, 1)[batch.index])
    assert (torch.cat(alone) - packed).abs().max() < 1e-5


def with_head(length, **options):
    """Rows that begin with the same prompt tokens."""
    ids, roles = rows(**options)
    head = np.random.default_rng(9).integers(3, 97, length).tolist()
    return (
        Ragged.from_rows([head + row.tolist() for row in ids]),
        Ragged.from_rows([[0] * length + row.tolist() for row in roles], dtype="uint8"),
    )


@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "neox", "opt", "gemma2", "bloom"])
def test_a_common_beginning_changes_neither_loss_nor_gradients(name, layout):
    model = tiny(name)
    ids, roles = with_head(30)
    plain = plain_loss(model, ids, roles)
    plain.backward()
    expected = {name: weight.grad for name, weight in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    causal = build_causal(model)
    batch = collate(causal, ids, roles, layout=layout)
    loss = causal.losses(batch)
    loss.backward()
    tokens = batch.inputs["input_ids"].numel()
    assert tokens == {"padded": 5 * 12, "packed": 30 + 35}[layout] if name != "bloom" else 5 * 42
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    for name, weight in model.named_parameters():
        assert torch.allclose(weight.grad, expected[name], rtol=1e-3, atol=1e-4), name


def test_a_common_beginning_ends_before_what_predicts_the_first_answer():
    causal = build_causal(tiny("llama"))
    ids = Ragged.from_rows([list(range(3, 33)), list(range(3, 43))] * 3)  # One row is the beginning of the other.
    roles = Ragged.from_rows([[0] * 25 + [1] * 5, [0] * 38 + [1, 2]] * 3, dtype="uint8")
    batch = collate(causal, ids, roles)
    assert batch.head.tolist() == [list(range(3, 27))]
    assert causal.losses(batch).item() == pytest.approx(plain_loss(causal.backbone, ids, roles).item(), rel=1e-5)


def test_a_common_beginning_is_not_shared_when_activations_are_recomputed():
    model = tiny("llama")
    model.gradient_checkpointing_enable()
    causal = build_causal(model).train()
    ids, roles = with_head(30)
    batch = collate(causal, ids, roles)
    assert batch.head is None
    assert causal.losses(batch).item() == pytest.approx(plain_loss(model, ids, roles).item(), rel=1e-5)


def test_a_model_that_cannot_isolate_rows_gets_them_padded():
    causal = build_causal(tiny("bloom"))
    batch = collate(causal, *rows(), layout="packed")
    assert batch.inputs["input_ids"].shape == (5, 12)


def test_rows_beyond_a_sliding_window_are_padded():
    causal = build_causal(tiny("gemma2", sliding_window=8))
    ids, roles = rows()
    assert collate(causal, ids, roles, layout="packed").inputs["input_ids"].shape == (5, 12)
    assert collate(causal, ids.take([0, 3]), roles.take([0, 3]), layout="packed").inputs["input_ids"].shape == (1, 7)


def test_a_cpu_pads():
    causal = build_causal(tiny("llama"))
    assert collate(causal, *rows()).inputs["input_ids"].shape == (5, 12)


@pytest.mark.parametrize(
    ("name", "scale", "cap"),
    [("llama", 1.0, None), ("cohere", 0.0625, None), ("granite", 1 / 6, None), ("gemma2", 1.0, 0.5)],
)
def test_what_a_model_does_to_its_logits_is_measured(name, scale, cap):
    finish = build_causal(tiny(name)).head.finish
    assert finish.scale == pytest.approx(scale)
    assert finish.cap == (cap and pytest.approx(cap))


def test_an_unknown_change_of_the_logits_is_refused():
    class Shifted(hf.LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            output.logits = output.logits + 1
            return output

    with pytest.raises(ModelError) as error:
        build_causal(Shifted(hf.LlamaConfig(**GQA)))
    assert str(error.value) == (
        "llama changes its logits in a way that is unknown here (1.0 becomes 2); choose another base model"
    )


@pytest.mark.parametrize("trained", ["head", "body", "both"])
def test_chunked_gradients_equal_plain_ones(trained, monkeypatch):
    model = tiny("gemma2", tie_word_embeddings=False)
    for name, weight in model.named_parameters():
        weight.requires_grad = trained == "both" or ("lm_head" in name) == (trained == "head")
    ids, roles = rows()
    plain_loss(model, ids, roles).backward()
    expected = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    model.zero_grad(set_to_none=True)
    monkeypatch.setattr("declarlm.layers.causal_head._CHUNK", {"cpu": 97 * 4})
    causal = build_causal(model)
    causal.losses(collate(causal, ids, roles)).backward()
    for name, gradient in expected.items():
        assert torch.allclose(model.get_parameter(name).grad, gradient, rtol=1e-4, atol=1e-6), name


def test_only_the_adapter_gets_a_gradient(stories):
    peft = pytest.importorskip("peft")
    model = hf.AutoModelForCausalLM.from_pretrained(stories).requires_grad_(False)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    ids, roles = rows()
    before = plain_loss(adapted, ids, roles)
    causal = build_causal(adapted)
    loss = causal.losses(collate(causal, ids, roles))
    loss.backward()
    assert loss.item() == pytest.approx(before.item(), rel=1e-5)
    for name, weight in causal.named_parameters():
        assert (weight.grad is not None) == ("lora_" in name), name
    assert any(weight.grad.abs().sum() > 0 for name, weight in causal.named_parameters() if "lora_B" in name)


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_virtual_tokens_are_kept(stories, kind):
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig if kind == "prompt" else peft.PrefixTuningConfig
    model = hf.AutoModelForCausalLM.from_pretrained(stories).requires_grad_(False)
    adapted = peft.get_peft_model(model, config(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    torch.manual_seed(1)
    for weight in adapted.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight)
    causal = build_causal(adapted)
    ids, roles = rows()
    batch = collate(causal, ids, roles, layout="packed")
    assert batch.inputs["input_ids"].shape == (5, 12)
    assert causal.losses(batch).item() == pytest.approx(plain_loss(adapted, ids, roles).item(), rel=1e-5)


def test_sums_per_row_and_per_field():
    causal = build_causal(tiny("llama"))
    ids, roles = rows(lengths=(9, 6))
    fields = Ragged(np.full(15, -1, dtype="int8"), ids.offsets)
    fields.values[6:8], fields.values[13] = (0, 1), 1  # Stop tokens belong to no field.
    batch = collate(causal, ids, roles, fields)
    values = causal(batch)
    assert batch.by_row(torch.ones_like(values)).tolist() == [3, 2]
    assert batch.by_field(torch.ones_like(values), 2).tolist() == [[1, 1], [0, 1]]
    assert torch.allclose(batch.by_row(values), torch.stack([values[:3].sum(), values[3:].sum()]))
    assert torch.allclose(batch.by_field(values, 2)[0], values[:2])


def test_a_first_token_is_not_counted():
    roles = Ragged.from_rows([[1, 1, 2], [0, 1, 2], [], [2], [0]], dtype="uint8")
    assert count_supervised(roles).tolist() == [2, 2, 0, 0, 0]


def test_a_batch_without_supervised_tokens_has_a_loss_of_zero():
    causal = build_causal(tiny("llama"))
    ids = Ragged.from_rows([[3, 4], [5]])
    loss = causal.losses(collate(causal, ids, Ragged.from_rows([[0, 0], [2]], dtype="uint8")))
    loss.backward()
    assert loss.item() == 0


def test_tokens_that_a_base_never_saw_are_told_from_those_it_knows(stories):
    base = hf.AutoModelForCausalLM.from_pretrained(stories)
    head = build_causal(base.requires_grad_(False)).head
    never_seen, ends_a_story = 2, 1
    assert head.num_twins(never_seen) == 168  # tokens of bytes and signs that no story holds
    assert head.num_twins(ends_a_story) == 0
    base.lm_head.requires_grad_(True)
    assert head.num_twins(never_seen) == 0
