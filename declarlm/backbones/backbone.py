"""A pretrained model before its weights: what a run must know of it to make tokens and to plan."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.backbones.find import BASE_FILES, CODE_FILES, find_folder
from declarlm.backbones.glance import first_length
from declarlm.backbones.libraries import import_libraries, reason
from declarlm.backbones.parameters import RopeScaling, scale_positions
from declarlm.backbones.trust import check_base
from declarlm.core import ModelError
from declarlm.core.cache import file_digest
from declarlm.core.ragged import BORDER

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from declarlm.backbones.quantization import Quantization

# Families whose chat format ends a turn with another token than the one that ends a document.
_TURN_ENDS = (
    *("<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<turn|>", "<|end|>", "<|eot|>", "<|eom_id|>", "<|return|>"),
    *("<|END_OF_TURN_TOKEN|>", "<|end_of_turn|>", "<|end_of_text|>", "<|endoftext|>", "</s>"),
)
_PADS = ("<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>", "<|PAD|>", "<PAD>")
# Their first position is the one after the padding id, so that many of the table are never used.
_SHIFTED_POSITIONS = {
    *("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "xmod", "longformer"),
    *("data2vec-text", "mpnet", "ibert", "luke", "esm", "lilt"),
}


@dataclass(frozen=True, eq=False)
class Backbone:
    """A base that was found and checked, with its tokenizer; the weights stay on the disk until they are loaded.

    Attributes:
        name: What the config calls it.
        folder: Where its files are.
        tokenizer: Its tokenizer, as it comes: nothing is added.
        config: Its architecture.
        context_length: Tokens that fit, ``None`` without a limit.
        bos_id: Token that the tokenizer puts before a text, ``None`` if it puts none.
        pad_id: Token for unused places. Masks go by position, so it may be a token that has another use.
        pad_source: Why that one.
        stop_ids: Tokens that end an answer, the one that ends a document first; empty for most encoders.
        between: Of an encoder-decoder, what stands between prompt and answer: the end of what is read, ``BORDER``, and
            the tokens that an answer starts from; empty otherwise.
        trust_remote_code: Whether the user allowed the code that comes with the model.
    """

    name: str
    folder: Path
    tokenizer: PreTrainedTokenizerBase
    config: PretrainedConfig
    context_length: int | None
    bos_id: int | None
    pad_id: int
    pad_source: str
    stop_ids: tuple[int, ...]
    between: tuple[int, ...] = ()
    trust_remote_code: bool = False

    @property
    def reads_apart(self) -> bool:
        """Whether an encoder reads the prompt and a decoder writes the answer."""
        return bool(self.between)

    @property
    def has_chat_template(self) -> bool:
        """Whether the model has a format of its own for conversations."""
        return bool(self.tokenizer.chat_template)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all its files' content."""
        digest = hashlib.sha256()
        for path in sorted({path for pattern in BASE_FILES for path in self.folder.glob(pattern) if path.is_file()}):
            digest.update(f"{path.name} {file_digest(path)}\n".encode())
        return digest.hexdigest()

    def load_causal(
        self,
        quantization: Quantization | None = None,
        *,
        dtype: str = "auto",
        device: str = "cpu",
        spread: bool = False,
    ) -> PreTrainedModel:
        """Return the language model, frozen and in evaluation mode.

        Args:
            quantization: Bits of the linear layers; without it they are of ``dtype``.
            dtype: ``float32``, ``bfloat16``, ``float16``, or ``auto``: bfloat16 on a GPU, float32 on a CPU.
            device: Where the weights go.
            spread: Whether they may go to all GPUs if they do not fit on ``device``.

        Raises:
            ModelError: If the base is no language model, or its weights are damaged or incomplete.
        """
        from declarlm.backbones.loading import load

        return load(self, "causal", quantization, dtype, device, spread=spread)

    def load_encoder(
        self, quantization: Quantization | None = None, *, dtype: str = "auto", device: str = "cpu"
    ) -> PreTrainedModel:
        """Return the model without a head, frozen and in evaluation mode; arguments as in ``load_causal``.

        Raises:
            ModelError: If the weights are damaged or incomplete.
        """
        from declarlm.backbones.loading import load

        return load(self, "encoder", quantization, dtype, device)


def open_backbone(name: str, *, rope: RopeScaling | None = None, trust_remote_code: bool = False) -> Backbone:
    """Find and check a base, and open its tokenizer.

    Args:
        name: A folder, ``starter``, or a name on the Hugging Face Hub, with ``@revision`` to pin it.
        rope: How its context becomes longer.
        trust_remote_code: Whether Python code that comes with the model may run.

    Raises:
        ConfigError: If its context cannot become longer so.
        ModelError: If it cannot be found or is not a usable base.
        RefusedError: If its files are unsafe to open.
    """
    folder = find_folder(name, (*BASE_FILES, *CODE_FILES) if trust_remote_code else BASE_FILES)
    check_base(folder, trust_remote_code=trust_remote_code)
    import_libraries()
    config, tokenizer = _open(folder, trust_remote_code)
    pad_id, pad_source = _pad(tokenizer, config)
    context_length = _context_length(config, tokenizer)
    if rope is not None:
        scale_positions(config, rope, name)
        context_length = None if context_length is None else int(context_length * rope.factor)
    return Backbone(
        name=name,
        folder=folder,
        tokenizer=tokenizer,
        config=config,
        context_length=context_length,
        bos_id=_bos(tokenizer),
        pad_id=pad_id,
        pad_source=pad_source,
        stop_ids=_stops(tokenizer, config, folder),
        between=_between(tokenizer, config, folder) if writes_apart(config) else (),
        trust_remote_code=trust_remote_code,
    )


def _open(folder: Path, trust_remote_code: bool) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    from transformers import AutoConfig, AutoTokenizer

    known = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    try:
        config = AutoConfig.from_pretrained(folder, **known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be used: {reason(error)}") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, config=config, **known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(f"{folder} has no usable tokenizer: {reason(error)}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"{folder} has no tokenizer.json; save it once with transformers' fast tokenizer")
    return config, tokenizer


def _context_length(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int | None:
    text = config.get_text_config()
    length = first_length(lambda name: getattr(text, name, None))
    lengths = [] if length is None else [length]
    if lengths and text.model_type in _SHIFTED_POSITIONS:
        lengths[0] -= (text.pad_token_id or 0) + 1
    # Tokenizers without a limit say 1e30.
    if tokenizer.model_max_length < 1e9:
        lengths.append(tokenizer.model_max_length)
    return min(lengths, default=None)


def _bos(tokenizer: PreTrainedTokenizerBase) -> int | None:
    placed = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    return tokenizer.bos_token_id if placed else None


def _named(tokenizer: PreTrainedTokenizerBase, tokens: tuple[str, ...]) -> list[int]:
    """Return the ids of those tokens that the vocabulary holds as a whole."""
    found = ((token, tokenizer.convert_tokens_to_ids(token)) for token in tokens)
    return [id_ for token, id_ in found if id_ is not None and tokenizer.convert_ids_to_tokens(id_) == token]


def _stops(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, folder: Path) -> tuple[int, ...]:
    stops = [*_ids(tokenizer.eos_token_id), *_ids(_generation(folder).get("eos_token_id"))]
    stops += [*_ids(getattr(config, "eos_token_id", None)), *_named(tokenizer, _TURN_ENDS)]
    return tuple(dict.fromkeys(id_ for id_ in stops if 0 <= id_ < _vocabulary(config)))


def _generation(folder: Path) -> dict[str, Any]:
    path = folder / "generation_config.json"
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return found


def writes_apart(config: PretrainedConfig) -> bool:
    """Return whether a model of this architecture reads by an encoder and writes by a decoder."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

    is_known = config.model_type in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    return is_known and bool(getattr(config, "is_encoder_decoder", False))


def _between(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, folder: Path) -> tuple[int, ...]:
    """Return what stands between prompt and answer.

    A decoder starts from the token that the files name, or from the padding, as T5 does; then comes the one that they
    force, or that the tokenizer puts before every text, as BART's does.
    """
    generation = _generation(folder)

    def named(key: str) -> list[int]:
        return _ids(generation.get(key)) or _ids(getattr(config, key, None))

    end = [tokenizer.eos_token_id] if tokenizer("a").input_ids[-1:] == [tokenizer.eos_token_id] else []
    start = named("decoder_start_token_id") or [_pad(tokenizer, config)[0]]
    return (*end, BORDER, *start, *(named("forced_bos_token_id") or _ids(_bos(tokenizer))))


def _pad(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> tuple[int, str]:
    unknown = tokenizer.unk_token_id if tokenizer.unk_token_id != tokenizer.eos_token_id else None
    choices = [
        (tokenizer.pad_token_id, "the tokenizer's pad token"),
        *((id_, "the configured pad token") for id_ in _ids(getattr(config, "pad_token_id", None))),
        *((id_, "a pad token by name") for id_ in _named(tokenizer, _PADS)),
        (unknown, "the token for unknown text, as there is no pad token"),
        (tokenizer.eos_token_id, "the token that ends a document, as there is no pad token"),
        (0, "the first token, as there is no pad token"),
    ]
    for id_, source in choices:
        if id_ is not None and 0 <= id_ < _vocabulary(config):
            return id_, source
    raise AssertionError("the last choice is always possible")


def _vocabulary(config: PretrainedConfig) -> int:
    return int(getattr(config.get_text_config(), "vocab_size", sys.maxsize))  # models of characters have none


def _ids(value: int | list[int] | None) -> list[int]:
    return [] if value is None else value if isinstance(value, list) else [value]
