"""IA3: keys, values and feed-forward activations, each scaled by a learned vector."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from declarlm.adapters.base import adapters
from declarlm.adapters.checks import total_length
from declarlm.adapters.peft_adapter import PeftAdapter
from declarlm.adapters.targets import AUTOMATIC, FEEDFORWARD_END, Targets, find_targets, linear_layers, transposed
from declarlm.core import ConfigError, Problem, param
from declarlm.core.errors import choose_from

if TYPE_CHECKING:
    from torch import nn

# Full names of the layers that give keys and values; some give the queries too.
_KEYS = re.compile(
    r"(.*\.)?(k_proj|v_proj|k|v|key|value|k_lin|v_lin|key_proj|value_proj|query_key_value|qkv_proj|c_attn|Wqkv)"
)


@adapters.register("ia3")
class Ia3Adapter(PeftAdapter):
    """Scale keys, values and the activations inside feed-forward layers by learned vectors.

    Replaces ``y = Wx`` by ``y = l * Wx`` (keys, values) or ``y = W(l * x)`` (the second feed-forward layer), with the
    vectors ``l`` starting at one, so that training starts from the base. So few weights need a high learning rate.
    Source: Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", 2022,
    https://arxiv.org/abs/2205.05638, section 3.3.
    """

    learning_rate = 1e-2
    peft_type = "IA3"

    class Config(PeftAdapter.Config):
        target_modules: str | list[str] | None = param(
            "Layers to scale: names, a regular expression of full names, or auto (also null) for keys, values and the "
            "second layer of each feed-forward.",
            default="auto",
        )
        feedforward_modules: list[str] | None = param(
            "Those of the layers whose input is scaled in place of their output; null finds them by their names.",
            default=None,
        )

    config: Config

    def targets(self, module: nn.Module) -> Targets:
        wanted = self.config.target_modules
        if wanted is not None and wanted not in AUTOMATIC:
            return find_targets(module, wanted)
        layers = linear_layers(module)
        chosen = [name for name in layers if _KEYS.fullmatch(name) or FEEDFORWARD_END.fullmatch(name)]
        if not chosen:
            remedy = "name keys, values and the second feed-forward layers, which are among the last names: "
            known = sorted({name.rpartition(".")[2] for name in layers})
            raise ConfigError("config", [Problem("adapter.target_modules", remedy + ", ".join(known))])
        return Targets(chosen, chosen, [], transposed(layers, chosen))

    def settings(self, module: nn.Module, targets: Targets, total_steps: int, seed: int) -> Any:
        from peft import IA3Config

        shared = self.shared_settings(module, targets)
        return IA3Config(**shared, feedforward_modules=self._feedforward(targets), init_ia3_weights=True)

    def _feedforward(self, targets: Targets) -> list[str]:
        wanted = self.config.feedforward_modules
        if wanted is None:
            return [name for name in targets.names if FEEDFORWARD_END.fullmatch(name)]
        for place, one in enumerate(wanted):
            if not any(name == one or name.endswith(f".{one}") for name in targets.names):
                known = sorted({name.rpartition(".")[2] for name in targets.names})
                problem = f"none of the scaled layers is named {choose_from(one, known)}"
                raise ConfigError("config", [Problem(f"adapter.feedforward_modules[{place}]", problem)])
        return wanted

    def effect(self, module: nn.Module) -> float:
        """Return the distance of all vectors from one."""
        vectors = [weight for name, weight in module.named_parameters() if ".ia3_l." in name]
        return total_length(weight.double() - 1 for weight in vectors)
