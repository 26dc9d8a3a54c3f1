"""Decoder that finds JSON in a language model's answer."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from declarlm.core import param
from declarlm.decoders.base import Extractor, decoders

_OPENING = re.compile(r"[{\[]")


@decoders.register("json_extractor")
class JsonExtractor(Extractor):
    """Read the first JSON object or array of the answer, or only an answer that is one as a whole.

    Where it is constrained, no token is written that cannot lead to JSON that keeps the schema. What can still break it
    is an answer that its greatest length cuts.
    """

    accepts = frozenset({"json"})

    class Config(Extractor.Config):
        constrained: bool | Literal["auto"] = param(
            "Let only tokens be written that keep json_schema, or, without one, are JSON of the kind of the training "
            "cells; auto does so wherever all of the schema can be followed in the tokens of the base.",
            default="auto",
        )
        whole: bool = param("Take nothing from an answer that holds anything beside its JSON.", default=False)

    def read(self, text: str) -> Any:
        """Return the dict or list in a generated answer, None if there is none; NaN and Infinity are no JSON."""
        reader = json.JSONDecoder(parse_constant=_refused)
        for match in _OPENING.finditer(text):
            if self.config.whole and text[: match.start()].strip():
                return None
            try:
                value, end = reader.raw_decode(text, match.start())
            except (ValueError, RecursionError):
                if self.config.whole:
                    return None
                continue
            return None if self.config.whole and text[end:].strip() else value
        return None


def _refused(constant: str) -> None:
    raise ValueError(constant)
