"""Decoders: heads for encoders, and how a language model's answer becomes a value."""

from declarlm.decoders.base import Decoder, Extractor, Head, decoders

__all__ = ["Decoder", "Extractor", "Head", "decoders"]
