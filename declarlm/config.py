"""The whole config of a model: the sections, the rules between them, and how a file becomes one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from declarlm.adapters.base import Adapter, adapters
from declarlm.backbones.architecture import Architecture
from declarlm.backbones.quantization import Quantization
from declarlm.combiners.base import Combiner, combiners
from declarlm.compat import upgrade
from declarlm.completion import complete
from declarlm.core import ConfigError, Problem, Registry, Section, param
from declarlm.core.document import Document
from declarlm.core.errors import choose_from
from declarlm.core.fields import shown
from declarlm.core.overrides import override
from declarlm.core.section import Rules
from declarlm.core.strict_yaml import read_yaml
from declarlm.data.preprocessing import Preprocessing
from declarlm.data.split import splits
from declarlm.decoders.base import decoders
from declarlm.encoders.base import encoders
from declarlm.evaluation.validation import deciding_metric
from declarlm.features.base import InputFeature, OutputFeature, input_features, output_features
from declarlm.inference.generation import Generation
from declarlm.losses.base import losses
from declarlm.metrics import metrics
from declarlm.objectives.base import Objective, objectives
from declarlm.prompts import Prompt, check_prompt
from declarlm.training.optimizers import optimizers
from declarlm.training.schedules import schedules

if TYPE_CHECKING:
    from declarlm.models.base import Model


# Names under which runs keep numbers that belong to no output.
RESERVED = ("combined", "training")


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
    backend: Literal["local"] = param("Where the work runs.", default="local")
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
            return EcdConfig.load(data, source=source, problems=problems)  # type: ignore[return-value]
        name = data.get("model_type")
        kind = KINDS.get(name) if isinstance(name, str) else None
        found = list(problems)
        if kind is None:
            # Its own problem; what else is wrong is judged by what the config looks like.
            kind = LlmConfig if {"base_model", "architecture"} & set(data) else EcdConfig
        other = [key for key in _foreign(kind) if key in data]
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

    def _defaults(self) -> Iterable[Problem]:
        for name in self.defaults:
            unknown = f"no feature type is named {choose_from(name, input_features)}"
            mapping = "must be a mapping of a feature's keys"
            yield Problem(f"defaults.{name}", mapping if name in input_features else unknown)

    def _objective(self) -> Iterable[Problem]:
        if not self.input_features:
            yield Problem("input_features", "must name at least one column")
        if self.model_type not in self.objective.model_types:
            yield Problem("trainer.type", f"{self.trainer.type!r} is not for model_type {self.model_type!r}")
        if self.objective.needs_outputs and not self.output_features:
            yield Problem("output_features", f"must name at least one column for trainer.type {self.trainer.type!r}")

    def _deciding(self) -> Iterable[Problem]:
        try:
            deciding_metric(self.output_features, self.trainer)
        except ConfigError as error:
            yield from error.problems

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
        if source in read and feature.name != read[source]:
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


class LlmConfig(ModelConfig):
    """A language model that is prompted with the columns of a row."""

    base_model: str | None = param("Hugging Face id or folder of the base model, or 'starter'.", default=None)
    architecture: Architecture | None = param("Shape of a model to train from scratch.", default=None)
    prompt: Prompt = param("How a row becomes a prompt.", default=Prompt())
    adapter: Adapter.Config | None = param("What is trained; null trains all weights.", default=None, registry=adapters)
    quantization: Quantization | None = param("Bits of the frozen base model's weights.", default=None)
    generation: Generation = param("How text is decoded.", default=Generation())

    def build(self, *args: Any, **kwargs: Any) -> Model:
        """Return the model that the config describes, before it has seen a row."""
        from declarlm.models.llm import Llm, LlmSections

        length = self.preprocessing.global_max_sequence_length
        return Llm(
            LlmSections(
                inputs=self.input_features,
                outputs=self.output_features,
                prompt=self.prompt,
                base_model=self.base_model,
                architecture=self.architecture,
                adapter=self.adapter,
                quantization=self.quantization,
                max_length=length if isinstance(length, int) else None,
                overlong=self.preprocessing.overlong,
            )
        )

    def check(self) -> Rules:
        yield from super().check()
        if (self.base_model is None) == (self.architecture is None):
            yield Problem("base_model", "write either base_model or architecture (to start from scratch)")
        yield self._bits()
        yield self._merged()
        yield self._weights()
        yield self._scratch()
        yield self._raw_text()
        for index, feature in enumerate(self.input_features):
            yield self._input(f"input_features[{index}]", feature)
        yield self._prompt()

    def _bits(self) -> Iterable[Problem]:
        bits = self.quantization.bits if self.quantization is not None else 4
        if self.adapter is not None and self.adapter.type == "qlora" and bits != 4:
            found = f"must be 4 for adapter qlora, got {bits}; write adapter: lora to keep it"
            yield Problem("quantization.bits", found)

    def _merged(self) -> Iterable[Problem]:
        after = self.adapter.postprocessor if self.adapter is not None else None
        if after is not None and after.merge_adapter_into_base_model:
            problem = "must be false: a run keeps the adapter beside its base; merge it with PEFT's merge_and_unload"
            yield Problem("adapter.postprocessor.merge_adapter_into_base_model", problem)
        elif after is not None and after.progressbar:
            yield Problem("adapter.postprocessor.progressbar", "has no effect: nothing is merged; leave it out")

    def _weights(self) -> Iterable[Problem]:
        if self.adapter is not None and self.adapter.pretrained_adapter_weights is None and not self.objective.trains:
            remedy = "write trainer: {type: finetune}, or adapter.pretrained_adapter_weights, or leave adapter out"
            yield Problem("adapter", f"is new, and trainer.type {self.trainer.type!r} trains nothing; {remedy}")
        untrainable = self.adapter is None and self.architecture is None and self.objective.trains
        if self.quantization is not None and untrainable:
            yield Problem("quantization", "quantized weights cannot be trained; add adapter: lora")

    def _scratch(self) -> Iterable[Problem]:
        for part in ("adapter", "quantization") if self.architecture is not None else ():
            if getattr(self, part) is not None:
                yield Problem(part, "is for a pretrained base_model; all weights of an architecture are trained")
        if self.architecture is not None and not self.objective.trains:
            yield Problem("trainer.type", "a model from scratch knows nothing; write trainer: {type: pretrain}")

    def _raw_text(self) -> Iterable[Problem]:
        if self.objective.needs_outputs:
            return
        learns = f"has no effect: trainer.type {self.trainer.type!r} learns the raw text of one column"
        remedy = "leave it out, or write trainer.type: finetune"
        if self.output_features:
            yield Problem("output_features", f"{learns}; {remedy}")
        if len(self.input_features) > 1:
            yield Problem("input_features[1]", f"{learns}; {remedy}")
        if self.prompt != Prompt():
            yield Problem("prompt", f"{learns}; {remedy}")
        if self.preprocessing.overlong != "cut":
            yield Problem("preprocessing.overlong", f"{learns}, in pieces; {remedy}")

    def _input(self, path: str, feature: InputFeature.Config) -> Iterable[Problem]:
        for part in ("tied", "encoder"):
            if getattr(feature, part) is not None:
                problem = "belongs to model_type 'ecd'; a language model reads the column as text"
                yield Problem(f"{path}.{part}", problem)

    def _prompt(self) -> Iterable[Problem]:
        inputs = [feature.name for feature in self.input_features]
        outputs = [feature.name for feature in self.output_features]
        yield from check_prompt(self.prompt, inputs, outputs)


class EcdConfig(ModelConfig):
    """Encoders, a combiner and decoders: one vector per column, joined, read out by a head per output."""

    combiner: Combiner.Config = param("How the columns' vectors are joined.", default="concat", registry=combiners)

    def build(self, *args: Any, **kwargs: Any) -> Model:
        """Return the model that the config describes, before it has seen a row."""
        from declarlm.models.ecd import Ecd, EcdSections

        return Ecd(EcdSections(self.input_features, self.output_features, self.combiner))

    def check(self) -> Rules:
        yield from super().check()
        yield self._combined()
        yield self._lengths()
        for index, feature in enumerate(self.input_features):
            yield self._tied(f"input_features[{index}].tied", feature)

    def _combined(self) -> Iterable[Problem]:
        for problem in self.combiner.check_inputs(list(dict.fromkeys(feature.name for feature in self.input_features))):
            yield replace(problem, path=f"combiner.{problem.path}")

    def _lengths(self) -> Iterable[Problem]:
        if self.preprocessing.global_max_sequence_length not in ("auto", None):
            problem = "is for the rows of a language model; write preprocessing.max_sequence_length of a text input"
            yield Problem("preprocessing.global_max_sequence_length", problem)
        if self.preprocessing.overlong != "cut":
            problem = "is for the rows of a language model; leave it out, an encoder reads the beginning of a text"
            yield Problem("preprocessing.overlong", problem)

    def _tied(self, path: str, feature: InputFeature.Config) -> Iterable[Problem]:
        if feature.tied is None:
            return
        inputs = {other.name: other for other in self.input_features}
        leader = inputs.get(feature.tied)
        if leader is None or leader is feature:
            yield Problem(path, f"no other input is named {feature.tied!r}")
        elif leader.type != feature.type or leader.tied is not None:
            fits = f"an input of type {feature.type!r} that is not tied itself"
            yield Problem(path, f"must name {fits}, {feature.tied!r} is none")
        elif feature.encoder is not None:
            yield Problem(path, f"shares the encoder of {feature.tied!r}; remove encoder")


KINDS: dict[Any, type[ModelConfig]] = {"llm": LlmConfig, "ecd": EcdConfig}


REGISTRIES: dict[str, Registry[Any]] = {
    "input_features": input_features,
    "output_features": output_features,
    "encoders": encoders,
    "combiners": combiners,
    "decoders": decoders,
    "losses": losses,
    "metrics": metrics,
    "adapters": adapters,
    "objectives": objectives,
    "optimizers": optimizers,
    "schedules": schedules,
    "splits": splits,
}


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft-07) of what people write: all that ``complete`` fills in may be left out.

    Every key stands at the top, so that an editor offers it; those of the other kind of model are then refused.
    """
    from declarlm.core.json_schema import DRAFT, json_schema

    schemas = {name: json_schema(kind, untyped=("encoder", "decoder", "loss")) for name, kind in KINDS.items()}
    properties = {key: value for schema in schemas.values() for key, value in schema["properties"].items()}
    named = {"properties": {"model_type": {"const": "llm"}}, "required": ["model_type"]}
    given = {"not": {"type": "null"}}
    implied = [{"required": [key], "properties": {key: given}} for key in ("base_model", "architecture")]
    is_llm = {"anyOf": [named, {"properties": {"model_type": {"type": "null"}}, "anyOf": implied}]}
    properties |= {key: {"anyOf": [properties[key], {"type": "null"}]} for key in ("model_type", "trainer")}
    refused = {name: dict.fromkeys(_foreign(kind), False) for name, kind in KINDS.items()}
    return {
        "$schema": DRAFT,
        "title": "Declarlm config",
        "type": "object",
        "properties": {"$schema": {"type": "string", "description": "Where this schema lies."}, **properties},
        "additionalProperties": False,
        "required": ["input_features"],
        "if": is_llm,
        "then": {"properties": refused["llm"], "anyOf": implied},
        "else": {"properties": refused["ecd"]},
        "definitions": dict(sorted({**schemas["llm"]["definitions"], **schemas["ecd"]["definitions"]}.items())),
    }


def _name(kind: type[ModelConfig]) -> str:
    return next(repr(name) for name, known in KINDS.items() if known is kind)


def _owner(kind: type[ModelConfig]) -> str:
    return next(repr(name) for name, known in KINDS.items() if known is not kind)


def _foreign(kind: type[ModelConfig]) -> list[str]:
    """Return the keys that only the other kind of model has."""
    own = kind.schema().fields
    return [key for other in KINDS.values() for key in other.schema().fields if key not in own]


def load_config(
    source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | Iterable[str] | None = None
) -> ModelConfig:
    """Validate a YAML file, YAML text or a mapping, with every default filled in.

    Args:
        source: Path of a YAML file, YAML text, or plain data.
        overrides: Values by dotted path, or ``path=value`` texts as on the command line.

    Raises:
        ConfigError: With every problem found, each with its path, and its line if it came from a file.
    """
    document = read_config(source, overrides)
    return ModelConfig.load(document.data, source=document, problems=document.problems)


def read_config(
    source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | Iterable[str] | None = None
) -> Document:
    """Return a config before validation: in today's spelling, overridden and complete."""
    if not isinstance(source, str | Path | Mapping):
        raise ConfigError("config", [Problem("", f"must be a path, YAML text or a mapping, got {shown(source)}")])
    document = Document(dict(source)) if isinstance(source, Mapping) else read_yaml(source)
    if not document.data:
        raise ConfigError(document, [Problem("", "is empty; it needs at least input_features and output_features")])
    changes = {} if overrides is None else overrides
    document = override(upgrade(document), changes, keys={*LlmConfig.schema().fields, *_foreign(LlmConfig)})
    return complete(document)
