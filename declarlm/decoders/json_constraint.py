"""Answers that must be JSON and keep a schema: which tokens may come next."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from declarlm.core import ModelError

if TYPE_CHECKING:
    import numpy as np
    from llguidance import LLMatcher, LLTokenizer

ANY_JSON: Mapping[str, Any] = {"anyOf": [{"type": "object"}, {"type": "array"}]}
_SPELLING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}  # as json.dumps writes
_REASON = re.compile(r"^.*?JSON schema: (.*?)( \d+ \| .*)?$")
_SPACE = "\u2581"
_REMEDY = "write constrained: auto, or choose another base model"
_NO_FAST_TOKENIZER = "its tokenizer has no tokenizer.json, which says what each token stands for"

# Reading a vocabulary of 150,000 tokens takes a second.
_vocabularies: WeakKeyDictionary[Any, LLTokenizer] = WeakKeyDictionary()


def unsupported(schema: Mapping[str, Any]) -> str | None:
    """Return what of a JSON Schema tokens cannot be held to, None if they can be held to all of it."""
    from llguidance import LLMatcher

    is_error, messages = LLMatcher.validate_grammar_with_warnings(_grammar(schema))
    # The message ends with the grammar itself.
    return _REASON.sub(r"\1", " ".join(messages[0].split())) if is_error else None


def _grammar(schema: Mapping[str, Any]) -> str:
    """Return the language of the values that keep a schema, with a space before if the tokens have one."""
    from llguidance import LLMatcher

    kind = {"type": "object"} if "properties" in schema else {}
    return LLMatcher.grammar_from_lark(f'start: " "? %json {json.dumps({**kind, **schema, "x-guidance": _SPELLING})}')


class JsonConstraint:
    """Allows what can still become JSON that keeps a schema, then a stop token. A state is a parser.

    Source: llguidance, https://github.com/guidance-ai/llguidance.
    """

    def __init__(self, vocabulary: LLTokenizer, schema: Mapping[str, Any], stop_ids: Collection[int]) -> None:
        from llguidance import LLMatcher

        # Every row starts from a copy: to read a schema takes a thousand times as long.
        self._first = LLMatcher(vocabulary, _grammar(schema), log_level=0)
        self._vocabulary, self._stop_ids = vocabulary, sorted(stop_ids)
        self._size = max([vocabulary.vocab_size, *(token + 1 for token in stop_ids)])

    def start(self) -> LLMatcher:
        return self._first.deep_copy()

    def can_begin(self) -> bool:
        """Return whether some token leads to a second one; there may be one for a space, and none for a bracket."""
        import numpy as np

        first = np.flatnonzero(self._following(self.start())).tolist()
        return any(self._following(self.follow(self.start(), token)).any() for token in first)

    def follow(self, state: LLMatcher, token: int) -> LLMatcher:
        state.consume_token(token)
        return state

    def allowed(self, state: LLMatcher, remaining: int) -> np.ndarray[Any, Any]:
        found = self._following(state)
        if state.is_accepting() or not found.any():
            found[self._stop_ids] = True
        return found

    def _following(self, state: LLMatcher) -> np.ndarray[Any, Any]:
        """Return which tokens may come next beside those that end the answer, bool ``(vocab,)``."""
        import numpy as np

        bits = np.frombuffer(state.compute_bitmask(), dtype=np.uint8)
        found: np.ndarray[Any, Any] = np.zeros(self._size, dtype=bool)
        found[: self._vocabulary.vocab_size] = np.unpackbits(bits, bitorder="little")[: self._vocabulary.vocab_size]
        found[self._vocabulary.eos_tokens] = False  # the answer may end by others
        return found


def json_constraint(tokenizer: Any, schema: Mapping[str, Any], stop_ids: Collection[int]) -> JsonConstraint:
    """Return the constraint under which JSON that keeps a schema is written in the tokens of ``tokenizer``.

    Raises:
        ModelError: If the tokens cannot write it, or it cannot be told what they stand for.
    """
    if tokenizer not in _vocabularies:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(f"the base model cannot be held to JSON: {_NO_FAST_TOKENIZER}; {_REMEDY}")
        _vocabularies[tokenizer] = _read(tokenizer, stop_ids)
    constraint = JsonConstraint(_vocabularies[tokenizer], schema, stop_ids)
    if not constraint.can_begin():
        raise ModelError(f"the base model cannot be held to JSON: its tokenizer has no token for {{ or [; {_REMEDY}")
    return constraint


def _read(tokenizer: Any, stop_ids: Collection[int]) -> LLTokenizer:
    """Return what each token of a tokenizer stands for."""
    from llguidance import LLTokenizer, TokenizerWrapper
    from llguidance.hf import from_tokenizer

    eos = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else min(stop_ids, default=0)
    try:
        return from_tokenizer(tokenizer, n_vocab=len(tokenizer), eos_token=eos)
    except ValueError:  # it knows tokens of bytes, and those that spell bytes they have no token for
        return LLTokenizer(TokenizerWrapper(_Pieces(tokenizer, eos)), n_vocab=len(tokenizer))


class _Pieces:
    """A tokenizer of pieces of text, in which a sign stands for each space."""

    def __init__(self, tokenizer: Any, eos: int) -> None:
        from tokenizers import Tokenizer

        # What is asked for goes on after other tokens: no space stands before it.
        described = tokenizer.backend_tokenizer.to_str().replace(
            '"prepend_scheme":"always"', '"prepend_scheme":"never"'
        )
        self._tokens = Tokenizer.from_str(described.replace('"prepend_scheme":"first"', '"prepend_scheme":"never"'))
        self.eos_token_id, self.bos_token_id = eos, None
        self.special_token_ids = sorted({*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder})
        pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        self.tokens = [(piece or "").replace(_SPACE, " ").encode() for piece in pieces]

    def __call__(self, text: str) -> list[int]:
        ids: list[int] = self._tokens.encode(text, add_special_tokens=False).ids
        return ids
