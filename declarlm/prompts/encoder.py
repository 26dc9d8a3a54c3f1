"""Rows of a table to token ids with roles: what is read, what is answered, where it stops."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from declarlm.core import DataError, ModelError
from declarlm.prompts.answers import Answers
from declarlm.prompts.chat import Frame, chat_frame, find_stop
from declarlm.prompts.examples import BETWEEN, CONTEXT, Examples
from declarlm.prompts.fitting import Fitted, Fitting
from declarlm.prompts.prompt import Prompt, compile_prompt
from declarlm.prompts.rows import (
    EncodedRows,
    Span,
    concatenated,
    encoded_rows,
    refuse_empty,
    refuse_surrogates,
)
from declarlm.prompts.segments import Segment, cell_text
from declarlm.prompts.tokenization import Place, Tokenization

_VERSION = 1  # Raise it when the same prompt and row give other tokens than before.
_BLOCK_ROWS = 1000


class PromptEncoder:
    """Makes the tokens of rows, the same way for training, evaluation, prediction and serving.

    Args:
        prompt: The section.
        tokenizer: A Hugging Face tokenizer.
        inputs: Names of the input features.
        outputs: Names of the output features.
        context_length: Most tokens that a row may have; ``None`` for no limit.
        stop_ids: Tokens at which the model stops.
        bos_id: Token that every row starts with, ``None`` for none; a chat template brings its own.
        columns: Columns of the table, ``None`` if they are not known.
        text_outputs: The outputs that are free text, which need no cue.
        parsed: The inputs whose cells may spell special tokens.
        apart: Whether an encoder reads the prompt, so that an answer is a text of its own, and each may have
            ``context_length`` tokens.

    Attributes:
        columns: Names that the templates read: features, or other columns.
        literals: Tokens forced before each output.
        stop_id: The token that ends every answer.
        stop_ids: All tokens at which generation stops.
        parsed: The inputs whose cells may spell special tokens.

    Raises:
        ConfigError: If the templates do not fit the columns.
        ModelError: If the tokenizer or its chat template cannot be used.
    """

    _must_stay = "template"

    def __init__(
        self,
        prompt: Prompt,
        *,
        tokenizer: Any,
        inputs: Sequence[str],
        outputs: Sequence[str],
        context_length: int | None,
        stop_ids: Collection[int],
        bos_id: int | None,
        columns: Collection[str] | None,
        text_outputs: Collection[str] = (),
        parsed: Collection[str] = (),
        apart: bool = False,
    ) -> None:
        compiled = compile_prompt(prompt, inputs, outputs, text_outputs, columns)
        self._prompt, self._template, self._system = prompt, compiled.template, compiled.system
        self._example = compiled.example
        self._inputs, self._outputs, self._text_outputs = list(inputs), list(outputs), sorted(text_outputs)
        self.columns = compiled.columns
        self.context_length = context_length
        self._tokenizer = tokenizer
        self._tokenization = Tokenization(tokenizer)
        self._frame = self._make_frame()
        self._given: dict[str, Any] = {
            "context_length": context_length,
            "stop_ids": sorted(stop_ids),
            "bos_id": bos_id,
        } | {key: value for key, value in {"apart": apart, "parsed": sorted(parsed)}.items() if value}
        self._apart, self.parsed = apart, frozenset(parsed)
        self._syntaxes = compiled.syntaxes
        self._bos = [bos_id] if bos_id is not None and self._frame is None else []
        self.stop_id = find_stop(self._frame, self._tokenization, tokenizer.eos_token_id, stop_ids)
        self.stop_ids = tuple(sorted({*stop_ids, self.stop_id}))
        lead, place = self._border()
        self._answers = Answers(compiled.answer, lead, place, self.stop_id, self._tokenization)
        self.literals = self._answers.literals

    def encode(
        self,
        cells: Sequence[Mapping[str, Any]],
        answers: Sequence[Sequence[str]] | None,
        *,
        row_labels: Sequence[object] | None = None,
        overlong: Literal["cut", "error", "drop"] = "cut",
        reserve: int = 0,
        least: int | None = None,
    ) -> EncodedRows:
        """Return the tokens of rows.

        Args:
            cells: For each row, the cells of at least ``columns``, and its examples as ``CONTEXT`` with retrieval.
            answers: For each row, the text of each output, in the order of ``outputs``; ``None`` to predict.
            row_labels: Names of the rows in errors.
            overlong: Rows that are too long lose examples, then text of their cells; one that still does not fit is
                an error, or is dropped ("drop"). "error" refuses every row that is too long without examples.
            reserve: Tokens to leave free for an answer that is to be predicted, in a prompt that must be cut.
            least: Tokens for an answer that a prompt leaves free if it is not cut; by default also ``reserve``.

        Raises:
            DataError: If a column is missing, a cell cannot be written, a prompt is empty, or a row does not fit.
        """
        labels = range(len(cells)) if row_labels is None else row_labels
        blocks = []
        # Many small objects at a time make Python's garbage collector walk all of torch and transformers.
        for start in range(0, max(1, len(cells)), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            block_answers = None if answers is None else answers[block]
            room = (reserve, reserve if least is None else least)
            blocks.append(self._fitted(cells[block], block_answers, labels[block], overlong, room)[1])
        return concatenated(blocks)

    def example(self, cells: Mapping[str, Any], answers: Sequence[str], label: object) -> str:
        """Return a row with its answers as an example that other prompts show; needs ``prompt.retrieval``."""
        if self._example is None:
            raise TypeError("the prompt shows no examples")
        shown = {**cells, **dict(zip(self._outputs, answers, strict=True))}
        return "".join(segment.text for segment in self._example.render(shown, label))

    def examples(self, parts: Sequence[str]) -> Examples:
        """Return examples as a cell of the prompt, the least alike first."""
        return Examples(parts, BETWEEN if self._prompt.template is None else "")

    def answer_ids(self, field: str, text: str, *, last: bool) -> list[int]:
        """Return the tokens that training rows have where the output named ``field`` is ``text``.

        With ``last``, also what follows at the end of the answer: closing text, if there is any, and the stop token.
        """
        return self._answers.ids_of(self._outputs.index(field), text, last=last)

    def decode(self, ids: Sequence[int], field: str | None = None) -> str:
        """Return the text that was answered for an output (default: the first), up to the first stop token."""
        ids = [int(token) for token in ids]
        end = next((index for index, token in enumerate(ids) if token in self.stop_ids), len(ids))
        return self._answers.text_of(ids[:end], 0 if field is None else self._outputs.index(field))

    def preview(
        self, cells: Sequence[Mapping[str, Any]], answers: Sequence[Sequence[str]] | None = None, *, reserve: int = 0
    ) -> list[list[Span]]:
        """Return rows as they will be tokenized, cut if they are too long, in stretches of one role each."""
        prompts, _ = self._fitted(cells, answers, range(len(cells)), "cut", (reserve, reserve))
        stop = Span(self._tokenizer.decode([self.stop_id]), "stop")
        previews = []
        for index, segments in enumerate(prompts):
            spans = [self._span(segment) for segment in segments if segment.text]
            if self._bos and not (segments and [segments[0].token] == self._bos):
                spans.insert(0, Span(self._tokenizer.decode(self._bos), "special"))
            if answers is not None:
                stretches = self._answers.stretches(answers[index])
                spans += [Span(text, "answer", None if k is None else self._outputs[k]) for text, k in stretches]
                spans.append(stop)
            previews.append(spans)
        return previews

    def dump(self) -> dict[str, Any]:
        """Return what must be saved with the model to make the same tokens again, as JSON data."""
        return {
            "prompt": self._prompt.dump(),
            "inputs": self._inputs,
            "outputs": self._outputs,
            "text_outputs": self._text_outputs,
            "syntaxes": self._syntaxes,
            **self._given,
            "fingerprint": self.fingerprint(),
        }

    def fingerprint(self) -> str:
        """Return a hash of everything that decides which tokens a row gets."""
        frame = None if self._frame is None else repr(self._frame)
        parts = [_VERSION, self._prompt.dump(), self._inputs, self._outputs, self._text_outputs]
        parts += [self._syntaxes, self._given, frame, self.stop_id, self._tokenization.state]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _chat_template(self) -> str | None:
        """Return the template that prompts go through, None for none."""
        has_template = bool(getattr(self._tokenizer, "chat_template", None))
        if self._prompt.chat is True and not has_template:
            raise ModelError("prompt.chat is true, and the tokenizer has no chat template; set prompt.chat: auto")
        used = has_template and self._prompt.chat is not False
        return str(self._tokenizer.get_chat_template()) if used else None

    def _make_frame(self) -> Frame | None:
        template, roles = self._chat_template(), ["system"] * (self._system is not None) + ["user"]
        return None if template is None else chat_frame(self._tokenizer, template, roles)

    def _border(self) -> tuple[str, Place]:
        """Return the white space between prompt and answer, and where the answer stands.

        Both are the same for all rows, so that a label has the same tokens in each.
        """
        if self._apart:
            return "", Place.START
        ending = self._template.ending if self._frame is None else self._frame.ending
        placed = [part for part in self._tokenization.place([Segment(ending)]) if part.text]
        after_token = bool(placed) and placed[-1].token is not None
        place = Place.AFTER_TOKEN if after_token else Place.INSIDE
        if self._frame is not None:
            return self._frame.lead, place
        return "" if after_token or ending[-1:].isspace() else " ", place

    def _segments(self, cells: Mapping[str, Any], label: object) -> list[Segment]:
        """Return the prompt of a row, special tokens placed."""
        user = self._template.render(cells, label)
        system = self._system.render(cells, label) if self._system is not None else []
        if self._frame is not None:
            segments = self._frame.fill([user] if self._system is None else [system, user])
        else:
            segments = [*system, Segment("\n\n"), *user] if system else user
        return self._tokenization.place(segments, self.parsed)

    def _encode_prompts(self, prompts: Sequence[Sequence[Segment]]) -> list[list[int]]:
        return list(map(self._begun, self._tokenization.encode(prompts)))

    def _begun(self, ids: list[int]) -> list[int]:
        """Return the tokens of a prompt behind the one that every row starts with."""
        return ids if ids[:1] == self._bos else self._bos + ids

    def _fitted(
        self,
        cells: Sequence[Mapping[str, Any]],
        answers: Sequence[Sequence[str]] | None,
        labels: Sequence[object],
        overlong: str,
        room: tuple[int, int],
    ) -> tuple[list[list[Segment]], EncodedRows]:
        """Return the prompts as they fit, and the encoded rows; ``room`` is ``reserve`` and ``least``."""
        tails = self.tails(answers, labels) if answers is not None else [([], b"")] * len(cells)
        rooms = [self._free(len(tail), room) for tail, _ in tails]
        fitted = self._fit(cells, labels, overlong, rooms)
        tails = [([], b"") if gone else tail for tail, gone in zip(tails, fitted.dropped.tolist(), strict=True)]
        return fitted.prompts, encoded_rows(fitted.ids, tails, fitted.num_cut, fitted.num_left_out, fitted.dropped)

    def _free(self, length: int, room: tuple[int, int]) -> tuple[int, int]:
        """Return the tokens that a prompt leaves free for an answer of ``length`` tokens, or for an unknown one."""
        if self._apart:  # unless no prompt could make the answer fit
            taken = length if length > (self.context_length or length) else 0
            return taken, taken
        return length or room[0], length or room[1]

    def tails(self, answers: Sequence[Sequence[str]], labels: Sequence[object]) -> list[tuple[list[int], bytes]]:
        """Return for each row the tokens of its answer with the stop token, and the output of each (255 for none).

        Raises:
            DataError: If a text is none, with the row's label.
        """
        try:
            return self._answers.encode(answers)
        except TypeError:
            for row, label in zip(answers, labels, strict=True):
                refuse_surrogates(dict(zip(self._outputs, row, strict=True)), label)
            raise

    def fit(
        self,
        cells: Sequence[Mapping[str, Any]],
        labels: Sequence[object],
        overlong: str,
        free: Sequence[tuple[int, int]],
    ) -> Fitted:
        """Return prompts that leave as many tokens free: each one that must be cut, and one that is not.

        Raises:
            DataError: As ``encode``.
        """
        return self._fit(cells, labels, overlong, free)

    def _fit(
        self,
        cells: Sequence[Mapping[str, Any]],
        labels: Sequence[object],
        overlong: str,
        free: Sequence[tuple[int, int]],
    ) -> Fitted:
        self._check_columns(cells)
        prompts = [self._segments(row, label) for row, label in zip(cells, labels, strict=True)]
        fitting = Fitting(
            self.context_length,
            self._answered(),
            self._must_stay,
            self._shrinks(overlong),
            self._tokenization,
            self._segments,
            self._encode_prompts,
        )
        try:
            fitted = fitting.fit(prompts, cells, labels, overlong, free)
        except TypeError:
            for row, label in zip(cells, labels, strict=True):
                refuse_surrogates({name: cell_text(row[name]) for name in self.columns}, label)
            raise
        if self._outputs:  # raw text needs no prompt
            refuse_empty(fitted.ids, fitted.dropped, labels)
        return fitted

    def _answered(self) -> list[str]:
        """Return where answers come from, for errors."""
        return self._outputs

    def _shrinks(self, overlong: str) -> str | None:
        """Return the cell that loses parts where a prompt is too long."""
        return CONTEXT if self._example is not None else None

    def _span(self, segment: Segment) -> Span:
        if segment.token is not None:
            return Span(segment.text, "stop" if segment.learned else "special")
        return Span(segment.text, "template" if segment.column is None else "cell", segment.column)

    def _check_columns(self, cells: Sequence[Mapping[str, Any]]) -> None:
        for name in self.columns:
            if cells and name not in cells[0]:
                raise DataError(f"the prompt names it, and the table has only {', '.join(cells[0])}", column=name)
