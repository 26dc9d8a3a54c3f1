"""A small config with every kind of parameter, for the tests of the core."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from declarlm.core import Problem, Registry, Section, param


class Adapter:
    class Config(Section):
        name: str | None = param("Name to tell several apart.", default=None)


adapter_kinds: Registry[Adapter] = Registry("adapter", package=__name__)


@adapter_kinds.register("lora")
class Lora(Adapter):
    """Train a low-rank update."""

    backbones = frozenset({"causal", "encoder"})

    class Config(Adapter.Config):
        r: int = param("Rank of the update.", default=8, min=1)
        alpha: float | None = param("Scale of the update.", default=None, above=0)
        target_modules: str | list[str] = param("Layers to change.", default="auto")


@adapter_kinds.register("prompt")
class PromptTuning(Adapter):
    """Train a few vectors in front of the prompt."""

    backbones = frozenset({"causal"})

    class Config(Adapter.Config):
        num_tokens: int = param("Vectors in front of the prompt.", min=1)


class Quantization(Section):
    """Bits of the frozen weights."""

    bits: Literal[4, 8] = param("Bits of one weight.", default=4)
    double: bool = param("Whether the scales are quantized too.", default=True)


class Trainer(Section):
    """How weights are trained."""

    learning_rate: float | Literal["auto"] = param("Step size.", default="auto", above=0)
    epochs: int = param("Passes over the rows.", default=3, min=1)
    warmup_fraction: float = param("Share of the steps that warm up.", default=0, min=0, max=1)
    min_rows: int = param("Smallest batch.", default=1, min=1)
    max_rows: int = param("Largest batch.", default=8, min=1)

    def check(self) -> Iterable[Problem]:
        if self.min_rows > self.max_rows:
            yield Problem("min_rows", f"must be at most max_rows ({self.max_rows}), got {self.min_rows}")


class Model(Section):
    """The root."""

    base_model: str = param("Name of the base.", pattern="[a-z0-9/._-]+")
    adapter: Adapter.Config | None = param("What is trained.", default=None, registry=adapter_kinds)
    adapters: list[Adapter.Config] = param("Several of them.", default=[], registry=adapter_kinds)
    encoder_adapter: Adapter.Config = param(
        "What is trained on the encoder.", default="lora", registry=adapter_kinds.where(backbones="encoder")
    )
    quantization: Quantization | None = param("Bits of the base.", default=None)
    trainer: Trainer = param("How to train.", default=Trainer())
    trainers: dict[str, Trainer] = param("Named ways to train.", default={})
    class_weights: dict[str, float] = param("Weight of each label.", default={}, min=0)
    betas: list[float] = param("Decays.", default=[0.9, 0.999], min=0, below=1)
    options: dict[str, Any] = param("Anything else.", default={})

    def check(self) -> Iterable[Problem]:
        if self.quantization is not None and self.adapter is None:
            yield Problem("adapter", "must be given, quantized weights cannot be trained")
        for index, adapter in enumerate(self.adapters):
            if adapter.name is None:
                yield Problem(f"adapters[{index}].name", "is required where there are several")


def problems(section: type[Section], data: Any) -> list[str]:
    """What is wrong with the data, one line each; nothing if it loads."""
    from declarlm.core import ConfigError

    try:
        section.load(data)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []
