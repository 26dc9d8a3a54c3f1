"""A language model on a table, before its weights: rows become prompts and answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from declarlm.adapters.base import Adapter
from declarlm.backbones import (
    Architecture,
    Backbone,
    Glance,
    ModelParameters,
    Quantization,
    from_scratch,
    glance_at,
    open_backbone,
)
from declarlm.core import ConfigError, DataError, ModelError, Problem, named_at
from declarlm.data.fingerprint import fingerprint
from declarlm.data.retrieval import ExampleIndex
from declarlm.data.tables import require_columns
from declarlm.data.token_store import cached_tokens
from declarlm.features.base import InputFeature, OutputFeature
from declarlm.features.cells import as_texts
from declarlm.models.base import Model, part
from declarlm.models.few_shot import index_rows, left_out, queries
from declarlm.models.llm_cells import answers_of, most_tokens, parses, rendered, unseen_tokens
from declarlm.models.llm_rows import (
    CHUNK_ROWS,
    LlmRows,
    check_separators,
    with_border,
    without_dropped,
)
from declarlm.models.packing import packed, plain_encoder
from declarlm.prompts import EncodedRows, Prompt, PromptEncoder
from declarlm.prompts.conversation import ConversationEncoder
from declarlm.prompts.examples import CONTEXT
from declarlm.prompts.prompt import compile_prompt
from declarlm.prompts.segments import Neutral

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.core.ragged import Ragged

WEIGHTS = "weights"  # folder of weights that are a model's own
GOLDEN_ROWS = 2  # rows that a loaded model must score as the saved one did
ROWS_VERSION = 5  # Raise it when the same table becomes other rows than before.


@dataclass(frozen=True)
class LlmSections:
    """The sections of a config that describe a language model.

    Attributes:
        is_chat: Whether the one input is a conversation, and the one output is what is said next.
        joined_for: The objective that needs prompt and answer as one text, None if none does.
        dtype: Type of the base's frozen weights, as torch calls it, or auto.
        spread: Whether its layers may lie on several devices.
    """

    inputs: Sequence[InputFeature.Config]
    outputs: Sequence[OutputFeature.Config]
    prompt: Prompt
    is_chat: bool = False
    base_model: str | None = None
    architecture: Architecture | None = None
    adapter: Adapter.Config | None = None
    quantization: Quantization | None = None
    max_length: int | None = None
    overlong: Literal["cut", "error", "drop"] = "cut"
    cuts_answers: bool = False
    joined_for: str | None = None
    parameters: ModelParameters = field(default_factory=ModelParameters)
    dtype: str = "auto"
    spread: bool = False

    def open(self, name: str) -> Backbone:
        """Find and check a base, and open its tokenizer; errors as of ``open_backbone``."""
        with named_at("base_model"):
            return open_backbone(name, rope=self.parameters.rope_scaling)


class Prompted(Model):
    """The reading half of a language model: it turns a row into a prompt and the outputs into an answer.

    Attributes:
        sections: What the config says.
        backbone: Tokenizer and shape of the base model.
        encoder: The one place where this model's tokens are made.
        answer_lengths: Tokens of the longest answer of each output in training.
        reserve: Tokens that a prompt which must be cut leaves free for all that is answered.
        least: Tokens that a prompt leaves free which is not cut.
        index: The training rows that prompts show as examples; None without ``prompt.retrieval``.
    """

    backbone: Backbone
    encoder: PromptEncoder
    _columns: list[str]

    def __init__(self, sections: LlmSections) -> None:
        self.sections = sections
        self.inputs = [config.build() for config in sections.inputs]
        self.outputs = [config.build() for config in sections.outputs]
        self.answer_lengths: dict[str, int] = {}
        self.reserve = self.least = 0
        self.index: ExampleIndex | None = None
        self._golden: list[list[int]] = []

    def columns_read(self, table: pd.DataFrame) -> list[str]:
        columns = list(map(str, table.columns))
        compiled = compile_prompt(
            self.sections.prompt,
            [feature.name for feature in self.inputs],
            [feature.name for feature in self.outputs],
            [feature.name for feature in self.outputs if feature.is_free],
            columns,
        )
        sources = {feature.name: feature.config.source for feature in self.inputs}
        return [sources.get(name, name) for name in compiled.columns]

    def check_rows(self, table: pd.DataFrame) -> None:
        if self.outputs and len(table) and not self.sections.cuts_answers:
            self.encode(table)  # kept, so that it is no work done twice

    def fit_features(self, train: pd.DataFrame) -> None:
        for output in self.outputs:
            output.fit(train[output.config.source])
        for feature in self.inputs:
            if feature.config.source in train.columns:
                feature.fit(train[feature.config.source])

    def learn(self, train: pd.DataFrame, *held_out: pd.DataFrame) -> None:
        name = self.sections.base_model
        with named_at("base_model"):
            base = glance_at(name, self.sections.parameters.rope_scaling) if name is not None else None
        if base is not None and base.reads_apart:
            self._check_joined(str(name))
        super().learn(train, *held_out)
        whole = not self.sections.cuts_answers or self.sections.overlong == "error"
        if base is not None and whole:
            for table in (train, *held_out):
                self._check_answers(table, base)

    def _check_joined(self, base: str) -> None:
        """Refuse what a base does not learn whose encoder reads the prompt."""
        objective, choose = self.sections.joined_for, "choose a base_model that is a decoder alone"
        problem = f"is not for {base!r}, whose encoder reads the prompt; "
        if objective is not None:
            raise ConfigError(
                "config", [Problem("trainer.type", f"{objective!r} {problem}write finetune, or {choose}")]
            )
        if self.sections.is_chat:
            where = "input_features[0].type"
            raise ConfigError("config", [Problem(where, f"'conversation' {problem}write prompt.task, or {choose}")])

    def _check_answers(self, table: pd.DataFrame, base: Glance) -> None:
        """Refuse texts that the base could never hold, before the libraries of models are loaded."""
        for output in self.outputs:
            if output.is_free and self.sections.overlong != "drop" and not most_tokens(output):
                answers = output.answers(table[output.config.source])
                base.check_lengths(answers, self.sections.max_length, output.config.source, table.index)

    def open(self, table: pd.DataFrame, *, seed: int, folder: Path) -> Self:
        weights = self.start.folder / WEIGHTS if self.start is not None else None
        if weights is not None and self.sections.adapter is None:
            self.backbone = self.sections.open(str(weights))
        elif self.sections.architecture is None:
            self.backbone = self.sections.open(str(self.sections.base_model))
        elif (folder / "config.json").is_file():
            self.backbone = open_backbone(str(folder))
        else:
            self.backbone = from_scratch(self.sections.architecture, self._raw_texts(table), seed, folder)
        self._make_encoder(list(map(str, table.columns)))
        self.index = index_rows(self, table, seed)
        return self

    def zero_shot(self, columns: Sequence[str]) -> Self:
        """Make the encoder for a model that is used as it is, without training rows.

        Raises:
            DataError: If an output must know its labels from somewhere, or the prompt shows training rows.
        """
        if self.sections.prompt.retrieval is not None:
            raise DataError(
                "prompt.retrieval shows rows of the training split: call train first, which changes no weight under "
                "trainer.type none, or leave it out"
            )
        self.backbone = self.sections.open(str(self.sections.base_model))
        for feature in self.inputs:
            feature.without_rows()
        for output in self.outputs:
            output.without_rows()
        self._make_encoder(columns)
        wanted = 0 if self.backbone.reads_apart else self._room(0, unseen_tokens)
        self.reserve = wanted if self.max_length is None else min(wanted, self.max_length // 2)
        self.least = self.reserve
        return self

    def read_as(self, other: Prompted) -> None:
        """Take over what another model has learned and opened, so that rows become the same tokens."""
        self.inputs, self.outputs = other.inputs, other.outputs
        self.backbone, self.encoder, self._columns = other.backbone, other.encoder, other._columns
        self.answer_lengths, self.reserve, self.least = other.answer_lengths, other.reserve, other.least
        self._golden, self.index = other._golden, other.index

    @property
    def context_length(self) -> int | None:
        """Most tokens that the base can take beside those that an adapter puts before each row."""
        whole, adapter = self.backbone.context_length, self.sections.adapter
        return whole if adapter is None else adapter.room(whole)

    @property
    def max_length(self) -> int | None:
        """Most tokens of a row, or of prompt and answer each where an encoder reads; ``None`` without a limit."""
        most = min(filter(None, (self.sections.max_length, self.context_length)), default=None)
        return most if most is None else most - len(self.backbone.between)

    def _make_encoder(self, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        options: dict[str, Any] = {
            "tokenizer": self.backbone.tokenizer,
            "inputs": [feature.name for feature in self.inputs],
            "outputs": [feature.name for feature in self.outputs],
            "context_length": self.max_length,
            "stop_ids": self.backbone.stop_ids,
            "bos_id": self.backbone.bos_id,
            "columns": columns,
            "text_outputs": [feature.name for feature in self.outputs if feature.is_free],
            "parsed": [feature.name for feature in self.inputs if parses(feature)],
            "apart": self.backbone.reads_apart,
        }
        if self.sections.is_chat:
            replies = self.outputs[0].config.preprocessing.reply
            self.encoder = ConversationEncoder(self.sections.prompt, replies=replies, **options)
        else:
            self.encoder = PromptEncoder(self.sections.prompt, **options)

    def cells(self, table: pd.DataFrame) -> list[dict[str, Any]]:
        """Return for each row the text of every name that the prompt reads.

        Raises:
            DataError: If a column is missing.
        """
        features, tokenizer = {feature.name: feature for feature in self.inputs}, self.backbone.tokenizer
        sources = {name: features[name].config.source if name in features else name for name in self.encoder.columns}
        require_columns(table, list(sources.values()))
        texts = {
            name: rendered(features[name], table, tokenizer) if name in features else as_texts(table[source]).tolist()
            for name, source in sources.items()
        }
        rows = [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)] or [{}] * len(table)
        if self.index is None:
            return rows
        shown = map(self.encoder.examples, self.index.find(queries(self, rows)))
        return [{**row, CONTEXT: examples} for row, examples in zip(rows, shown, strict=True)]

    def encode(self, table: pd.DataFrame) -> LlmRows:
        """Return prompts with their answers; they are made once and then found by their content."""
        require_columns(table, [output.config.source for output in self.outputs])
        chunks = [table.iloc[start : start + CHUNK_ROWS] for start in range(0, len(table), CHUNK_ROWS)]
        rows = LlmRows(cached_tokens(self.cache_key(table), lambda: map(self._encode, chunks)))
        if len(table) and not len(rows):
            raise DataError(
                f"none of {len(table)} rows fits into {self.max_length} tokens, and all were dropped; shorten prompt "
                "or answers, or raise preprocessing.global_max_sequence_length if the model allows it"
            )
        return rows

    def _encode(self, table: pd.DataFrame) -> EncodedRows:
        answers = [answers_of(output, table, self.backbone.tokenizer) for output in self.outputs]
        rows = [list(row) for row in zip(*answers, strict=True)]
        overlong = self.sections.overlong
        encoded = self.encoder.encode(self.cells(table), rows, row_labels=list(table.index), overlong=overlong)
        check_separators(encoded, self.encoder.literals, self.outputs, table)
        return with_border(without_dropped(encoded), self.backbone.between)

    def cache_key(self, table: pd.DataFrame, *more: Any) -> str:
        """Return a hash of all that the tokens of a table depend on, and of ``more``."""
        sources = {feature.config.source for feature in (*self.inputs, *self.outputs)} | set(self.encoder.columns)
        content = fingerprint(table[[name for name in table.columns if str(name) in sources]])
        features = [
            [feature.config.dump(), feature.state and feature.state.dump()] for feature in (*self.inputs, *self.outputs)
        ]
        parts = [
            ROWS_VERSION,
            content,
            self.encoder.fingerprint(),
            self.backbone.fingerprint,
            features,
            self.sections.overlong,
            self.index and self.index.fingerprint,
            *more,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def prompts(self, table: pd.DataFrame) -> EncodedRows:
        """Return the rows of ``table`` without answers, with room left for them."""
        encoded = self.encoder.encode(
            self.cells(table), None, row_labels=list(table.index), reserve=self.reserve, least=self.least
        )
        return with_border(encoded, self.backbone.between)

    def blanks(self, table: pd.DataFrame) -> dict[str, Ragged]:
        """Return, for each output that is scored against it, the prompt with neutral text for every cell.

        Raises:
            DataError: If a template cannot be filled with that text.
        """
        found = {}
        for output in self.outputs:
            decoder = output.config.decoder
            if getattr(decoder, "score", None) == "prior" and len(table):
                cells: dict[str, Any] = dict.fromkeys(self.encoder.columns, Neutral(decoder.neutral))
                # With examples, each row has a prompt of its own that only lacks the row: Zhao et al. 2021, section 5.
                rows = (
                    [cells] if self.index is None else [{**cells, CONTEXT: row[CONTEXT]} for row in self.cells(table)]
                )
                labels = ["without content"] * len(rows)
                encoded = self.encoder.encode(rows, None, row_labels=labels, reserve=self.reserve)
                found[output.name] = with_border(encoded, self.backbone.between).ids
        return found

    def _raw_texts(self, table: pd.DataFrame) -> list[str]:
        source = self.inputs[0].config.source
        require_columns(table, [source])
        return self.inputs[0].render(table[source])

    def pack(self, table: pd.DataFrame, *, length: int | None, as_lines: bool = False) -> LlmRows:
        """Return the one text column as pieces of ``length`` tokens, all of them supervised.

        Texts, or with ``as_lines`` the one text whose lines they are, are laid end to end, each closed by the stop
        token; what is left at the end is a shorter piece.
        """
        feature, size, texts = self.inputs[0], self._piece(length), self._raw_texts(table)
        key = self.cache_key(table, size, *(["lines"] * as_lines))
        plain = plain_encoder(self.backbone, feature.name, parsed=parses(feature))
        return packed(plain, ["\n".join(texts)] if as_lines else texts, size, key)

    def pack_texts(self, texts: Sequence[str]) -> LlmRows:
        """Return any texts as ``pack`` returns those of the text column."""
        size, plain = self._piece(None), plain_encoder(self.backbone, "text")
        parts = [size, plain.fingerprint(), self.backbone.fingerprint, list(texts)]
        return packed(plain, texts, size, hashlib.sha256(json.dumps(parts).encode()).hexdigest())

    def _piece(self, length: int | None) -> int:
        size = min(filter(None, (length, self.max_length)), default=None)
        if size is None:
            raise ModelError("the base model states no context length; set trainer.sequence_length")
        return size

    def overlong(self, store: LlmRows, num_rows: int) -> list[str]:
        cut, dropped = int((store.tokens.num_cut > 0).sum()), num_rows - len(store)
        limit = f"{num_rows} rows are longer than {self.max_length} tokens"
        remarks = [f"{cut} of {limit}; text of their longest column was cut"] if cut else []
        remarks += left_out(self, store.tokens.num_left_out, num_rows)
        return remarks + ([f"{dropped} of {limit} and were dropped"] if dropped > 0 and self.outputs else [])

    def learn_lengths(self, store: LlmRows) -> None:
        self._golden = [store.tokens.ids[row].tolist() for row in range(min(GOLDEN_ROWS, len(store)))]
        before = part(self.start.states, "lengths", "answers") if self.start is not None else {}
        self.answer_lengths = {
            output.name: max(store.longest_answer(field), before.get(output.name, 0))
            for field, output in enumerate(self.outputs)
        }
        apart, labels = self.backbone.reads_apart, self._room(0, lambda _: 0)
        self.reserve, self.least = (0, 0) if apart else store.room(labels, self.max_length)

    def states(self) -> dict[str, Any]:
        lengths = {"answers": self.answer_lengths, "reserve": self.reserve, "least": self.least}
        return {**super().states(), "columns": self._columns, "lengths": lengths}

    def max_new_tokens(self, output: OutputFeature, limit: int | str) -> int:
        """Return the most tokens that an answer may have: as asked, or a little more than training rows showed."""
        if isinstance(limit, int):
            return limit
        longest = self.answer_lengths.get(output.name)
        usual = unseen_tokens(output) if longest is None else longest + longest // 4 + 8
        return min(usual, most_tokens(output) or usual)

    def context_for(self, place: int) -> int | None:
        """Return the most tokens with which output ``place`` leaves room for the outputs after it."""
        context = self.context_length
        return None if context is None else context - self._room(place + 1, lambda _: 1)

    def _longest_label(self, output: OutputFeature) -> int:
        """Return the most tokens that an answer with the longest label has, 0 for an output without labels."""
        answers = getattr(output, "label_answers", [])
        return max((len(self.encoder.answer_ids(output.name, answer, last=True)) for answer in answers), default=0)

    def _room(self, place: int, unlabelled: Callable[[OutputFeature], int]) -> int:
        """Return the most tokens that outputs from ``place`` on take; those without labels take ``unlabelled``."""
        answers = sum(self._longest_label(output) or unlabelled(output) for output in self.outputs[place:])
        return answers + sum(map(len, self.encoder.literals[place:]))
