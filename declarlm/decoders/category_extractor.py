"""Decoder that reads a category out of a language model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from declarlm.core import Problem, Section, param
from declarlm.decoders.base import Extractor, decoders, softmax
from declarlm.decoders.text_extractor import check_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


class Match(Section):
    """How an answer shows that one label is meant."""

    type: Literal["contains", "regex"] = param("Whether the value is a text or a regular expression.")  # type: ignore[misc]
    value: str = param("What the answer must contain, in any case, or match anywhere.")

    def check(self) -> Iterable[Problem]:
        if self.type == "regex":
            yield from check_pattern("value", self.value)

    def holds(self, text: str) -> bool:
        """Return whether an answer shows the label."""
        if self.type == "regex":
            return re.search(self.value, text, re.IGNORECASE) is not None
        return self.value.lower() in text.lower()


@decoders.register("category_extractor")
class CategoryExtractor(Extractor):
    """Choose the label to which the model gives the highest probability as an answer.

    Every label is scored, so that the prediction is always a label and comes with probabilities. With a rule
    ``contains`` for a label, the rule's value is the text that the model is to write (and that is scored) for
    it. If any rule is a ``regex``, there is no such text: answers are generated, and the first rule in config
    order that holds gives the label.

    ``score: prior`` is the pointwise mutual information of prompt and label. Sources: Holtzman et al., "Surface Form
    Competition", 2021, https://arxiv.org/abs/2104.08315, section 3; the prompt without content: Zhao et al.,
    "Calibrate Before Use", 2021, https://arxiv.org/abs/2102.09690, section 5.
    """

    accepts = frozenset({"category", "binary"})

    class Config(Extractor.Config):
        match: dict[str, Match] = param("For each label, how an answer shows it; its own text if absent.", default={})
        score: Literal["sum", "mean", "prior"] = param(
            "Score of a label: the log-probability of all its tokens (sum); the mean of theirs, which does not favor"
            " short labels; or all of it minus what the label has after a prompt without content, which does not favor"
            " labels that the base finds usual. sum is what training learns; the others are for an untrained base.",
            default="sum",
        )
        neutral: str = param("Text that stands for every cell in a prompt without content.", default="N/A")

        def check(self) -> Iterable[Problem]:
            if self.score != "prior" and self.neutral != "N/A":
                yield Problem("neutral", "is read with score: prior alone; leave it out, or write score: prior")

    @property
    def by_generation(self) -> bool:
        """Whether answers must be generated and matched instead of scored."""
        return any(rule.type == "regex" for rule in self.config.match.values())

    def answer(self, label: str) -> str:
        """Return the text that stands for a label in an answer."""
        rule = self.config.match.get(label)
        return str(rule.value) if rule is not None and rule.type == "contains" else label

    def read(self, text: str, labels: Sequence[str]) -> str | None:
        """Return the label that a generated answer shows, None if it shows none.

        Rules come first, in config order; then labels without a rule, the longest first, so that of two labels
        one of which contains the other the more exact one wins.
        """
        for label, rule in self.config.match.items():
            if label in labels and rule.holds(text):
                return str(label)
        plain = [label for label in labels if label not in self.config.match]
        for label in sorted(plain, key=len, reverse=True):
            if label.lower() in text.lower():
                return label
        return None

    def probabilities(
        self,
        log_probabilities: np.ndarray[Any, Any],
        num_tokens: np.ndarray[Any, Any],
        prior: np.ndarray[Any, Any] | float = 0.0,
    ) -> np.ndarray[Any, Any]:
        """Return the share of each label, ``float (rows, labels)``.

        Args:
            log_probabilities: Sum over each label's tokens, its stop token included, ``float (rows, labels)``.
            num_tokens: How many tokens each label has, ``int (labels,)``.
            prior: The same sums after a prompt without content, ``(rows or 1, labels)``, for the score ``prior``.
        """
        return softmax(log_probabilities / num_tokens if self.config.score == "mean" else log_probabilities - prior)
