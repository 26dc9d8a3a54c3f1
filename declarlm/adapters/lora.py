"""LoRA, on a base of full or of 4-bit weights, with or without a trained magnitude."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from declarlm.adapters.base import adapters
from declarlm.adapters.low_rank import LowRankAdapter
from declarlm.adapters.starts import (
    TAKES_FROM_BASE,
    first_factors,
    lora_layers,
    remember_first,
    save_difference,
    start_from_inputs,
    start_near_unquantized,
)
from declarlm.adapters.storage import save_adapter, wrap
from declarlm.adapters.switching import remember
from declarlm.adapters.targets import Targets, linear_layers
from declarlm.backbones import open_backbone
from declarlm.core import ConfigError, Problem, param
from declarlm.core.errors import choose_from

if TYPE_CHECKING:
    from torch import nn


@adapters.register("lora")
class LoraAdapter(LowRankAdapter):
    """Train a low-rank update beside each frozen linear layer.

    Replaces ``y = Wx`` by ``y = Wx + (alpha / r) BAx``; only ``A (r, in)`` and ``B (out, r)`` train. B starts at
    zero, so that training starts from the base.
    Source: Hu et al., "LoRA", 2021, https://arxiv.org/abs/2106.09685, section 4.1.
    """

    learning_rate = 2e-4
    peft_type = "LORA"

    class Config(LowRankAdapter.Config):
        use_rslora: bool = param(
            "Whether the update is scaled by alpha / sqrt(r), which suits ranks above 32: "
            "https://arxiv.org/abs/2312.03732.",
            default=False,
        )
        use_dora: bool = param(
            "Whether the length of each output's weights trains too: https://arxiv.org/abs/2402.09353.", default=False
        )
        loraplus_lr_ratio: float | None = param(
            "How many times the learning rate of A that of B is, 16 in https://arxiv.org/abs/2402.12354; null is 1.",
            default=None,
            above=0,
        )
        init_lora_weights: Literal["default", "gaussian", "eva", "olora", "pissa", "corda", "loftq", "orthogonal"] = (
            param(
                "How the factors start: A drawn, B at zero (default, gaussian, orthogonal); A along the inputs of some "
                "training rows, B at zero (eva); both taken from the base's weights, which lose that part (pissa, "
                "olora); both so that a base of 4 bits comes near its unquantized weights (loftq).",
                default="default",
            )
        )
        rank_pattern: dict[str, int] = param("Rank of single layers, by name or regular expression.", default={}, min=1)
        alpha_pattern: dict[str, float] = param(
            "Alpha of single layers, by name or regular expression.", default={}, above=0
        )

        def check(self) -> Iterable[Problem]:
            yield from super().check()
            if self.init_lora_weights == "corda":
                problem = (
                    "'corda' needs a calibration run of its own; write eva, which looks at training rows, or pissa"
                )
                yield Problem("init_lora_weights", problem)
            ranks = {"r": self.r, **{f"rank_pattern.{name}": rank for name, rank in self.rank_pattern.items()}}
            for path, rank in ranks.items():
                if self.init_lora_weights == "orthogonal" and rank % 2:
                    yield Problem(path, f"must be even for init_lora_weights: orthogonal, got {rank}")

    config: Config

    @property
    def reads_rows(self) -> bool:
        return bool(self.config.init_lora_weights == "eva") and self.config.pretrained_adapter_weights is None

    def prepare(self, module: nn.Module, run: Callable[[], None]) -> None:
        if self.reads_rows:
            start_from_inputs(module, run)

    def add(self, module: nn.Module, *, total_steps: int, seed: int) -> nn.Module:
        start = self.config.init_lora_weights
        _check_start(module, start)
        targets = self.targets(module)
        if start in (*TAKES_FROM_BASE, "loftq"):
            self._check_ranks(module, targets)
        if start in TAKES_FROM_BASE:
            remember(module, [module.get_submodule(name).weight for name in targets.names])  # type: ignore[misc]
        wrapped = wrap(module, self.settings(module, targets, total_steps, seed), seed)
        if start in TAKES_FROM_BASE:
            remember_first(wrapped)
        elif start == "loftq":
            start_near_unquantized(wrapped, open_backbone(str(module.name_or_path)).folder)
        return wrapped

    def _check_ranks(self, module: nn.Module, targets: Targets) -> None:
        """Refuse a rank above that of a layer's weights, which have no more to give."""
        layers: dict[str, Any] = linear_layers(module)
        for name in targets.names:
            layer = layers[name]
            most = (
                min(layer.in_features, layer.out_features) if hasattr(layer, "in_features") else min(layer.weight.shape)
            )
            if max(self.config.r, *self.config.rank_pattern.values(), 0) > most:
                problem = f"must be at most {most} for init_lora_weights: {self.config.init_lora_weights}, the rank of"
                raise ConfigError("config", [Problem("adapter.r", f"{problem} {name}, got {self.config.r}")])

    def save(self, module: nn.Module, folder: Path) -> None:
        taken = any(first_factors(layer) is not None for _, layer in lora_layers(module))
        (save_difference if taken else save_adapter)(module, folder)

    def settings(self, module: nn.Module, targets: Targets, total_steps: int, seed: int) -> Any:
        from peft import LoraConfig

        config = self.config
        if config.use_dora and getattr(module, "is_loaded_in_8bit", False):
            # On a CPU, PEFT's dequantization loses the scales of the 8-bit weights at the second forward pass.
            raise ConfigError("config", [Problem("quantization.bits", "must be 4 or absent for dora, got 8")])
        _check_patterns(targets, rank_pattern=config.rank_pattern, alpha_pattern=config.alpha_pattern)
        return LoraConfig(
            r=config.r,
            lora_alpha=config.scale,
            use_rslora=config.use_rslora,
            use_dora=config.use_dora,
            init_lora_weights=_OF_PEFT.get(config.init_lora_weights, True),
            rank_pattern=dict(config.rank_pattern),
            alpha_pattern=dict(config.alpha_pattern),
            **self.shared_settings(module, targets),
        )

    def parameter_groups(self, module: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
        ratio = self.config.loraplus_lr_ratio
        if ratio is None:
            return super().parameter_groups(module, learning_rate)
        named = [(name, weight) for name, weight in module.named_parameters() if weight.requires_grad]
        fast = [weight for name, weight in named if ".lora_B." in name]
        rest = [weight for name, weight in named if ".lora_B." not in name]
        return [
            {"params": rest, "lr": learning_rate, "weight_decay": 0.0},
            {"params": fast, "lr": learning_rate * ratio, "weight_decay": 0.0},
        ]


@adapters.register("qlora")
class QloraAdapter(LoraAdapter):
    """Train LoRA on a base of 4-bit weights.

    The same as ``lora`` with ``quantization: {bits: 4}``, which this name implies.
    Source: Dettmers et al., "QLoRA", 2023, https://arxiv.org/abs/2305.14314, section 3.
    """


@adapters.register("dora")
class DoraAdapter(LoraAdapter):
    """Train LoRA's update as a direction, and its length apart.

    The same as ``lora`` with ``use_dora: true``, which this name implies.
    Source: Liu et al., "DoRA", 2024, https://arxiv.org/abs/2402.09353, section 4.
    """

    class Config(LoraAdapter.Config):
        use_dora: bool = param("Whether the length of each output's weights trains too.", default=True)

        def check(self) -> Iterable[Problem]:
            yield from super().check()
            if not self.use_dora:
                yield Problem("use_dora", "must be true for adapter dora; leave it out, or write type: lora")


# What PEFT calls them; eva and loftq start like the default, and are changed afterwards.
_OF_PEFT: dict[str, Any] = {name: name for name in ("gaussian", "orthogonal", *TAKES_FROM_BASE)}


def _check_start(module: nn.Module, start: str) -> None:
    """Refuse a start that a base cannot have."""
    quantized = getattr(module, "is_quantized", False)
    transposed = any(not hasattr(layer, "in_features") for layer in linear_layers(module).values())
    problem = None
    if start in TAKES_FROM_BASE and quantized:
        problem = (
            f"{start!r} changes the base's weights, which few bits cannot hold; write loftq, or leave quantization out"
        )
    elif start == "olora" and transposed:
        problem = "'olora' cannot take from layers of GPT-2's kind (Conv1D); write pissa"
    elif start == "loftq" and not getattr(module, "is_loaded_in_4bit", False):
        problem = "'loftq' makes up for a base of 4 bits; write quantization: {bits: 4}, or another start"
    if problem is not None:
        raise ConfigError("config", [Problem("adapter.init_lora_weights", problem)])


def _check_patterns(targets: Targets, **patterns: dict[str, Any]) -> None:
    import re

    last = {name.rpartition(".")[2] for name in targets.names}
    problems = [
        Problem(f"adapter.{key}.{pattern}", f"matches none of the adapted layers: {choose_from(pattern, last)}")
        for key, chosen in patterns.items()
        for pattern in chosen
        if not any(re.fullmatch(rf"(.*\.)?({pattern})", name) for name in targets.names)
    ]
    if problems:
        raise ConfigError("config", problems)
