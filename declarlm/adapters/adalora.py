"""AdaLoRA: ranks that move to where they matter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.adapters.base import adapters, trained
from declarlm.adapters.low_rank import LowRankAdapter
from declarlm.adapters.storage import save_adapter
from declarlm.adapters.targets import Targets
from declarlm.core import ConfigError, Problem, param

if TYPE_CHECKING:
    from torch import Tensor, nn

_AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")
_PATTERN = "rank_pattern"


@adapters.register("adalora")
class AdaloraAdapter(LowRankAdapter):
    """Train a low-rank update whose rank is shared out between the layers by importance.

    Replaces ``y = Wx`` by ``y = Wx + (alpha / r) B diag(E) Ax``. Every layer starts with rank ``init_r``; after a
    first phase the least important entries of ``E (init_r,)`` are set to zero, until their mean number per layer is
    ``r``; in the last phase the ranks stay. E starts at zero, so that training starts from the base.
    Source: Zhang et al., "AdaLoRA", 2023, https://arxiv.org/abs/2303.10512, section 3.
    """

    learning_rate = 1e-3
    peft_type = "ADALORA"
    can_shard = False

    class Config(LowRankAdapter.Config):
        r: int = param("Mean rank of the update of a layer in the end.", default=16, min=1)
        init_r: int | None = param("Rank of every layer at the start; null is 1.5 r.", default=None, min=2)
        tinit: float = param("Share of the optimizer steps before any rank is taken.", default=0.1, min=0, below=1)
        tfinal: float = param("Share of the optimizer steps after the last rank is taken.", default=0.3, min=0, below=1)
        delta_t: int = param("Optimizer steps between two changes of the ranks.", default=1, min=1)
        beta1: float = param("Decay of the mean importance.", default=0.85, above=0, below=1)
        beta2: float = param("Decay of the importance's uncertainty.", default=0.85, above=0, below=1)
        orth_reg_weight: float = param(
            "Weight of the loss that keeps the rows of A, and the columns of B, orthogonal.", default=0.5, min=0
        )

        @property
        def start_rank(self) -> int:
            """Rank of every layer at the start."""
            return math.ceil(1.5 * self.r) if self.init_r is None else self.init_r

        def check(self) -> Iterable[Problem]:
            yield from super().check()
            if self.start_rank <= self.r:
                yield Problem("init_r", f"must be greater than r ({self.r}), got {self.init_r}")
            if self.tinit + self.tfinal >= 1:
                yield Problem("tfinal", f"must be less than 1 - tinit ({1 - self.tinit:g}), got {self.tfinal:g}")

    config: Config

    def attach(self, module: nn.Module, *, total_steps: int, seed: int) -> nn.Module:
        self._allocates = self.config.pretrained_adapter_weights is None
        return super().attach(module, total_steps=total_steps, seed=seed)

    def settings(self, module: nn.Module, targets: Targets, total_steps: int, seed: int) -> Any:
        from peft import AdaLoraConfig

        config = self.config
        first, last = int(config.tinit * total_steps), int(config.tfinal * total_steps)
        if total_steps - last - first < 2:
            raise ConfigError(
                "config",
                [
                    Problem(
                        "adapter.type",
                        f"adalora needs 2 optimizer steps or more between its first and its last phase, and the run "
                        f"has {total_steps} in all; train longer, lower tinit and tfinal, or write lora",
                    )
                ],
            )
        return AdaLoraConfig(
            target_r=config.r,
            init_r=config.start_rank,
            # PEFT divides by the rank at the start; alpha / r is the scale in every adapter here.
            lora_alpha=config.scale * config.start_rank / config.r,
            tinit=first,
            tfinal=last,
            deltaT=config.delta_t,
            beta1=config.beta1,
            beta2=config.beta2,
            orth_reg_weight=config.orth_reg_weight,
            total_step=total_steps,
            **self.shared_settings(module, targets),
        )

    def extra_loss(self, module: nn.Module) -> Tensor | None:
        """Return the mean distance of A and B from orthogonality, times its weight: section 3.1, equation 4."""
        import torch

        distances = []
        for name, weight in module.named_parameters():
            if weight.requires_grad and (".lora_A." in name or ".lora_B." in name):
                product = weight @ weight.T if ".lora_A." in name else weight.T @ weight  # (r, r)
                identity = torch.eye(len(product), dtype=product.dtype, device=product.device)
                distances.append(torch.linalg.matrix_norm(product - identity))
        return self.config.orth_reg_weight * torch.stack(distances).mean() if distances else None

    def after_step(self, module: nn.Module, step: int) -> None:
        if not self._allocates:
            return
        import torch

        tuner: Any = module.base_model
        settings = tuner.peft_config["default"]
        last_change = settings.total_step - settings.tfinal
        if step < last_change:
            for weight in trained(module):
                if weight.grad is None:  # a layer that the loss does not see has no importance
                    weight.grad = torch.zeros_like(weight)
            tuner.update_and_allocate(step)
        elif tuner.rankallocator.exp_avg_ipt:
            tuner.update_and_allocate(last_change)  # later than planned if that very step was skipped
        elif settings.rank_pattern is not None:
            tuner.rankallocator.mask_using_rank_pattern(tuner.model, settings.rank_pattern)

    def settled(self, module: nn.Module) -> bool:
        """Return whether the last rank was taken: until then, the layers have more ranks than they may keep."""
        tuner: Any = module.base_model
        is_last = tuner.peft_config["default"].rank_pattern is not None and not tuner.rankallocator.exp_avg_ipt
        return is_last or not self._allocates

    def state(self, module: nn.Module) -> dict[str, Tensor]:
        import torch

        tuner: Any = module.base_model
        if not self._allocates:
            return {}
        state = {
            f"{kind}.{name}": value.clone()
            for kind in _AVERAGES
            for name, value in getattr(tuner.rankallocator, kind).items()
        }
        pattern = tuner.peft_config["default"].rank_pattern or {}
        return state | {f"{_PATTERN}.{name}": torch.tensor(kept, dtype=torch.bool) for name, kept in pattern.items()}

    def restore(self, module: nn.Module, state: Mapping[str, Tensor]) -> None:
        tuner: Any = module.base_model
        if not self._allocates:
            return
        place = next(module.parameters()).device
        for kind in _AVERAGES:
            found = {
                name.removeprefix(f"{kind}."): value for name, value in state.items() if name.startswith(f"{kind}.")
            }
            setattr(tuner.rankallocator, kind, {name: value.to(place, copy=True) for name, value in found.items()})
        pattern = {
            name.removeprefix(f"{_PATTERN}."): kept.tolist()
            for name, kept in state.items()
            if name.startswith(f"{_PATTERN}.")
        }
        tuner.peft_config["default"].rank_pattern = pattern or None

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write the adapter; ranks that are gone are left out, unless they may come back before the next change."""
        tuner: Any = module.base_model
        settings = tuner.peft_config["default"]
        pattern = settings.rank_pattern
        if pattern is not None and not _is_masked(tuner.model, pattern):
            settings.rank_pattern = None
        try:
            save_adapter(module, folder)
        finally:
            settings.rank_pattern = pattern


def _is_masked(module: nn.Module, pattern: Mapping[str, list[bool]]) -> bool:
    """Return whether all entries of E that the pattern drops are zero, or gone as in an adapter that was loaded."""
    import torch

    entries = dict(module.named_parameters())
    whole = [(entries[name], kept) for name, kept in pattern.items() if name in entries]
    return not any(bool(entry[~torch.tensor(kept, device=entry.device)].any()) for entry, kept in whole)
