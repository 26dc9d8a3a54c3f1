from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from small_run import Tokens, assert_same, make_model, make_trainer, weights_of
from torch import Tensor, nn

from declarlm.core import RunError
from declarlm.training.precision import resolve_precision


@pytest.mark.parametrize(
    ("width", "capability", "expected"),
    [(1100, "avx512_bf16", "bf16"), (1100, "amx_bf16", "bf16"), (1100, "avx512_f", "fp32"), (100, "amx_bf16", "fp32")],
)
def test_a_cpu_computes_in_bf16_if_it_can_and_the_model_is_not_tiny(monkeypatch, width, capability, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True})
    model, cpu = nn.Linear(width, width), torch.device("cpu")
    assert resolve_precision("auto", cpu, model) == expected
    assert resolve_precision("fp32", cpu, model) == "fp32"
    assert resolve_precision("bf16", cpu, model) == "bf16"


def test_bf16_computes_in_bf16_and_trains_weights_in_fp32(tmp_path):
    seen = []

    class Watched(Tokens):
        def losses(self, module: nn.Module, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
            handle = module[2].register_forward_hook(lambda part, inputs, output: seen.append(output.dtype))
            losses = super().losses(module, rows)
            handle.remove()
            return losses

    trainer = make_trainer(tmp_path / "bf16", {"precision": "bf16"}, workload=Watched(), module=make_model(0.0))
    reference = make_trainer(tmp_path / "fp32", module=make_model(0.0))
    losses = [evaluation.training_loss for evaluation in trainer.fit()]
    assert set(seen) == {torch.bfloat16}
    assert {tensor.dtype for tensor in weights_of(trainer.module).values()} == {torch.float32}
    assert losses == pytest.approx([evaluation.training_loss for evaluation in reference.fit()], rel=0.01)


class Recomputing(nn.Module):
    """Can recompute its activations, by the method that transformers gives its models."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.options, self.calls = make_model(dropout=0.2), None, 0

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any]) -> None:
        self.options = gradient_checkpointing_kwargs

    def forward(self, tokens: Tensor) -> Tensor:
        if self.options is None:
            return self.body(tokens)
        return torch.utils.checkpoint.checkpoint(self.body, tokens, **self.options)


def test_recomputed_activations_give_the_same_weights(tmp_path):
    recomputed = make_trainer(tmp_path / "recomputed", {"enable_gradient_checkpointing": True}, module=Recomputing())
    kept = make_trainer(tmp_path / "kept", module=Recomputing())
    assert recomputed.module.options == {"use_reentrant": False}
    list(recomputed.fit())
    list(kept.fit())
    assert_same(weights_of(recomputed.module), weights_of(kept.module))


def test_a_model_of_transformers_recomputes_inside_of_another_module(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    backbone = LlamaForCausalLM(LlamaConfig(vocab_size=16, **sizes))
    make_trainer(tmp_path, {"enable_gradient_checkpointing": True}, module=nn.ModuleDict({"backbone": backbone}))
    assert backbone.is_activation_checkpointing


def test_a_model_that_cannot_recompute_is_refused(tmp_path):
    with pytest.raises(RunError) as caught:
        make_trainer(tmp_path, {"enable_gradient_checkpointing": True})
    expected = "this model cannot recompute activations; remove trainer.enable_gradient_checkpointing"
    assert str(caught.value) == expected
