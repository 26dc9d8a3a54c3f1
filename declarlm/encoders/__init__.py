"""Encoders: from one feature's values to hidden vectors."""

from declarlm.encoders.base import Encoder, encoders

__all__ = ["Encoder", "encoders"]
