"""The config of a language model that is tuned on prompts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from declarlm.adapters.base import Adapter, adapters, check_merging
from declarlm.adapters.named import NamedAdapter
from declarlm.backbones.architecture import Architecture
from declarlm.backbones.parameters import ModelParameters
from declarlm.backbones.quantization import Quantization
from declarlm.config.adapters import check_adapters, several
from declarlm.config.base import KINDS, ModelConfig
from declarlm.core import Problem, param
from declarlm.core.section import Rules
from declarlm.features.base import InputFeature
from declarlm.inference.generation import Generation
from declarlm.prompts import Prompt, check_prompt, system_columns

if TYPE_CHECKING:
    from declarlm.models.base import Model
    from declarlm.models.prompted import LlmSections


NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}  # what torch calls a type


class LlmConfig(ModelConfig):
    """A language model that is prompted with the columns of a row."""

    base_model: str | None = param("Hugging Face id or folder of the base model, or 'starter'.", default=None)
    architecture: Architecture | None = param("Shape of a model to train from scratch.", default=None)
    prompt: Prompt = param("How a row becomes a prompt.", default=Prompt())
    adapter: Adapter.Config | None = param("What is trained; null trains all weights.", default=None, registry=adapters)
    adapters: dict[str, str | NamedAdapter] = param(
        "Trained adapters to switch between, by name: a run directory, or folder or Hub name of an adapter, or a "
        "section; what comes from a run is prompted and answered as there.",
        default={},
    )
    active_adapter: str | None = param("The adapter in use at first; null is the first of adapters.", default=None)
    adapter_column: str | None = param(
        "Column that names the adapter of each row, base for none; null is the one in use for all rows.", default=None
    )
    dtype: Literal["auto", "bf16", "fp16", "fp32"] = param(
        "Type of the base's frozen weights and, unless trainer.precision is written, of the arithmetic in training; "
        "auto is bf16 on a GPU, and fp32 weights on a CPU. Weights that train are always fp32.",
        default="auto",
    )
    device_map: Literal["auto"] | None = param(
        "auto spreads the layers of a base that is too large for one GPU over all GPUs; null keeps them on one.",
        default=None,
    )
    quantization: Quantization | None = param("Bits of the frozen base model's weights.", default=None)
    generation: Generation = param("How text is decoded.", default=Generation())
    model_parameters: ModelParameters = param(
        "What is changed about the base beside its weights.", default=ModelParameters()
    )

    def build(self, *args: Any, **kwargs: Any) -> Model:
        """Return the model that the config describes, before it has seen a row."""
        from declarlm.models.llm import Llm

        return Llm(self.sections()) if not self.adapters else several(self)

    @property
    def is_chat(self) -> bool:
        """Whether the one input is a conversation, and the one output is what is said next."""
        kinds = [feature.type for feature in (*self.input_features, *self.output_features)]
        return kinds == ["conversation", "text"] and self.prompt.template is None and self.prompt.task is None

    def sections(self) -> LlmSections:
        """Return what describes the model."""
        from declarlm.models.prompted import LlmSections

        length = self.preprocessing.global_max_sequence_length
        return LlmSections(
            inputs=self.input_features,
            outputs=self.output_features,
            prompt=self.prompt,
            is_chat=self.is_chat,
            base_model=self.base_model,
            architecture=self.architecture,
            adapter=self.adapter,
            quantization=self.quantization,
            max_length=length if isinstance(length, int) else None,
            overlong=self.preprocessing.overlong,
            cuts_answers=self.objective.cuts_answers,
            parameters=self.model_parameters,
            dtype=NAMES.get(self.dtype, "auto"),
            spread=self.device_map is not None,
            joined_for=self.trainer.type if self.objective.joins else None,
        )

    def check(self) -> Rules:
        yield from super().check()
        if (self.base_model is None) == (self.architecture is None):
            yield Problem("base_model", "write either base_model or architecture (to start from scratch)")
        yield self._bits()
        yield self._merged()
        yield check_adapters(self)
        yield self._weights()
        yield self._scratch()
        yield self._parameters()
        yield self._placed()
        yield self._raw_text()
        for index, feature in enumerate(self.input_features):
            yield self._input(f"input_features[{index}]", feature)
        yield self._prompt()
        yield self._chat()

    def _bits(self) -> Iterable[Problem]:
        bits = self.quantization.bits if self.quantization is not None else 4
        if self.adapter is not None and self.adapter.type == "qlora" and bits != 4:
            found = f"must be 4 for adapter qlora, got {bits}; write adapter: lora to keep it"
            yield Problem("quantization.bits", found)

        if self.adapter is not None and self.quantization is not None and not self.adapter.plugin.takes_bits:
            problem = f"must be absent for adapter {self.adapter.type}, which trains weights of the base itself"
            yield Problem("quantization", f"{problem}; write adapter: lora to keep it")

    def _merged(self) -> Iterable[Problem]:
        for problem in check_merging(self.adapter):
            yield replace(problem, path=f"adapter.{problem.path}")

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

    def _parameters(self) -> Iterable[Problem]:
        if self.architecture is not None and self.model_parameters.rope_scaling is not None:
            yield Problem("model_parameters.rope_scaling", "is for a base_model; write architecture.context_length")
        if self.model_parameters.neftune_noise_alpha and not self.objective.trains:
            problem = f"has no effect: trainer.type {self.trainer.type!r} trains nothing; leave it out"
            yield Problem("model_parameters.neftune_noise_alpha", problem)

    def _placed(self) -> Iterable[Problem]:
        if self.device_map is not None and not self.backend.plugin.is_here:
            problem = "is for one process, and each one of the backend holds the base on its own device; leave it out"
            yield Problem("device_map", problem)
        if self.device_map is not None and self.architecture is not None:
            yield Problem("device_map", "is for a pretrained base_model; leave it out")
        if self.dtype not in ("auto", "fp32") and self.adapter is None and self.objective.trains:
            remedy = "write trainer.precision for the arithmetic, or an adapter"
            yield Problem("dtype", f"must be fp32 or auto where all weights train, got {self.dtype}; {remedy}")

    def _raw_text(self) -> Iterable[Problem]:
        if self.objective.needs_outputs or "llm" not in self.objective.model_types:
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

    def _chat(self) -> Iterable[Problem]:
        for index, feature in enumerate(self.output_features):
            given = feature.preprocessing
            if getattr(given, "reply", False) and not (
                self.is_chat and feature.source == self.input_features[0].source
            ):
                problem = "is for a conversation that is the only input, read by no prompt.template or prompt.task"
                yield Problem(f"output_features[{index}].preprocessing.reply", f"{problem}; leave it out")
        if not self.is_chat:
            return
        for key in ("answer", "retrieval"):
            if getattr(self.prompt, key) is not None:
                problem = "has no effect on a conversation, which goes through the chat template as it is"
                yield Problem(f"prompt.{key}", f"{problem}; leave it out")
        given = self.output_features[0].preprocessing
        name = self.input_features[0].name
        if given.reply and name in system_columns(self.prompt, [name]):
            yield Problem("prompt.system", f"names the conversation {name!r}: the model would be shown the answer")
        where = "output_features[0].preprocessing"
        if given.reply and given.missing_value_strategy not in ("error", "drop_row"):
            found = f"must be error or drop_row for a reply, got {given.missing_value_strategy}"
            yield Problem(f"{where}.missing_value_strategy", found)
        if given.reply and given.alternatives:
            yield Problem(
                f"{where}.alternatives", "is for a column of answers, and a conversation has one; leave it out"
            )
        if given.reply and given.max_sequence_length is not None:
            remedy = "write generation.max_new_tokens for the length of what is written"
            yield Problem(f"{where}.max_sequence_length", f"is for a column of answers; {remedy}")

    def _prompt(self) -> Iterable[Problem]:
        inputs = [feature.name for feature in self.input_features]
        outputs = [feature.name for feature in self.output_features]
        yield from check_prompt(self.prompt, inputs, outputs)


KINDS["llm"] = LlmConfig
