"""Searchers of Optuna, which learn from the trials that have ended: pip install "declarlm[tune]"."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from declarlm.core import ConfigError, Problem, param
from declarlm.hyperopt.searchers.base import Outcome, Sample, Searcher, refuse, searchers
from declarlm.hyperopt.spaces import Interval, Options, Space

_UNBOUNDED = "has no ends, and Optuna searches between two; write uniform, or search_alg: random"
_LISTED = "is not for a search that learns; write choice, or search_alg: random"
_STEPPED = "is not in Optuna; write loguniform or lograndint, or search_alg: random"
_UNORDERED = "has no order, which cmaes needs; write uniform or randint, or search_alg: tpe"


class OptunaSearcher(Searcher):
    """Ask a study of Optuna for each trial.

    The study lives in memory. Optuna's samplers draw from a seeded generator, so asking and telling them the same in
    the same order gives the same trials; that is how a search goes on after a crash.
    """

    class Config(Searcher.Config):
        def check_spaces(self, spaces: Mapping[str, Space.Config]) -> Iterable[Problem]:
            yield from refuse(spaces, ("randn", "qrandn"), _UNBOUNDED)
            yield from refuse(spaces, ("grid_search",), _LISTED)
            yield from refuse(spaces, ("qloguniform", "qlograndint"), _STEPPED)

    def __init__(self, config: Any, spaces: Mapping[str, Space], *, seed: int, num_samples: int | None = None) -> None:
        super().__init__(config, spaces, seed=seed, num_samples=num_samples)
        optuna = _import()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study = optuna.create_study(direction="maximize", sampler=self.make_sampler(optuna))
        self._distributions = {path: _distribution(space.shape) for path, space in spaces.items()}
        self._trials: dict[int, Any] = {}  # trials of Optuna, or samples that it would not draw again

    def make_sampler(self, optuna: Any) -> Any:
        """Return the sampler of Optuna."""
        raise NotImplementedError

    def ask(self, number: int) -> Sample:
        trial = self.study.ask(self._distributions)
        self._trials[number] = trial
        return {path: self._value(path, value) for path, value in trial.params.items()}

    def recall(self, number: int, sample: Sample) -> None:
        if self.ask(number) != {path: sample[path] for path in self.spaces}:
            # Another version of Optuna draws something else: what was trained counts, not what would be.
            self.study.tell(self._trials[number], state=_import().trial.TrialState.FAIL)
            self._trials[number] = sample

    def tell(self, number: int, outcome: Outcome) -> None:
        optuna = _import()
        states = optuna.trial.TrialState
        state = states.COMPLETE if outcome.is_complete else states.PRUNED
        if outcome.score is None:
            state = states.FAIL
        trial = self._trials[number]
        if isinstance(trial, dict):
            if outcome.score is not None:
                self.study.add_trial(self._foreign(trial, state, outcome))
            return
        if outcome.score is not None:
            trial.report(outcome.score, outcome.step)
        self.study.tell(trial, outcome.score if state == states.COMPLETE else None, state=state)

    def _foreign(self, sample: Sample, state: Any, outcome: Outcome) -> Any:
        return _import().trial.create_trial(
            state=state,
            value=outcome.score if outcome.is_complete else None,
            params={path: self._index(path, sample[path]) for path in self.spaces},
            distributions=self._distributions,
            intermediate_values={outcome.step: outcome.score},
        )

    def _value(self, path: str, drawn: Any) -> Any:
        shape = self.spaces[path].shape
        if isinstance(shape, Options):
            return shape.values[drawn]
        return shape.nearest(drawn) if isinstance(shape, Interval) and shape.step else drawn

    def _index(self, path: str, value: Any) -> Any:
        shape = self.spaces[path].shape
        return shape.values.index(value) if isinstance(shape, Options) else value


@searchers.register("tpe")
class Tpe(OptunaSearcher):
    """Prefer values near those of the best trials, by Optuna's tree-structured Parzen estimator.

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011.
    """

    class Config(OptunaSearcher.Config):
        n_startup_trials: int = param("Trials that are drawn at random before it learns.", default=10, min=1)
        multivariate: bool = param("Whether it learns how parameters depend on one another.", default=False)

    def make_sampler(self, optuna: Any) -> Any:
        return optuna.samplers.TPESampler(
            seed=self.seed % 2**32,
            n_startup_trials=self.config.n_startup_trials,  # type: ignore[attr-defined]
            multivariate=self.config.multivariate,  # type: ignore[attr-defined]
        )


@searchers.register("cmaes")
class CmaEs(OptunaSearcher):
    """Move and shape a normal distribution over the parameters towards the best trials, by Optuna's CMA-ES.

    For numbers only, two or more of them, and for searches of a hundred trials rather than ten.
    Source: Hansen, "The CMA Evolution Strategy: A Tutorial", 2016, https://arxiv.org/abs/1604.00772.
    """

    class Config(OptunaSearcher.Config):
        n_startup_trials: int = param("Trials that are drawn at random before it learns.", default=1, min=1)
        sigma0: float | None = param(
            "Width of the first distribution; null is a sixth of the narrowest range.", default=None, above=0
        )

        def check_spaces(self, spaces: Mapping[str, Space.Config]) -> Iterable[Problem]:
            yield from super().check_spaces(spaces)
            yield from refuse(spaces, ("choice",), _UNORDERED)
            if sum(not space.plugin.follows for space in spaces.values()) < 2:
                yield Problem("search_alg", "cmaes needs at least two parameters; write tpe")

    def make_sampler(self, optuna: Any) -> Any:
        return optuna.samplers.CmaEsSampler(
            seed=self.seed % 2**32,
            n_startup_trials=self.config.n_startup_trials,  # type: ignore[attr-defined]
            sigma0=self.config.sigma0,  # type: ignore[attr-defined]
            warn_independent_sampling=False,
        )


def _import() -> Any:
    """Return Optuna.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import cmaes  # noqa: F401  # what Optuna's CMA-ES needs
        import optuna
    except ImportError as error:
        remedy = 'pip install "declarlm[tune]", or write search_alg: random'
        raise ConfigError("config", [Problem("hyperopt.search_alg", f"needs {error.name}: {remedy}")]) from None
    return optuna


def _distribution(shape: Options | Interval | None) -> Any:
    """Return the distribution of Optuna that has a shape; options are drawn by their place."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(shape, Options):
        return CategoricalDistribution(list(range(len(shape.values))))
    if shape is None:
        raise TypeError("a space without a shape passed check_spaces")
    if shape.is_integer:
        return IntDistribution(round(shape.lower), round(shape.upper), log=shape.log, step=round(shape.step or 1))
    return FloatDistribution(shape.lower, shape.upper, log=shape.log, step=shape.step)
