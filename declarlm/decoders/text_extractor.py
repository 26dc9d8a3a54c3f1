"""Decoder that takes a language model's answer as text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from declarlm.core import Problem, param
from declarlm.decoders.base import Extractor, decoders


@decoders.register("text_extractor")
class TextExtractor(Extractor):
    """Take the answer as it is, or the part of it that a pattern finds."""

    accepts = frozenset({"text"})

    class Config(Extractor.Config):
        strip: bool = param("Drop white space around the answer.", default=True)
        pattern: str | None = param(
            "Regular expression whose first group (or whole match) is the prediction; no match keeps the answer.",
            default=None,
        )

        def check(self) -> Iterable[Problem]:
            yield from check_pattern("pattern", self.pattern or "")

    def read(self, text: str) -> str:
        """Return the prediction in a generated answer."""
        if self.config.pattern is not None and (match := re.search(self.config.pattern, text, re.DOTALL)):
            text = match[1] or "" if match.re.groups else match[0]
        return text.strip() if self.config.strip else text


def check_pattern(path: str, pattern: str) -> Iterable[Problem]:
    """Yield what is wrong with a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        yield Problem(path, f"is not a regular expression: {error}")
