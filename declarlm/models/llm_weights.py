"""The weights under a language model on a table: their type, and what a person should know of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.backbones.loading import usual_dtype
from declarlm.backbones.quantization import quantized_share
from declarlm.core import ModelError
from declarlm.core.ragged import Ragged
from declarlm.models.causal import collate

if TYPE_CHECKING:
    from torch import nn

    from declarlm.adapters.base import Adapter
    from declarlm.backbones import Backbone
    from declarlm.layers.causal_model import CausalModel
    from declarlm.models.prompted import LlmSections

GOLDEN_TOLERANCE = 0.02  # share by which the score of a known row may differ after loading
FEW_BITS = 0.5  # share of quantized weights under which a person should know


def load_base(
    backbone: Backbone,
    sections: LlmSections,
    adapter: Adapter | None,
    *,
    trains: bool,
    device: str,
    place: str | None = None,
) -> nn.Module:
    """Return the base at ``place``, by default on ``device``, and of the type that the config says or that suits it.

    It is float32 if its own weights train, as other types would round their small updates away.
    """
    trains_base = trains and (adapter is None or adapter.trains_base)
    kind = sections.dtype if sections.dtype != "auto" else usual_dtype(device)
    base: nn.Module = backbone.load_causal(
        sections.quantization,
        dtype="float32" if trains_base else kind,
        device=place or device,
        spread=sections.spread and place in (None, device),
    )
    return base


def placed(network: nn.Module, device: str) -> nn.Module:
    """Return a language model on a device, all of it unless its layers are spread over several."""
    from declarlm.layers.causal_head import causal_part

    is_spread = len(set(getattr(causal_part(network), "hf_device_map", {}).values())) > 1
    return network if is_spread else network.to(device)


def doubt_about_the_bits(base: nn.Module, name: str) -> list[str]:
    """Return a warning if most of a base that is to be quantized is not."""
    share = quantized_share(base)
    doubt = f"quantization reaches {share:.0%} of the weights of {name}; the rest, such as the experts of a mixture, "
    return [f"{doubt}takes as much memory as without"] if share < FEW_BITS else []


def weight_groups(module: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
    """Return all trainable weights in groups for an optimizer: matrices, embeddings, and what does not decay."""
    from torch import nn

    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in weights if weight.ndim > 1 and id(weight) not in tables]},
        {"params": [weight for weight in weights if id(weight) in tables], "is_embedding": True},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return [{**group, "lr": learning_rate} for group in groups if group["params"]]


def score(module: CausalModel, rows: list[list[int]]) -> list[float]:
    """Return the log-probability of each row's tokens."""
    import torch

    if not rows:
        return []
    module.eval()
    ids = Ragged.from_rows(rows)
    with torch.no_grad():
        batch = collate(module, ids, Ragged(ids.values >= 0, ids.offsets))
        return [float(row) for row in batch.by_row(module(batch))]


def check_scores(module: CausalModel, rows: list[list[int]], expected: list[float]) -> None:
    """Refuse weights that do not score known rows as those that were saved.

    Raises:
        ModelError: With the first score that is another.
    """
    for before, now in zip(expected, score(module, rows), strict=True):
        if abs(before - now) > GOLDEN_TOLERANCE * abs(before) + 0.1:
            raise ModelError(f"the loaded weights score a known row {now:.3f} instead of {before:.3f}")
