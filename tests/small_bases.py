"""Bases that take milliseconds: a Llama and a BERT with random weights and tokenizers of their own."""

from pathlib import Path

TEXTS = ["the good food was not bad", "a very bad film", "the cat sat on the red mat", "white wine and red wine"] * 3
WORDS = sorted({word for text in TEXTS for word in text.split()})


def save_tiny_llama(folder: Path, *, context_length: int = 64) -> str:
    """Make a byte-level language model of two blocks in ``folder`` and return its path."""
    from declarlm.backbones import Architecture, from_scratch
    from declarlm.backbones.architecture import Tokenizer

    shape = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "intermediate_size": 64}
    architecture = Architecture(context_length=context_length, tokenizer=Tokenizer(vocab_size=300), **shape)
    from_scratch(architecture, TEXTS, 7, folder)
    return str(folder)


def save_tiny_bert(folder: Path, *, dropout: float = 0.1) -> str:
    """Make an encoder of two blocks, with a pooler, in ``folder`` and return its path."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [("[CLS]", words["[CLS]"]), ("[SEP]", words["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **names).save_pretrained(folder)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    shape |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **shape)).save_pretrained(folder)
    return str(folder)
