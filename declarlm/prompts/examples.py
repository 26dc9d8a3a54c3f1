"""Solved examples in a prompt: which rows are shown, and what happens where they do not all fit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, Self

from declarlm.core import Problem, Section, param

CONTEXT = "__context__"  # what a template reads them by; ``context`` stands for it where no input has that name
BETWEEN = "\n\n"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


class Retrieval(Section):
    """Training rows that are shown, solved, in the prompt of another row.

    They come from the training split alone, and are kept with the run. A row is never shown to one with the same
    inputs, so that it never sees its own answer.
    """

    type: Literal["random", "semantic"] = param(  # type: ignore[misc]
        "Which rows are shown: random draws them for each row, the same ones for the same row and seed; semantic takes"
        " those whose inputs mean most nearly the same, the nearest one last."
    )
    k: int = param("Examples in a prompt; where they do not all fit, the least alike go first.", default=3, min=1)
    model_name: str | None = param(
        f"Hugging Face id or folder of the encoder that compares inputs under semantic; null is {MINILM}.",
        default=None,
    )
    example: str | None = param(
        "Template of one example, over columns and outputs; null writes what the prompt reads and each output as"
        " `name: value`, one per line.",
        default=None,
    )

    def check(self) -> Iterable[Problem]:
        if self.type == "random" and self.model_name is not None:
            yield Problem("model_name", "is for type semantic, which compares; leave it out, or write type: semantic")


class Examples(str):
    """Examples one after another, as a cell of the prompt.

    Attributes:
        parts: Each example, the least alike first.
        end: What follows the last one.
    """

    __slots__ = ("end", "parts")
    parts: tuple[str, ...]
    end: str

    def __new__(cls, parts: Sequence[str], end: str = "") -> Self:
        self = super().__new__(cls, BETWEEN.join(parts) + end if parts else "")
        self.parts, self.end = tuple(parts), end
        return self

    def fewer(self) -> Examples | None:
        """Return all but the first one, None if there is none."""
        return Examples(self.parts[1:], self.end) if self.parts else None
