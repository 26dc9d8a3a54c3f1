"""Loading the weights of a backbone: safetensors only, memory-mapped, frozen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from declarlm.backbones.libraries import reason
from declarlm.backbones.quantization import Quantization, keep_trainable, quantized_share
from declarlm.backbones.sharing import num_weights, weights_folder
from declarlm.core import ConfigError, ModelError, OutOfMemoryError, Problem
from declarlm.core.errors import choose_from

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

    from declarlm.backbones.backbone import Backbone

DTYPES = ("float32", "bfloat16", "float16")
_USED = 0.9  # share of a GPU's free memory that weights may take where they are spread


def load(
    backbone: Backbone,
    kind: Literal["causal", "encoder"],
    quantization: Quantization | None,
    dtype: str,
    device: str,
    *,
    spread: bool = False,
) -> PreTrainedModel:
    """Return the model, frozen and in evaluation mode; see ``Backbone.load_causal``."""
    import torch
    from safetensors import SafetensorError

    place = torch.device(device)
    precision = _dtype(dtype, place)
    settings = _settings(backbone, quantization, precision)
    model_class = _causal_class(backbone) if kind == "causal" else encoder_class(backbone)
    converted = precision == torch.float32 and quantization is None
    folder = weights_folder(backbone, kind) if converted else backbone.folder
    # No attention is named, so transformers takes torch's own, or its plain one: check_base refused any other choice.
    try:
        model, report = model_class.from_pretrained(
            folder,
            config=backbone.config,
            dtype=precision,
            use_safetensors=True,
            trust_remote_code=backbone.trust_remote_code,
            local_files_only=True,
            output_loading_info=True,
            quantization_config=settings,
            **placement(_size(backbone, precision, quantization), place, spread=spread),
        )
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"the weights of {backbone.name!r} do not fit on {device}; use quantization.bits: 4, or a smaller base, or "
            "device_map: auto"
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise ModelError(
            f"the weights of {backbone.name!r} in {backbone.folder} cannot be loaded: {reason(error)}"
        ) from error
    _check_complete(backbone, kind, [*report["missing_keys"], *(key[0] for key in report["mismatched_keys"])])
    model.name_or_path = backbone.name  # what adapters record as their base
    keep_trainable(model)
    model.requires_grad_(False).eval()
    if quantization is not None:
        _check_quantized(backbone, model)
    return model


def skeleton(backbone: Backbone) -> PreTrainedModel:
    """Return the model with its layers but without weights: a language model where the base is one, else an encoder."""
    import torch

    try:
        model_class = _causal_class(backbone)
    except ModelError:
        model_class = encoder_class(backbone)
    with torch.device("meta"):
        model: PreTrainedModel = model_class.from_config(
            backbone.config, dtype=torch.float32, trust_remote_code=backbone.trust_remote_code
        )
    model.name_or_path = backbone.name
    return model.requires_grad_(False).eval()


def placement(size: float, place: torch.device, *, spread: bool) -> dict[str, Any]:
    """Return in transformers' words where a base of ``size`` bytes goes: to one device, or over all GPUs.

    It is spread only if it must be. A tenth of each GPU's free memory is left for what is computed.

    Raises:
        OutOfMemoryError: If it does not fit on all of them.
    """
    import torch

    one: dict[str, Any] = {"device_map": {"": str(place)}}
    if not spread or place.type != "cuda" or size <= _USED * torch.cuda.mem_get_info(place)[0]:
        return one
    room = {index: int(_USED * torch.cuda.mem_get_info(index)[0]) for index in range(torch.cuda.device_count())}
    if size > sum(room.values()):
        raise torch.OutOfMemoryError
    return {"device_map": "auto", "max_memory": room}


def _size(backbone: Backbone, precision: torch.dtype, quantization: Quantization | None) -> float:
    """Return the bytes of a base's weights, nearly: embeddings and norms are not quantized."""
    bits = 8 * precision.itemsize if quantization is None else quantization.bits
    return num_weights(backbone.folder) * bits / 8


def usual_dtype(device: str) -> str:
    """Return the type of weights that do not train: bfloat16 on a GPU, float32 on a CPU."""
    return "float32" if device == "cpu" else "bfloat16"


def _dtype(name: str, place: torch.device) -> torch.dtype:
    import torch

    if name == "auto":
        name = usual_dtype(place.type)
    if name not in DTYPES:
        raise ConfigError("config", [Problem("dtype", f"cannot be {choose_from(name, ('auto', *DTYPES))}")])
    return getattr(torch, name)  # type: ignore[no-any-return]


def _stored_bits(config: PretrainedConfig) -> int | None:
    """Return the bits of weights that are quantized on the disk already, ``None`` if they are not.

    Raises:
        ModelError: If another tool than bitsandbytes quantized them.
    """
    stored = getattr(config.get_text_config(), "quantization_config", None)
    if stored is None:
        return None
    method = stored.get("quant_method", "bitsandbytes")
    if method != "bitsandbytes":
        raise ModelError(f"the weights are quantized by {method!r}; choose a base that is not, or by bitsandbytes")
    return 4 if stored.get("load_in_4bit") else 8


def _settings(backbone: Backbone, quantization: Quantization | None, precision: torch.dtype) -> Any:
    """Return how to quantize the weights while they are read, ``None`` to leave them as they are stored."""
    stored = _stored_bits(backbone.config)
    if quantization is None:
        return None
    if stored is None:
        return quantization.bitsandbytes_config(precision)
    if quantization.bits != stored:
        problem = Problem("quantization.bits", f"must be {stored}, as {backbone.name!r} is stored so")
        raise ConfigError("config", [problem])
    return None


def _causal_class(backbone: Backbone) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    config = backbone.config
    if backbone.reads_apart:
        return AutoModelForSeq2SeqLM
    remedy = "use it in model_type: ecd, as an encoder of type auto_transformer, or choose another base_model"
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not backbone.trust_remote_code:
        raise ModelError(f"{backbone.name!r} ({config.model_type}) is not a language model that writes text; {remedy}")
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
        raise ModelError(f"{backbone.name!r} ({config.model_type}) fills gaps and does not write text; {remedy}")
    return AutoModelForCausalLM


def encoder_class(backbone: Backbone) -> Any:
    """Return the class of transformers that makes the model without a head, of two halves the reading one."""
    from transformers import AutoModel, AutoModelForTextEncoding
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

    config = backbone.config
    # The saved encoder of an encoder-decoder says that it is none: only its family tells.
    is_part = config.model_type in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES or getattr(config, "is_encoder_decoder", False)
    return AutoModelForTextEncoding if is_part else AutoModel


def _check_quantized(backbone: Backbone, model: PreTrainedModel) -> None:
    """Refuse a model whose linear layers are of a kind that the quantization passes by."""
    if not quantized_share(model):
        raise ModelError(
            f"{backbone.name!r} ({backbone.config.model_type}) has no layer that can be quantized: its linear layers "
            "are of a kind of their own; leave quantization out (and write adapter: lora), or choose another base_model"
        )


def _check_complete(backbone: Backbone, kind: str, missing: Iterable[str]) -> None:
    """Refuse a model of which a part would be random; encoders are read before their pooler, which often is missing."""
    lacking = sorted(name for name in missing if kind == "causal" or "pooler" not in name)
    if lacking:
        raise ModelError(
            f"{backbone.folder} lacks {len(lacking)} of the weights that {backbone.config.model_type} needs, "
            f"such as {lacking[0]}; it was trained for another task, or is incomplete"
        )
