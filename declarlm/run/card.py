"""The model card of a run, with the header that Hugging Face reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from declarlm.core.yaml_text import yaml_text


@dataclass(frozen=True)
class Card:
    """What a model card says.

    Attributes:
        name: The run's name.
        base_model: Hugging Face id of the base, or none for a model from scratch.
        inputs: Columns that the model reads.
        outputs: Columns that it predicts.
        rows: Number of rows by split.
        metrics: Results by split, feature and metric.
        notes: Sentences on data, limits and use.
    """

    name: str
    base_model: str | None
    inputs: list[str]
    outputs: list[str]
    rows: Mapping[str, int]
    metrics: Mapping[str, Mapping[str, Mapping[str, float]]]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the card as Markdown, with the header that Hugging Face reads."""
        header: dict[str, Any] = {"library_name": "declarlm", "tags": ["declarlm"]}
        if self.base_model is not None:
            header["base_model"] = self.base_model
        results = [
            f"| {split} | {_cell(feature)} | {metric} | {value:.4g} |"
            for split, features in self.metrics.items()
            for feature, metrics in features.items()
            for metric, value in metrics.items()
        ]
        counts = ", ".join(f"{count} {split}" for split, count in self.rows.items())
        base = f", tuned from {_code(self.base_model)}" if self.base_model is not None else ""
        lines = [
            f"---\n{yaml_text(header)}---\n\n# {self.name}\n",
            f"Predicts {_codes(self.outputs)} from {_codes(self.inputs)}{base}. Rows: {counts}.\n",
            *(f"{note}\n" for note in self.notes),
            *(["| split | output | metric | value |", "| --- | --- | --- | --- |", *results, ""] if results else []),
            "```python\nfrom declarlm import DeclarLM\n",
            f'predictions = DeclarLM.load("{self.name}").predict(rows)\n```\n',
        ]
        return "\n".join(lines)


def _code(text: str) -> str:
    """Return text as Markdown code, on one line."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"


def _codes(texts: list[str]) -> str:
    return ", ".join(map(_code, texts)) or "nothing"


def _cell(text: str) -> str:
    return _code(text).replace("|", "\\|")
