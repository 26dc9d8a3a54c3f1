"""The config of encoders with heads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from declarlm.combiners.base import Combiner, combiners
from declarlm.config.base import KINDS, ModelConfig
from declarlm.core import Problem, param
from declarlm.core.section import Rules
from declarlm.encoders.base import encoders
from declarlm.features.base import InputFeature
from declarlm.features.words import tagged_input

if TYPE_CHECKING:
    from declarlm.models.base import Model


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
        for index, output in enumerate(self.output_features):
            if output.plugin.per_word:
                yield self._tagged(f"output_features[{index}]", output)
        yield self._joined()

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

    def _tagged(self, path: str, output: Any) -> Iterable[Problem]:
        found = tagged_input(output, self.input_features)
        if found is None:
            names = [feature.name for feature in self.input_features if hasattr(feature.plugin, "words")]
            which = "is required: name the input whose words are tagged"
            wrong = which if output.of is None else f"no input with words is named {output.of!r}"
            yield Problem(
                f"{path}.of", f"{wrong}, choose from: {', '.join(names)}" if names else f"{wrong}; add a text"
            )
            return
        inputs = {feature.name: feature for feature in self.input_features}
        leader: Any = inputs.get(found.tied, found)
        encoder = leader.encoder
        place = f"input_features[{self.input_features.index(leader)}]"
        if encoder is None or not encoder.plugin.has_tokens:
            fitting = ", ".join(name for name in encoders.where(accepts="text") if encoders[name].has_tokens)
            name = encoder.type if encoder is not None else leader.plugin.default_encoder
            problem = f"{name!r} gives one vector a text, and {output.name!r} tags its words; choose from: {fitting}"
            yield Problem(f"{place}.encoder", problem)
        elif getattr(leader.preprocessing, "cache_encoder_embeddings", None) is True:
            problem = f"keeps one vector a text, and {output.name!r} reads those of its words; leave it out"
            yield Problem(f"{place}.preprocessing.cache_encoder_embeddings", problem)

    def _joined(self) -> Iterable[Problem]:
        """Refuse what shapes the vector of a text where nothing reads it."""
        if not self.output_features or not all(output.plugin.per_word for output in self.output_features):
            return
        if len(self.input_features) == 1 and self.combiner != type(self.combiner)():
            yield Problem("combiner", "has no effect: only words are tagged, and there is one input; leave it out")


KINDS["ecd"] = EcdConfig
