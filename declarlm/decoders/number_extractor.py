"""Decoder that finds the number in a language model's answer."""

from __future__ import annotations

import re

from declarlm.decoders.base import Extractor, decoders
from declarlm.decoders.clip import ClipConfig

_NUMBER = re.compile(r"(?:(?<!\w)[-+])?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")


@decoders.register("number_extractor")
class NumberExtractor(Extractor):
    """Read the first number of the answer, in decimal or scientific notation; ``1,200`` is 1200."""

    accepts = frozenset({"number"})

    class Config(Extractor.Config, ClipConfig):
        pass

    def read(self, text: str) -> float | None:
        """Return the number in a generated answer, None if there is none."""
        match = _NUMBER.search(text)
        return float(match[0].replace(",", "")) if match else None
