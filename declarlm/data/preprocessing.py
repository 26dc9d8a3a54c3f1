"""What happens to the rows of a table before a model sees them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from declarlm.core import Problem, Section, param
from declarlm.data.split import Split, splits


class Preprocessing(Section):
    """What happens to a table as a whole; what happens to a column stands in its feature."""

    split: Split.Config = param(
        "How rows are divided into train, validation and test.", default="random", registry=splits
    )
    sample_ratio: float = param(
        "Share of all rows to use, drawn at random before the split.", default=1.0, above=0, max=1
    )
    sample_size: int | None = param(
        "Number of rows to use, drawn at random before the split; all rows if there are fewer.", default=None, min=1
    )
    oversample_minority: float | None = param(
        "Repeat training rows of rare labels until they have this share of the most frequent label's rows.",
        default=None,
        above=0,
        max=1,
    )
    undersample_majority: float | None = param(
        "Leave out training rows of frequent labels until the rarest label has this share of their rows.",
        default=None,
        above=0,
        max=1,
    )
    global_max_sequence_length: int | Literal["auto"] | None = param(
        "Most tokens that a prompt and its answer may have; auto and null mean the context length of the model.",
        default="auto",
        min=1,
    )
    overlong: Literal["cut", "error", "drop"] = param(
        "What becomes of a row with more tokens: its longest column is cut (never the template or the answer), "
        "it is an error, or it is dropped. What was cut or dropped is counted before training.",
        default="cut",
    )
    missing_values: list[str] = param("Cells to take as missing, as they are written in the table.", default=[""])

    def check(self) -> Iterable[Problem]:
        if self.sample_size is not None and self.sample_ratio != 1:
            yield Problem("sample_size", "cannot be given together with sample_ratio, remove one of them")
        if self.oversample_minority is not None and self.undersample_majority is not None:
            yield Problem(
                "undersample_majority", "cannot be given together with oversample_minority, remove one of them"
            )
