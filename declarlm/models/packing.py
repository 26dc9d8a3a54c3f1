"""Raw texts as a language model trains on them: laid end to end, in pieces of one length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core.ragged import Ragged
from declarlm.data.token_store import cached_tokens
from declarlm.models.llm_rows import CHUNK_ROWS, LlmRows
from declarlm.prompts import ANSWER, EncodedRows, Prompt, PromptEncoder

if TYPE_CHECKING:
    import numpy as np

    from declarlm.backbones import Backbone


def packed(plain: PromptEncoder, texts: Sequence[str], size: int, key: str) -> LlmRows:
    """Return texts as pieces of ``size`` tokens, made once and then found by ``key``.

    Args:
        plain: What ``plain_encoder`` returns.
        texts: They are laid end to end, each closed by the stop token.
        size: Tokens of a piece; the last one may be shorter.
        key: Names all that the tokens depend on.
    """
    return LlmRows(cached_tokens(key, lambda: _pieces(plain, texts, size)))


def plain_encoder(backbone: Backbone, name: str, *, parsed: bool = False) -> PromptEncoder:
    """Return what makes the tokens of the raw text ``name``, which may spell special tokens, without a prompt."""
    return PromptEncoder(
        Prompt(chat=False),
        tokenizer=backbone.tokenizer,
        inputs=[name],
        outputs=[],
        context_length=None,
        stop_ids=backbone.stop_ids,
        bos_id=backbone.bos_id,
        columns=[name],
        parsed=[name] if parsed else [],
    )


def _pieces(plain: PromptEncoder, texts: Sequence[str], size: int) -> Iterator[EncodedRows]:
    """Yield the pieces of some texts at a time; what does not fill a piece opens the next one."""
    import numpy as np

    (name,), left = plain.columns, np.zeros(0, np.int32)
    for start in range(0, len(texts), CHUNK_ROWS):
        rows = plain.encode([{name: text} for text in texts[start : start + CHUNK_ROWS]], None).ids
        stream = np.concatenate([left, np.insert(rows.values, _open_ends(rows, plain), plain.stop_id)])
        end = len(stream) - len(stream) % size
        yield _supervised(stream[:end], size)
        left = stream[end:]
    if len(left) > 1:  # A piece of one token would predict nothing.
        yield _supervised(left, size)


def _open_ends(rows: Ragged, plain: PromptEncoder) -> np.ndarray[Any, Any]:
    """Return where texts end that do not spell the stop token there themselves."""
    ends: np.ndarray[Any, Any] = rows.offsets[1:]
    if not plain.parsed or not len(rows.values):
        return ends
    open_ends: np.ndarray[Any, Any] = ends[(rows.lengths == 0) | (rows.values[ends - 1] != plain.stop_id)]
    return open_ends


def _supervised(stream: np.ndarray[Any, Any], size: int) -> EncodedRows:
    """Return tokens in rows of ``size``, all to be learned."""
    import numpy as np

    offsets = np.append(np.arange(0, len(stream), size), len(stream))
    roles, fields = np.full(len(stream), ANSWER, np.uint8), np.full(len(stream), -1, np.int8)
    uncut = np.zeros(len(offsets) - 1, np.int64)
    ids, roles_, fields_ = (Ragged(values, offsets) for values in (stream, roles, fields))
    return EncodedRows(ids, roles_, fields_, num_cut=uncut, num_left_out=uncut, dropped=uncut.astype(bool))
