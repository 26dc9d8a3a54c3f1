"""What outputs with labels have in common: answers, prediction columns, what metrics compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from declarlm.features.base import OutputFeature, Raw, quote
from declarlm.features.cells import in_form

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.metrics import Prediction


class LabelOutput(OutputFeature):
    """An output that is one of some labels. Its state has ``labels``, ``counts`` and ``form``."""

    @property
    def labels(self) -> list[str]:
        return list(self.state.labels)

    def most_likely(self, probabilities: np.ndarray[Any, Any]) -> list[int]:
        """Return the number of the predicted label of each row."""
        raise NotImplementedError

    def truth(self, column: pd.Series) -> list[str]:
        raise NotImplementedError

    def answers(self, column: pd.Series) -> list[str]:
        extractor: Any = self.make_decoder("llm")
        return [extractor.answer(label) for label in self.truth(column)]

    @property
    def label_answers(self) -> list[str]:
        """The text that a language model is to write for each label, in the order of ``labels``."""
        extractor: Any = self.make_decoder("llm")
        return [extractor.answer(label) for label in self.labels]

    def columns(self, raw: Raw) -> dict[str, list[Any]]:
        chosen = self._chosen(raw)
        values = [in_form(label, self.state.form) for label in self.labels]
        columns: dict[str, list[Any]] = {
            f"{self.name}_predictions": [None if index is None else values[index] for index in chosen]
        }
        if raw.probabilities is not None:
            shares = raw.probabilities.tolist()
            columns[f"{self.name}_probability"] = [row[index] for row, index in zip(shares, chosen, strict=True)]
            columns[f"{self.name}_probabilities"] = shares
            for index, label in enumerate(self.labels):
                columns[f"{self.name}_probabilities_{label}"] = [row[index] for row in shares]
        if None in chosen:
            columns[f"{self.name}_error"] = [
                f"no label in the answer {quote(text)}" if index is None else None
                for index, text in zip(chosen, raw.texts or [], strict=True)
            ]
        return columns

    def metric_prediction(self, raw: Raw) -> Prediction:
        from declarlm.metrics import Prediction

        labels = self.labels
        values = ["" if index is None else labels[index] for index in self._chosen(raw)]
        return Prediction(values=values, probabilities=raw.probabilities, labels=labels)

    def _chosen(self, raw: Raw) -> list[Any]:
        """Return the number of each row's label; None where a generated answer shows none and nothing stands in."""
        if raw.probabilities is not None:
            return self.most_likely(raw.probabilities)
        extractor: Any = self.make_decoder("llm")
        numbers = {label: index for index, label in enumerate(self.labels)}
        read = [extractor.read(text, self.labels) for text in raw.texts or []]
        return [numbers.get(label or self.config.preprocessing.fallback_label) for label in read]
