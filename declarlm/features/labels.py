"""What outputs with labels have in common: answers, prediction columns, what metrics compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from declarlm.core import DataError, Problem, Section, param
from declarlm.decoders.base import softmax
from declarlm.features.base import OutputFeature, Raw, quote
from declarlm.features.cells import in_form

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.metrics import Prediction


NEEDS_SCORES = "needs the probability of each label, and a rule of type regex reads a written answer"


class LabelState(Section):
    """What is chosen on the validation rows once training is over."""

    temperature: float | None = param("What log-probabilities are divided by.", default=None, above=0)


class LabelOutput(OutputFeature):
    """An output that is one of some labels. Its state has ``labels``, ``counts``, ``form`` and ``temperature``."""

    class Config(OutputFeature.Config):
        calibration: bool = param(
            "Whether to divide log-probabilities by a temperature that is fitted to the validation rows after"
            " training, so that a probability says how often the label is right.",
            default=False,
        )

        def check(self) -> Iterable[Problem]:
            yield from super().check()
            if self.calibration and is_matched(self):
                yield Problem("calibration", f"{NEEDS_SCORES}; leave it out, or match each label by type: contains")

    @property
    def is_tuned(self) -> bool:
        """Whether something is chosen on the validation rows once training is over."""
        return bool(self.config.calibration)

    def untuned(self) -> Self:
        """Return this output of a model that is used without ``train``.

        Raises:
            DataError: If the config asks for what is chosen on validation rows.
        """
        if self.is_tuned:
            raise DataError(
                "calibration: true and threshold: auto are fitted to validation rows: call train first, which changes "
                "no weight under trainer.type none, or leave them out",
                column=self.config.source,
            )
        return self

    def calibrated(self, probabilities: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the share of each label at the temperature found, ``float64 (rows, labels)``."""
        temperature = self.state.temperature
        return probabilities if temperature is None else at_temperature(probabilities, temperature)

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
            shares = self.calibrated(raw.probabilities).tolist()
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
        if raw.probabilities is None or self.state.temperature is None:
            return Prediction(values=values, probabilities=raw.probabilities, labels=labels)
        return Prediction(values, self.calibrated(raw.probabilities), labels, uncalibrated=raw.probabilities)

    def _chosen(self, raw: Raw) -> list[Any]:
        """Return the number of each row's label; None where a generated answer shows none and nothing stands in."""
        if raw.probabilities is not None:
            return self.most_likely(self.calibrated(raw.probabilities))
        extractor: Any = self.make_decoder("llm")
        numbers = {label: index for index, label in enumerate(self.labels)}
        read = [extractor.read(text, self.labels) for text in raw.texts or []]
        return [numbers.get(label or self.config.preprocessing.fallback_label) for label in read]


def at_temperature(probabilities: np.ndarray[Any, Any], temperature: float) -> np.ndarray[Any, Any]:
    """Return the softmax of log-probabilities divided by a temperature, ``float64 (rows, labels)``.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, https://arxiv.org/abs/1706.04599, section 4.2.
    """
    import numpy as np

    logarithms = np.log(np.clip(probabilities, np.finfo(np.float64).tiny, None))
    return softmax(logarithms / temperature)


def is_matched(config: Any) -> bool:
    """Return whether labels are looked for in written answers, which have no probabilities."""
    return any(rule.type == "regex" for rule in getattr(config.decoder, "match", {}).values())
