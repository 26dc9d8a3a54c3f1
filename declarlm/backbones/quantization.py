"""Fewer bits for the frozen weights of a base, through bitsandbytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from declarlm.core import Problem, Section, param

if TYPE_CHECKING:
    import torch
    from torch import nn


class Quantization(Section):
    """Keep the linear layers of the base in 4 or 8 bits; the output head and the embeddings stay as they are.

    Source: Dettmers et al., "QLoRA", 2023, https://arxiv.org/abs/2305.14314 (4 bits), and "LLM.int8()", 2022,
    https://arxiv.org/abs/2208.07339 (8 bits).
    """

    bits: Literal[4, 8] = param("Bits of one weight.", default=4)
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = param(
        "The sixteen values that a 4-bit weight can take.", default="nf4"
    )
    bnb_4bit_use_double_quant: bool = param("Whether the scales of 4-bit weights are quantized too.", default=True)
    bnb_4bit_compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = param(
        "Type in which 4-bit layers compute; auto is that of the other weights.", default="auto"
    )
    llm_int8_threshold: float = param(
        "Magnitude from which an input column of an 8-bit layer is computed in 16 bits; 0 turns this off.",
        default=6.0,
        min=0,
    )
    llm_int8_has_fp16_weight: bool = param("Whether 8-bit layers keep 16-bit weights for training.", default=False)

    def check(self) -> Iterable[Problem]:
        if self.llm_int8_has_fp16_weight:
            yield Problem(
                "llm_int8_has_fp16_weight",
                "must be false: the weights of a quantized base are frozen, and adapters need no 16-bit copy",
            )

    def bitsandbytes_config(self, dtype: torch.dtype) -> Any:
        """Return the settings in the words of transformers, for a base whose other weights are of ``dtype``."""
        import torch
        from transformers import BitsAndBytesConfig

        if self.bits == 8:
            return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=self.llm_int8_threshold)
        compute = self.bnb_4bit_compute_dtype
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self.bnb_4bit_quant_type,
            bnb_4bit_use_double_quant=self.bnb_4bit_use_double_quant,
            bnb_4bit_compute_dtype=dtype if compute == "auto" else getattr(torch, compute),
        )


def keep_trainable(module: nn.Module) -> None:
    """Let gradients pass through 4-bit layers after an evaluation, too.

    On CPUs with AVX512-BF16, bitsandbytes 0.50 repacks a 4-bit layer at its first gradient-free forward: from then on
    no gradient passes, and an output width that 32 does not divide fails. ``Linear4bit.forward`` reads this switch.
    """
    from bitsandbytes.nn import Linear4bit

    for layer in module.modules():
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False


def quantized_share(module: nn.Module) -> float:
    """Return the share of quantized weights among the frozen matrices, embeddings and the output head aside."""
    from bitsandbytes.nn import Linear4bit, Linear8bitLt
    from torch import nn

    head = getattr(module, "get_output_embeddings", lambda: None)()
    quantized = other = 0
    for layer in module.modules():
        if isinstance(layer, Linear4bit | Linear8bitLt):
            quantized += layer.in_features * layer.out_features
        elif not isinstance(layer, nn.Embedding) and layer is not head:
            # Not by the layer's kind: the experts of a mixture are plain weights of three axes.
            frozen = (weight for weight in layer.parameters(recurse=False) if not weight.requires_grad)
            other += sum(weight.numel() for weight in frozen if weight.ndim > 1)
    return quantized / (quantized + other) if quantized else 0.0
