"""Encoder-decoders that take milliseconds: a T5 and a BART with random weights and tokenizers of their own."""

import json
from pathlib import Path
from typing import Any

from small_bases import TEXTS


def save_tiny_t5(folder: Path, *, context_length: int = 64, dropout: float = 0.0) -> str:
    """Make a T5 of two blocks on either side, with pieces of words as tokens, and return its path."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    pieces = Tokenizer(models.Unigram())
    pieces.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    known = {"special_tokens": ["<pad>", "</s>", "<unk>"], "unk_token": "<unk>"}
    letters = [chr(letter) for letter in range(33, 127) if chr(letter) not in "{}"]  # as T5 knows none of these two
    trainer = trainers.UnigramTrainer(vocab_size=160, show_progress=False, initial_alphabet=letters, **known)
    pieces.train_from_iterator([*TEXTS, "red brown dog pig fox cow"], trainer)
    vocabulary = [tuple(pair) for pair in json.loads(pieces.to_str())["model"]["vocab"]]
    vocabulary += [(f"<extra_id_{place}>", 0.0) for place in range(3)]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=3, model_max_length=context_length)
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": dropout}
    config = T5Config(vocab_size=len(tokenizer), n_positions=context_length, decoder_start_token_id=0, **shape)
    return _save(T5ForConditionalGeneration, config, tokenizer, folder)


def save_tiny_bart(folder: Path, *, context_length: int = 64, dropout: float = 0.0) -> str:
    """Make a BART of two blocks on either side, with joined bytes as tokens, and return its path."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    sides = {"layers": 2, "attention_heads": 4, "ffn_dim": 48}
    shape = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in sides.items()}
    config = BartConfig(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=32,
        max_position_embeddings=context_length,
        dropout=dropout,
        **shape,
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=context_length, **names)
    return _save(BartForConditionalGeneration, config, fast, folder)


BASES = {"t5": save_tiny_t5, "bart": save_tiny_bart}


def _save(kind: Any, config: Any, tokenizer: Any, folder: Path) -> str:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = kind(config)
        for name, weight in model.named_parameters():  # so that answers vary and end
            if weight.ndim > 1 and "relative" not in name:
                weight.data *= 3 if kind.__name__.startswith("Bart") else 1
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
