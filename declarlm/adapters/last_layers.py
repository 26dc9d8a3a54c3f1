"""Training the top layers of a base whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.adapters.base import adapters
from declarlm.adapters.in_place import InPlaceAdapter
from declarlm.adapters.ln_tuning import is_norm
from declarlm.core import ConfigError, Problem, param

if TYPE_CHECKING:
    from torch import nn


@adapters.register("last_layers")
class LastLayersAdapter(InPlaceAdapter):
    """Train the top ``k`` layers, the norm after them and the output head; all that is below stays as it is.

    A head that shares its weights with the embeddings stays too, as they are at the bottom. An encoder's head is new,
    and always trains.
    Source: Lee et al., "What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning", 2019,
    https://arxiv.org/abs/1911.03090.
    """

    learning_rate = 1e-4
    peft_type = "LAST_LAYERS"

    class Config(InPlaceAdapter.Config):
        k: int = param("Layers to train, counted from the top.", default=2, min=1)

    config: Config

    def names(self, module: nn.Module) -> list[str]:
        place, layers = layers_of(module)
        if self.config.k > len(layers):
            problem = f"must be at most {len(layers)}, the layers of this base, got {self.config.k}"
            raise ConfigError("config", [Problem("adapter.k", problem)])
        tops = [f"{place}.{index}." for index in range(len(layers) - self.config.k, len(layers))]
        tops += [f"{name}." for name in _norms_after(module, place)]
        head = getattr(module, "get_output_embeddings", lambda: None)()
        inputs: Any = module.get_input_embeddings()  # type: ignore[operator]
        own = head is not None and head.weight is not inputs.weight
        tops += [f"{name}." for name, layer in module.named_modules() if own and layer is head]
        return [name for name, _ in module.named_parameters() if name.startswith(tuple(tops))]


def layers_of(module: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the layers of a base, by the name of the list that holds them; of two stacks the upper one.

    Raises:
        ConfigError: If there is no such list.
    """
    from torch import nn

    lists = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.ModuleList) and len(part)]
    outer = [(name, part) for name, part in lists if not any(name.startswith(f"{other}.") for other, _ in lists)]
    if not outer:
        raise ConfigError("config", [Problem("adapter.type", "the base has no list of layers; write lora")])
    most = max(len(part) for _, part in outer)
    return [(name, part) for name, part in outer if len(part) == most][-1]


def _norms_after(module: nn.Module, place: str) -> list[str]:
    """Return the names of the norms that stand beside a list of layers, and after it."""
    named = dict(module.named_modules())
    behind = list(named)[list(named).index(place) :]
    parent = place.rpartition(".")[0]
    return [name for name in behind if name.rpartition(".")[0] == parent and is_norm(named[name])]
