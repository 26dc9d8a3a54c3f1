"""What a config changes about a base beside its weights: how far it reads, and noise in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from declarlm.core import ConfigError, Problem, Section, param

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class RopeScaling(Section):
    """Let a model with rotary positions read rows that are longer than those it was trained on."""

    rope_type: Literal["linear", "dynamic", "yarn"] = param(
        "How positions are squeezed: all by the factor (linear, https://arxiv.org/abs/2306.15595), only in rows that "
        "are too long (dynamic), or each frequency by its own share (yarn, https://arxiv.org/abs/2309.00071)."
    )
    factor: float = param("By how much the context becomes longer.", above=1)


class ModelParameters(Section):
    """What is changed about a base beside its weights."""

    rope_scaling: RopeScaling | None = param(
        "How the context becomes longer; null leaves it as it is. Train on long rows, or answers get worse.",
        default=None,
    )
    neftune_noise_alpha: float | None = param(
        "Size of the noise on input embeddings in training, 5 to 15 in https://arxiv.org/abs/2310.05914; null or 0 is "
        "none.",
        default=None,
        min=0,
    )


def scale_positions(config: PretrainedConfig, rope: RopeScaling, name: str) -> None:
    """Set in a base's config how its positions are scaled.

    Raises:
        ConfigError: If it has no rotary positions, or scales them otherwise already.
    """
    text: Any = config.get_text_config()
    present = getattr(text, "rope_parameters", None)
    if not present or getattr(text, "alibi", False):
        raise _refused(f"is not for {name!r} ({text.model_type}), which has no rotary positions; leave it out")
    # A family with a narrow and a wide attention has positions for each; only the wide one sees the whole context.
    place = present.get("full_attention", present)
    new = {"rope_type": rope.rope_type, "factor": float(rope.factor)}
    if place.get("rope_type", "default") != "default" and {**place, **new} != place:
        raise _refused(
            f"is not for {name!r}, whose positions are scaled by {place['rope_type']!r} already; leave it out"
        )
    if rope.rope_type == "yarn":
        new["original_max_position_embeddings"] = text.max_position_embeddings
    place.update(new)


def _refused(problem: str) -> ConfigError:
    return ConfigError("config", [Problem("model_parameters.rope_scaling", problem)])
