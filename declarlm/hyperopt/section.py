"""The ``hyperopt`` section: what is searched, how, and what counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from declarlm.core import DeclarlmError, Problem, Section, param
from declarlm.core.errors import choose_from
from declarlm.core.section import Rules
from declarlm.evaluation.validation import deciding_metric
from declarlm.hyperopt.executors import Executor, executors
from declarlm.hyperopt.searchers import Searcher, searchers
from declarlm.hyperopt.spaces import Space, spaces
from declarlm.metrics import goal_of
from declarlm.metrics.base import Goal

if TYPE_CHECKING:
    from declarlm.features.base import OutputFeature
    from declarlm.training.config import TrainerConfig

WHOLE = "."  # the path of parameters that are parts of a whole config


class Hyperopt(Section):
    """A search for the values of parameters that make the best model."""

    metric: str = param("What counts: 'loss', a metric, or one of an output as in 'intent.accuracy'.", default="loss")
    output_feature: str | None = param("The output whose metric it is; null is the first that has it.", default=None)
    goal: Literal["minimize", "maximize"] | None = param(
        "Whether a low or a high metric is good; null is what is known of the metric.", default=None
    )
    split: Literal["validation", "test"] = param("The rows on which trials are compared.", default="validation")
    parameters: dict[str, Space.Config] = param(
        "Spaces by dotted path, features by name; '.' for parts of a whole config.", registry=spaces
    )
    search_alg: Searcher.Config = param("What is tried next.", registry=searchers, default="random")
    executor: Executor.Config = param("Where and how many trials run.", registry=executors, default="inline")

    def measured(self, outputs: Sequence[OutputFeature.Config], trainer: TrainerConfig) -> tuple[str, Goal]:
        """Return the name of the number that counts, as evaluations call it, and its goal.

        Raises:
            ConfigError: If no such number is measured.
        """
        field = None if self.output_feature == "combined" else self.output_feature
        asked = replace(trainer, validation_field=field, validation_metric=self.metric)
        return deciding_metric(outputs, asked)

    def build_spaces(self) -> dict[str, Space]:
        """Return the spaces by path."""
        return {path: space.build() for path, space in self.parameters.items()}

    def check(self) -> Rules:
        if not self.parameters:
            yield Problem("parameters", "must name at least one parameter")
        yield self._goal()
        yield self._followed()
        yield self.search_alg.check_spaces(self.parameters)
        yield self.executor.scheduler.check_parameters(self.parameters)
        yield self._split()

    def _goal(self) -> Iterable[Problem]:
        name = self.metric.rpartition(".")[2]
        try:
            known = goal_of(name)
        except DeclarlmError:
            return  # The config as a whole knows which outputs, and so which metrics, there are.
        if self.goal is not None and self.goal != known:
            yield Problem("goal", f"{name} is better when it is {_BETTER[known]}; write {known}, or leave goal out")

    def _followed(self) -> Iterable[Problem]:
        drawn = [path for path, space in self.parameters.items() if not space.plugin.follows and path != WHOLE]
        for path, space in self.parameters.items():
            of = getattr(space, "of", None)
            if space.plugin.follows and of not in drawn:
                searched = f"no parameter is searched under the path {choose_from(of, drawn)}"
                yield Problem(f"parameters.{path}.of", searched)

    def _split(self) -> Iterable[Problem]:
        scheduler = self.executor.scheduler
        if self.split != "validation" and scheduler.plugin.stops:
            found = f"{scheduler.type} stops trials by what validation rows show"
            yield Problem("split", f"must be 'validation': {found}")


_BETTER: Mapping[str, str] = {"minimize": "low", "maximize": "high"}
