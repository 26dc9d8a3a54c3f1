"""Text features: free text in, free text out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from declarlm.core import Problem, Section, param
from declarlm.decoders.base import Decoder, decoders
from declarlm.encoders.base import Encoder, encoders
from declarlm.features.base import InputFeature, OutputFeature, Raw, input_features, output_features
from declarlm.features.cells import as_texts
from declarlm.features.conversation import replies
from declarlm.features.lists import as_lists
from declarlm.features.words import Spans, word_spans
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.metrics import Prediction


_WORD = re.compile(r"\w+|[^\w\s]")
_NO_ADAPTER_BITS = "quantizes a language model's base, not an encoder; write adapter: lora"


class TextInputPreprocessing(Section):
    """How the cells of a text input are read."""

    missing_value_strategy: Literal["fill_with_const", "fill_with_mode", "bfill", "ffill", "drop_row", "error"] = param(
        "What stands for a missing cell.", default="fill_with_const"
    )
    fill_value: str = param("Text that stands for a missing cell under fill_with_const.", default="")
    lowercase: bool = param(
        "Write every cell in lower case; a false that is written out also keeps the case of an encoder's words.",
        default=False,
    )
    max_sequence_length: int | None = param(
        "Tokens of a cell that a model reads, words if it has no tokenizer; null keeps what it can take.",
        default=None,
        min=1,
    )
    parse_special_tokens: bool = param(
        "Whether the special tokens of the model that a cell spells, such as <|im_start|>, become these tokens, for"
        " tables that already hold chat markers; otherwise all that a cell spells is plain text (llm).",
        default=False,
    )
    cache_encoder_embeddings: bool | Literal["auto"] = param(
        "Compute the vectors of a frozen encoder once and keep them on disk; auto does so for every frozen encoder.",
        default="auto",
    )


@input_features.register("text")
class TextInput(InputFeature):
    """Free text, such as a message or a title.

    For an encoder: one text a row. In a prompt: the cell as it is.
    """

    emits = "text"
    default_encoder = "tf_idf"
    without_effect: ClassVar[Any] = {
        "llm": {"cache_encoder_embeddings": ("leave it out, there is no encoder", (False,))},
        "ecd": {"parse_special_tokens": ("leave it out, an encoder reads cells as they are", ())},
    }

    class Config(InputFeature.Config):
        preprocessing: TextInputPreprocessing = param("How cells are read.", default=TextInputPreprocessing())
        encoder: Encoder.Config | None = param(
            "How texts become vectors (ecd), tf_idf if null.", default=None, registry=encoders.where(accepts="text")
        )

        def check(self) -> Iterable[Problem]:
            yield from super().check()
            trains = self.encoder is not None and not self.encoder.build().frozen
            if self.preprocessing.cache_encoder_embeddings is True and trains:
                remedy = "vectors that training changes cannot be kept; remove it, or choose a frozen encoder"
                yield Problem("preprocessing.cache_encoder_embeddings", remedy)
            adapter = getattr(self.encoder, "adapter", None) if self.encoder is not None else None
            if adapter is not None and adapter.type == "qlora":
                yield Problem("encoder.adapter", f"'qlora' {_NO_ADAPTER_BITS}")

    class State(InputFeature.State):
        fill: str | None = param("Text that stands for a missing cell.", default=None)

    def fit(self, column: pd.Series) -> Self:
        self.state = self.State(fill=self.learn_fill(self.read(column)))
        return self

    def without_rows(self) -> Self:
        self.state = self.State(fill=self.config.preprocessing.fill_value)
        return self

    def read(self, column: pd.Series) -> pd.Series:
        texts = as_texts(column)
        return texts.map(str.lower, na_action="ignore") if self.config.preprocessing.lowercase else texts

    def transform(self, column: pd.Series) -> list[str]:
        texts, length = self.render(column), self.config.preprocessing.max_sequence_length
        if length is None or "max_sequence_length" in self.make_encoder().config.schema().fields:
            return texts
        return [_first_words(text, length) for text in texts]

    def words(self, column: pd.Series) -> list[Spans]:
        """Return where each word of each text starts and ends, in characters of what ``transform`` returns.

        Raises:
            DataError: If a cell is a list that holds anything but words.
        """
        change = str.lower if self.config.preprocessing.lowercase else str
        return word_spans(column, self.render(column), change)

    def render(self, column: pd.Series) -> list[str]:
        return list(self.fill(self.read(column)))

    def make_encoder(self, state: Any = None) -> Encoder:
        made = super().make_encoder(state)
        length = self.config.preprocessing.max_sequence_length
        if length is not None and "max_sequence_length" in made.config.schema().fields:
            own = made.config.max_sequence_length
            made.config = made.config.replace(max_sequence_length=min(length, own or length))
        return made


def _first_words(text: str, count: int) -> str:
    """Return a text up to the end of its ``count``-th word or punctuation mark."""
    words = list(islice(_WORD.finditer(text), count))
    return text[: words[-1].end()] if len(words) == count else text


class TextOutputPreprocessing(Section):
    """How the cells of a text output are read."""

    missing_value_strategy: Literal["error", "drop_row", "fill_with_const", "bfill", "ffill"] = param(
        "What is done about a row without an answer.", default="error"
    )
    fill_value: str = param(
        "Answer of a row without one under fill_with_const, such as `cannot find answer`; token_f1 gives nothing for"
        " its words alone.",
        default="",
    )
    alternatives: bool = param(
        "Whether a cell is a list of right answers: the first is learned, metrics take the best of them, and an empty"
        " list is a missing cell.",
        default=False,
    )
    reply: bool = param(
        "Whether a cell is a conversation, whose last turn of the assistant is the answer; true by itself where a"
        " conversation is the only input, unless a column of its own is named.",
        default=False,
    )
    max_sequence_length: int | None = param(
        "Tokens that an answer may have, in training and when it is written; null lets the model stop by itself.",
        default=None,
        min=1,
    )


@output_features.register("text")
class TextOutput(OutputFeature):
    """Free text that a language model writes, such as an answer or a summary.

    Prediction columns: ``<name>_predictions`` and ``<name>_response``, the answer before the decoder read it.
    """

    default_decoders: ClassVar[dict[str, str]] = {"llm": "text_extractor"}
    default_loss = "next_token_softmax_cross_entropy"
    is_free = True

    class Config(OutputFeature.Config):
        preprocessing: TextOutputPreprocessing = param("How cells are read.", default=TextOutputPreprocessing())
        decoder: Decoder.Config | None = param(
            "How the answer is read, text_extractor if null.", default=None, registry=decoders.where(accepts="text")
        )
        loss: Loss.Config | None = param(
            "What is minimized, the cross entropy of the next token if null.",
            default=None,
            registry=losses.where(accepts="text"),
        )

    class State(OutputFeature.State):
        fill: str | None = param("Answer of a row without one.", default=None)

    def fit(self, column: pd.Series) -> Self:
        self.state = self.State(fill=self.learn_fill(self.read(column)))
        return self

    def without_rows(self) -> Self:
        self.state = self.State(fill=self.unlearned_fill())
        return self

    def keep(self, column: pd.Series) -> np.ndarray[Any, Any]:
        return super().keep(self.read(column))

    @property
    def _lacks(self) -> str:
        return (
            "ends without a turn of the assistant that is learned"
            if self.config.preprocessing.reply
            else super()._lacks
        )

    @property
    def _dropping(self) -> str:
        # The conversation that is read has the same column, and the same key.
        where = f" for the output {self.name!r}" if self.config.preprocessing.reply else ""
        return super()._dropping + where

    def read(self, column: pd.Series) -> pd.Series:
        if self.config.preprocessing.reply:
            return replies(column)
        if not self.config.preprocessing.alternatives:
            return as_texts(column)
        return self._alternatives(column).map(lambda texts: texts[0] if texts else None)

    def answers(self, column: pd.Series) -> list[str]:
        return list(self.fill(self.read(column)))

    def truth(self, column: pd.Series) -> list[Any]:
        """Return the right answer of each row, or a list of right ones with ``preprocessing.alternatives``."""
        answers = self.answers(column)
        if not self.config.preprocessing.alternatives:
            return answers
        several = self._alternatives(column).tolist()
        return [texts or [answer] for texts, answer in zip(several, answers, strict=True)]

    def _alternatives(self, column: pd.Series) -> pd.Series:
        return as_lists(column, cut=lambda text: [text] if text else [])

    def columns(self, raw: Raw) -> dict[str, list[Any]]:
        texts = list(raw.texts or [])
        return {f"{self.name}_predictions": self._values(texts), f"{self.name}_response": texts}

    def metric_prediction(self, raw: Raw) -> Prediction:
        from declarlm.metrics import Prediction

        filled = self.config.preprocessing.missing_value_strategy == "fill_with_const"
        return Prediction(values=self._values(raw.texts or []), no_answer=self.state.fill if filled else None)

    def _values(self, texts: list[str]) -> list[str]:
        extractor: Any = self.make_decoder("llm")
        return [extractor.read(text) for text in texts]
