"""Making one adapter of several trained ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.adapters.beside import twin
from declarlm.adapters.named import Merge
from declarlm.adapters.storage import save_adapter
from declarlm.adapters.switching import quiet
from declarlm.backbones.libraries import reason
from declarlm.backbones.trust import check_adapter_config, check_weights
from declarlm.core import ModelError

if TYPE_CHECKING:
    from torch import nn

_NEW = "default"  # the name under which an adapter is saved


def combine_adapters(base: nn.Module, folders: Sequence[Path], settings: Merge, target: Path) -> None:
    """Write the weighted sum of trained adapters of one kind as a new one; the base stays as it is.

    Sources: Yadav et al., "TIES-Merging", 2023, https://arxiv.org/abs/2306.01708; Yu et al., "Language Models are
    Super Mario" (DARE), 2023, https://arxiv.org/abs/2311.03099; PEFT's ``add_weighted_adapter`` computes them.

    Raises:
        ModelError: If the adapters cannot be added up in this way.
        RefusedError: If a folder is unsafe to open.
    """
    import torch
    from peft import PeftModel

    kind = _common_kind(folders, settings)
    names = [f"source{place}" for place in range(len(folders))]
    own = {name for name, weight in base.named_parameters() if weight.ndim == 1}
    shares = settings.shares(len(folders))
    options = _options(settings) if kind == "LORA" else {}
    with quiet(), torch.random.fork_rng():
        module: Any = PeftModel.from_pretrained(twin(base, own=own), str(folders[0]), adapter_name=names[0])
        for name, folder in zip(names[1:], folders[1:], strict=True):
            module.load_adapter(str(folder), adapter_name=name)
        torch.manual_seed(settings.seed)
        try:
            module.base_model.add_weighted_adapter(names, shares, _NEW, **options)
        except (ValueError, TypeError, RuntimeError) as error:
            raise ModelError(f"the adapters cannot be merged by {settings.combination_type}: {reason(error)}") from None
    for layer in module.modules():
        if kind == "LORA" and _NEW in getattr(layer, "lora_B", {}):
            layer.lora_B[_NEW].weight.data /= layer.scaling[_NEW]  # PEFT means a scale of 1, but rsLoRA has another
    save_adapter(module, target)


def _options(settings: Merge) -> dict[str, Any]:
    return {
        "combination_type": settings.combination_type,
        "density": settings.density,
        "svd_rank": settings.svd_rank,
        "svd_full_matrices": False,
    }


def _common_kind(folders: Sequence[Path], settings: Merge) -> str:
    """Return the kind of all the adapters.

    Raises:
        ModelError: If there is none, or adapters of that kind cannot be added up.
    """
    configs = [check_adapter_config(folder) for folder in folders]
    for folder in folders:
        check_weights(folder, "adapter_model")
    kinds = sorted({str(config.get("peft_type")) for config in configs})
    if len(kinds) > 1:
        raise ModelError(f"adapters of different kinds cannot be merged: {', '.join(kinds).lower()}")
    if kinds[0] not in ("LORA", "IA3"):
        raise ModelError(f"adapters of type {kinds[0].lower()} cannot be merged with one another; those of lora can")
    if kinds[0] == "IA3" and settings.combination_type != "linear":
        raise ModelError("adapters of type ia3 are merged by the sum of their factors: write combination_type: linear")
    for folder, config in zip(folders, configs, strict=True):
        if config.get("use_dora"):
            raise ModelError(f"{folder} is of type dora: its lengths cannot be added up; merge it into the base alone")
        if config.get("bias", "none") != "none":
            raise ModelError(f"{folder} also trained biases of the base, which cannot be added up; train without them")
    return kinds[0]
