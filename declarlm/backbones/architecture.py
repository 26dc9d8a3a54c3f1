"""A base from scratch: its shape, its tokenizer, and random weights, as a folder like any other base."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from declarlm.backbones.backbone import Backbone, open_backbone
from declarlm.backbones.find import find_folder
from declarlm.backbones.libraries import import_libraries
from declarlm.backbones.trust import check_tokenizer
from declarlm.core import DataError, Problem, Section, param
from declarlm.core.files import atomic_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BOS, EOS, PAD = "<|begin|>", "<|end|>", "<|pad|>"
_SPECIAL = [BOS, EOS, PAD]
_ALPHABET = 256


class Tokenizer(Section):
    """Train a byte-level tokenizer on the texts: it encodes any text, and decoding gives the same text back.

    Source: Sennrich et al., 2016, https://arxiv.org/abs/1508.07909 (BPE); Radford et al., "GPT-2", 2019 (bytes).
    """

    type: Literal["bpe"] = param("Kind of tokenizer.", default="bpe")  # type: ignore[misc]
    vocab_size: int = param(
        "Most tokens in the vocabulary, with the bytes and the special ones.",
        default=4096,
        min=_ALPHABET + len(_SPECIAL),
        max=1_000_000,
    )
    path: str | None = param(
        "Folder or Hub name of a finished tokenizer to take as it is; null trains one.", default=None
    )


class Architecture(Section):
    """Shape of a language model that is trained from scratch."""

    type: Literal["llama", "mistral", "qwen3", "gpt_neox"] = param("Family of the model.", default="llama")  # type: ignore[misc]
    hidden_size: int = param("Width of a token's hidden vector.", default=256, min=2)
    num_layers: int = param("Number of blocks.", default=6, min=1, max=2000)
    num_heads: int = param("Number of attention heads in a block.", default=8, min=1)
    num_kv_heads: int | None = param("Number of heads for keys and values; null is num_heads.", default=None, min=1)
    intermediate_size: int | None = param(
        "Width of a block's feed-forward part; null is 8/3 of hidden_size, rounded up to a multiple of 32.",
        default=None,
        min=1,
    )
    context_length: int = param("Most tokens in a row.", default=1024, min=8)
    tokenizer: Tokenizer = param("How text becomes tokens.", default=Tokenizer())
    tie_embeddings: bool = param("Whether the output head shares the weights of the input embeddings.", default=True)

    def check(self) -> Iterable[Problem]:
        if self.hidden_size % (2 * self.num_heads):
            yield Problem(
                "hidden_size", f"must be a multiple of twice num_heads ({2 * self.num_heads}), got {self.hidden_size}"
            )
        if self.num_kv_heads is not None and self.num_heads % self.num_kv_heads:
            yield Problem("num_kv_heads", f"must divide num_heads ({self.num_heads}), got {self.num_kv_heads}")
        if self.type == "gpt_neox" and self.num_kv_heads not in (None, self.num_heads):
            yield Problem("num_kv_heads", "must be null for gpt_neox, whose heads all have their own keys and values")


def from_scratch(architecture: Architecture, texts: Iterable[str], seed: int, folder: Path) -> Backbone:
    """Make a base with random weights in ``folder``, the same one for the same arguments.

    Args:
        architecture: Shape and tokenizer.
        texts: What the tokenizer is trained on; not read if the architecture takes a finished one.
        seed: Seed of the weights.
        folder: Where the base is written, in Hugging Face's format.

    Raises:
        DataError: If there is no text to train the tokenizer on.
        ModelError: If the tokenizer to take cannot be found or used.
    """
    import_libraries()
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = _tokenizer(architecture, texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(_config(architecture, tokenizer), dtype=torch.float32)
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return open_backbone(str(folder))


def _config(architecture: Architecture, tokenizer: PreTrainedTokenizerBase) -> Any:
    from transformers import AutoConfig

    heads = architecture.num_heads
    return AutoConfig.for_model(
        architecture.type,
        vocab_size=len(tokenizer),
        hidden_size=architecture.hidden_size,
        num_hidden_layers=architecture.num_layers,
        num_attention_heads=heads,
        num_key_value_heads=architecture.num_kv_heads or heads,
        head_dim=architecture.hidden_size // heads,
        intermediate_size=architecture.intermediate_size or -(-architecture.hidden_size * 8 // 96) * 32,
        max_position_embeddings=architecture.context_length,
        tie_word_embeddings=architecture.tie_embeddings,
        sliding_window=None,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _tokenizer(architecture: Architecture, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    wanted = architecture.tokenizer
    if wanted.path is not None:
        folder = find_folder(wanted.path)
        check_tokenizer(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        tokenizer.model_max_length = architecture.context_length
        return tokenizer
    return PreTrainedTokenizerFast(
        tokenizer_object=_train(wanted.vocab_size, texts),
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=architecture.context_length,
        clean_up_tokenization_spaces=False,
    )


def _train(vocab_size: int, texts: Iterable[str]) -> Any:
    """Return a tokenizer of bytes and their most frequent joins; numbers are kept as digits."""
    from tokenizers import Tokenizer as Bpe
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Bpe(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() == _ALPHABET + len(_SPECIAL) < vocab_size:
        raise DataError("there is no text to train the tokenizer on; check the text column and preprocessing")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return tokenizer
