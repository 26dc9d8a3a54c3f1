"""An encoder-decoder language model as objectives and predictions see it.

A row is what the encoder reads, ``BORDER``, and what the decoder writes, whose first token is the one that it starts
from. So rows, labels and answers are handled as those of a decoder; only this file divides them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from declarlm.core.ragged import BORDER, Ragged
from declarlm.layers.causal_batch import CausalBatch
from declarlm.layers.causal_head import CausalHead, adds_tokens
from declarlm.layers.causal_model import CausalModel
from declarlm.layers.embedding_noise import lengths_of


class Memory:
    """What a decoder needs of earlier tokens: the encoder's states, and keys and values.

    Args:
        states: What the encoder made of each row, ``(rows, length, width)``, virtual tokens included.
        mask: Which of these tokens are real, ``(rows, length)``.
    """

    def __init__(self, states: Tensor, mask: Tensor) -> None:
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.states, self.mask = states, mask

    def reorder_cache(self, rows: Tensor) -> None:
        """Keep the given rows, in the given order."""
        self.cache.reorder_cache(rows)
        self.states, self.mask = self.states[rows], self.mask[rows]


class Seq2SeqHead(CausalHead):
    """The head of an encoder-decoder, which is fed as that of a decoder is: ``input_ids`` are what is written."""

    def encode(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder's states, ``(rows, length, width)``, and which of them are real, ``(rows, length)``.

        An adapter's virtual tokens are the first of them. Its wrapper alone knows them and has no way to run the
        encoder by itself, so that the decoder reads one token for it.
        """
        if not adds_tokens(self._module):
            states: Tensor = self._causal.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
            return states, mask
        known = {"decoder_input_ids": torch.zeros_like(ids[:, :1]), "use_cache": False}
        states = self._module(input_ids=ids, attention_mask=mask, **known).encoder_last_hidden_state
        return states, functional.pad(mask, (states.shape[1] - mask.shape[1], 0), value=1)

    def _run(self, arguments: dict[str, Any]) -> None:
        # What is encoded has its virtual tokens: the wrapper would add them once more.
        is_encoded = "encoder_outputs" in arguments and adds_tokens(self._module)
        (self._causal if is_encoded else self._module)(**arguments)

    def _arguments(self, inputs: dict[str, Any]) -> dict[str, Any]:
        given = {"decoder_input_ids": inputs["input_ids"], "use_cache": inputs["use_cache"]}
        if "attention_mask" in inputs:
            given["decoder_attention_mask"] = inputs["attention_mask"]
        memory = inputs.get("past_key_values")
        if memory is not None:
            states, mask = memory.states, memory.mask
            given["past_key_values"] = memory.cache
        elif inputs.get("owners") is not None:
            states, mask = (part[inputs["owners"]] for part in self.encode(inputs["read_ids"], inputs["read_mask"]))
        else:
            read = inputs.get("read_ids", inputs["input_ids"])
            return {**given, "input_ids": read, "attention_mask": inputs.get("read_mask", torch.ones_like(read))}
        return {**given, "encoder_outputs": BaseModelOutput(last_hidden_state=states), "attention_mask": mask}


class Seq2SeqModel(CausalModel):
    """Wraps a Hugging Face encoder-decoder, or an adapter's wrapper around one.

    Rows are padded: neither packing nor branches are possible, as the position of a token is where it stands.
    """

    reads_apart: ClassVar[bool] = True
    head: Seq2SeqHead

    def __init__(self, backbone: nn.Module, noise_alpha: float | None = None) -> None:
        super().__init__(backbone, noise_alpha)
        self.adds_tokens = False  # The encoder reads an adapter's virtual tokens; the decoder is as without them.
        self.takes_positions = False
        self.runs_alike = True

    def _make_head(self, backbone: nn.Module) -> Seq2SeqHead:
        return Seq2SeqHead(backbone)

    def can_pack(self, longest: int) -> bool:
        """Return that rows cannot be laid end to end."""
        return False

    def can_branch(self, longest: int) -> bool:
        """Return that continuations of one row are computed apart."""
        return False

    def begun(self, rows: Ragged) -> Ragged:
        """Return what the decoder has of each row, the token that it starts from included."""
        return Ragged.from_rows(divide(row)[1] for row in rows)

    def new_cache(self, rows: Sequence[Any] = ()) -> Memory:
        """Let the encoder read rows, and return what the decoder continues from."""
        ids, mask = self._padded([divide(np.asarray(row))[0] for row in rows])
        return Memory(*self.head.encode(ids, mask))

    def generation_inputs(self, rows: Sequence[Sequence[int]]) -> tuple[dict[str, Tensor], int]:
        """Return rows as transformers' own loop takes them, and the width of what is continued."""
        parts = [divide(np.asarray(row)) for row in rows]
        ids, mask = self._padded([read for read, _ in parts])
        begun = torch.from_numpy(np.stack([written for _, written in parts]).astype(np.int64)).to(self.device)
        return {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": begun}, begun.shape[1]

    def make_batch(
        self, ids: Ragged, supervised: Ragged, fields: Ragged | None, *, packed: bool, shared: int = 0
    ) -> CausalBatch:
        """Lay rows out, padded on the right; outside training, rows that read the same are read once."""
        parts = [divide(row) for row in ids]
        read, owners = [part for part, _ in parts], None
        if not self.training:
            known: dict[bytes, int] = {}
            owners = [known.setdefault(part.tobytes(), len(known)) for part in read]
            read = [read[owners.index(place)] for place in range(len(known))]
        read_ids, read_mask = self._padded(read)
        # Of what is written, the last token is predicted and never read.
        written, _ = self._padded([part[:-1] for _, part in parts])
        positions = np.concatenate(
            [np.arange(-len(part), len(row) - len(part)) for (part, _), row in zip(parts, ids, strict=True)]
        )
        positions -= 1  # the border; what is written counts from 0
        rows = np.repeat(np.arange(len(ids)), ids.lengths)
        chosen = (supervised.values != 0) & (positions > 0)

        def tensor(values: Any) -> Tensor:
            return torch.from_numpy(np.asarray(values, dtype=np.int64)).to(self.device)

        inputs: dict[str, Any] = {"input_ids": written, "read_ids": read_ids, "read_mask": read_mask}
        inputs |= {"owners": None if owners is None else tensor(owners), "use_cache": False}
        return CausalBatch(
            inputs=inputs,
            head=None,
            index=tensor(rows[chosen] * written.shape[1] + positions[chosen] - 1),
            targets=tensor(ids.values[chosen]),
            rows=tensor(rows[chosen]),
            fields=tensor(np.full(int(chosen.sum()), -1) if fields is None else fields.values[chosen]),
            num_rows=len(ids),
            lengths=lengths_of(read_mask),
        )

    def _padded(self, rows: Sequence[np.ndarray[Any, Any]]) -> tuple[Tensor, Tensor]:
        """Return rows and where they are real, ``int64 (rows, length)`` each; what stands elsewhere is never seen."""
        lengths = np.array([len(row) for row in rows])
        real = np.arange(max(1, lengths.max(initial=0))) < lengths[:, None]
        ids = np.zeros(real.shape, dtype=np.int64)
        ids[real] = np.concatenate(rows)
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(real.astype(np.int64)).to(self.device)


def divide(row: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return what stands before the border of a row, and what behind it; an empty row has neither."""
    if not len(row):
        return row, row
    (border,) = np.flatnonzero(row == BORDER)
    return row[:border], row[border + 1 :]
