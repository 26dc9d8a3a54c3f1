"""What the configs of both kinds of model have in common, and the rules between their sections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, Self

from declarlm.backends import Backend, backends
from declarlm.core import ConfigError, Problem, Section, param
from declarlm.core.document import Document
from declarlm.core.errors import choose_from
from declarlm.core.section import Rules
from declarlm.data.preprocessing import Preprocessing
from declarlm.evaluation.validation import deciding_metric
from declarlm.features.base import InputFeature, OutputFeature, input_features, output_features
from declarlm.hyperopt.section import Hyperopt
from declarlm.objectives.base import Objective, objectives

# Names under which runs keep numbers that belong to no output.
RESERVED = ("combined", "training", "preferences", "rewards", "contrast", "forgetting", "general")

KINDS: dict[Any, type[ModelConfig]] = {}  # by ``model_type``; each kind enters itself


class ModelConfig(Section):
    """What both kinds of model have; the root section is one of its two subclasses."""

    model_type: Literal["llm", "ecd"] = param("Kind of model: a language model, or encoders with heads.")
    input_features: list[InputFeature.Config] = param("Columns to read.", registry=input_features)
    output_features: list[OutputFeature.Config] = param("Columns to predict.", default=[], registry=output_features)
    preprocessing: Preprocessing = param("How rows are split, sampled and cut.", default=Preprocessing())
    trainer: Objective.Config = param("What is learned, and how.", default="finetune", registry=objectives)
    defaults: dict[str, Any] = param(
        "Parts of features by feature type, such as text: {encoder: bert}; what a feature says itself comes first.",
        default={},
    )
    hyperopt: Hyperopt | None = param("A search for better values; training itself ignores it.", default=None)
    backend: Backend.Config = param("Where trainings and predictions run.", default="local", registry=backends)
    seed: int = param("Seed of every random choice.", default=42, min=0, max=2**63 - 1)

    @classmethod
    def load(cls, data: Any, *, source: str | Document = "config", problems: Iterable[Problem] = ()) -> Self:
        """Validate complete data as the kind of model that ``model_type`` names.

        Raises:
            ConfigError: With every problem found, each at its path.
        """
        if cls is not ModelConfig:
            return super().load(data, source=source, problems=problems)
        if not isinstance(data, Mapping):
            return KINDS["ecd"].load(data, source=source, problems=problems)  # type: ignore[return-value]
        name = data.get("model_type")
        kind = KINDS.get(name) if isinstance(name, str) else None
        found = list(problems)
        if kind is None:
            # Its own problem; what else is wrong is judged by what the config looks like.
            kind = KINDS["llm" if {"base_model", "architecture"} & set(data) else "ecd"]
        other = [key for key in foreign_keys(kind) if key in data]
        found += [Problem(key, f"belongs to model_type {_owner(kind)}, not to {_name(kind)}") for key in other]
        own = {key: value for key, value in data.items() if key not in other}
        return kind.load(own, source=source, problems=found)  # type: ignore[return-value]

    @property
    def objective(self) -> type[Objective]:
        """What ``trainer.type`` names."""
        plugin: type[Objective] = self.trainer.plugin
        return plugin

    @property
    def is_llm(self) -> bool:
        """Whether the model is a language model."""
        return self.model_type == "llm"

    def check(self) -> Rules:
        yield self._names()
        yield self._defaults()
        yield self._objective()
        for index, feature in enumerate(self.output_features):
            yield self._asked(f"output_features[{index}]", feature)
            yield self._output(f"output_features[{index}]", feature)
        for side in ("input_features", "output_features"):
            for index, feature in enumerate(getattr(self, side)):
                yield self._unread(f"{side}[{index}]", feature)
        yield self._deciding()
        yield self.trainer.check_model(self)
        yield self._searched()
        yield self.backend.check_model(self)

    def _defaults(self) -> Iterable[Problem]:
        for name in self.defaults:
            unknown = f"no feature type is named {choose_from(name, input_features)}"
            mapping = "must be a mapping of a feature's keys"
            yield Problem(f"defaults.{name}", mapping if name in input_features else unknown)

    def _objective(self) -> Iterable[Problem]:
        brought = bool(getattr(self, "adapters", None)) and not self.input_features + self.output_features
        if not self.input_features and not brought:
            yield Problem("input_features", "must name at least one column")
        if self.model_type not in self.objective.model_types:
            yield Problem("trainer.type", f"{self.trainer.type!r} is not for model_type {self.model_type!r}")
        if self.objective.needs_outputs and not self.output_features and not brought:
            talks = any(feature.type == "conversation" for feature in self.input_features)
            remedy = "; what a conversation says last is [{name: reply, type: text}]" if talks else ""
            found = f"must name at least one column for trainer.type {self.trainer.type!r}"
            yield Problem("output_features", found + remedy)

    def _deciding(self) -> Iterable[Problem]:
        try:
            deciding_metric(self.output_features, self.trainer)
        except ConfigError as error:
            yield from error.problems

    def _searched(self) -> Iterable[Problem]:
        if self.hyperopt is None:
            return
        if self.hyperopt.executor.plugin.side_by_side and not self.backend.plugin.is_here:
            yield Problem("hyperopt.executor.type", "a trial on it is one process; write inline, or backend: local")
        if not self.objective.trains:
            yield Problem("hyperopt", f"searches values of a training, and trainer.type {self.trainer.type!r} is none")
        try:
            self.hyperopt.measured(self.output_features, self.trainer)
        except ConfigError as error:
            key = {"trainer.validation_field": "output_feature", "trainer.validation_metric": "metric"}
            yield from (replace(problem, path=f"hyperopt.{key[problem.path]}") for problem in error.problems)

    def _names(self) -> Iterable[Problem]:
        seen: dict[str, str] = {}
        for side in ("input_features", "output_features"):
            for index, feature in enumerate(getattr(self, side)):
                path = f"{side}[{index}].name"
                if feature.name in seen:
                    yield Problem(path, f"is {feature.name!r} a second time, first at {seen[feature.name]}")
                seen.setdefault(feature.name, path)

    def _unread(self, path: str, feature: Any) -> Iterable[Problem]:
        for problem in feature.plugin.check_effect(feature, self.model_type):
            yield replace(problem, path=f"{path}.{problem.path}")

    def _asked(self, path: str, feature: OutputFeature.Config) -> Iterable[Problem]:
        # Not by ``source``: of a feature whose type is wrong, only what all types have is known.
        read = {feature.column or feature.name: feature.name for feature in self.input_features}
        source = feature.column or feature.name
        if feature.name in RESERVED:
            remedy = f"write another name, and column: {source}"
            yield Problem(f"{path}.name", f"{feature.name!r} is what the metrics of all outputs are called; {remedy}")
        answers = getattr(getattr(feature, "preprocessing", None), "reply", False)
        if source in read and feature.name != read[source] and not answers:
            column = f"column {source!r} is also that of input {read[source]!r}"
            yield Problem(f"{path}.column", f"{column}: the model would be shown the answer")

    def _output(self, path: str, feature: OutputFeature.Config) -> Rules:
        if self.model_type not in feature.plugin.default_decoders:
            only = ", ".join(map(repr, feature.plugin.default_decoders))
            yield Problem(f"{path}.type", f"{feature.type!r} can be predicted by model_type {only} only")
        for part in ("decoder", "loss"):
            yield self._part(f"{path}.{part}", part, getattr(feature, part))

    def _part(self, path: str, part: str, chosen: Any) -> Iterable[Problem]:
        if chosen is not None and self.model_type not in chosen.plugin.model_types:
            yield Problem(path, f"{chosen.type!r} is no {part} for model_type {self.model_type!r}")


def _name(kind: type[ModelConfig]) -> str:
    return next(repr(name) for name, known in KINDS.items() if known is kind)


def _owner(kind: type[ModelConfig]) -> str:
    return next(repr(name) for name, known in KINDS.items() if known is not kind)


def foreign_keys(kind: type[ModelConfig]) -> list[str]:
    """Return the keys that only the other kind of model has."""
    own = kind.schema().fields
    return [key for other in KINDS.values() for key in other.schema().fields if key not in own]
