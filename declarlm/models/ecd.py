"""Encoders, a combiner and decoders on a table: columns become vectors, one vector a row, and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from declarlm.adapters.into_base import Merged, Precision, worst
from declarlm.combiners.base import Combiner
from declarlm.core import ModelError
from declarlm.core.batching import in_batches
from declarlm.core.ragged import Ragged
from declarlm.data.hidden import HiddenStore, hidden_store, token_budget
from declarlm.data.tables import require_columns
from declarlm.encoders.base import Encoder, grouped, load_weights
from declarlm.features.base import InputFeature, OutputFeature, Raw
from declarlm.features.sequence import OUTSIDE
from declarlm.losses.base import Loss
from declarlm.models.base import Model, part
from declarlm.models.tagging import (
    check_words,
    fill_in,
    flat,
    known_targets,
    tagged_inputs,
    tokens_of_words,
    unscored,
    without_unread,
    word_batch,
)

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor, nn

    from declarlm.layers.ecd_model import EcdModel

HEADS, ENCODERS = "heads.safetensors", "encoders"
# Where fully connected layers stand between the encoders and the scores.
DEEP_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class EcdSections:
    """The sections of a config that describe an ecd model."""

    inputs: Sequence[InputFeature.Config]
    outputs: Sequence[OutputFeature.Config]
    combiner: Combiner.Config


@dataclass(eq=False)
class EcdStore:
    """Rows of a table as the encoders read them.

    Attributes:
        inputs: Each input's rows, by name: an array whose first axis is the row, or a Ragged.
        targets: Each output's targets, by name; none where only predictions are wanted.
        costs: Tokens that each row costs, ``int64 (rows,)``; 1 where the vectors of all texts are kept.
        words: Which token stands for each word, by name of the output that tags it; -1 for a word not read.
        vectors: Vectors of frozen encoders, by input name, filled in when they are first needed.
    """

    inputs: dict[str, Any]
    targets: dict[str, np.ndarray[Any, Any] | Ragged]
    costs: np.ndarray[Any, Any]
    words: dict[str, Ragged]
    vectors: dict[str, HiddenStore] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.costs)


class Ecd(Model):
    """Columns that are encoded, joined, and read out by one head per output.

    Attributes:
        sections: What the config says.
        encoders: The encoders, by the name of the first input that uses them.
        losses_of: The loss of each output, by name.
        module: The network, an ``EcdModel``.
    """

    module: EcdModel

    def __init__(self, sections: EcdSections) -> None:
        self.sections = sections
        self.inputs: list[InputFeature] = [config.build() for config in sections.inputs]
        self.outputs: list[OutputFeature] = [config.build() for config in sections.outputs]
        self.encoders: dict[str, Encoder] = {}
        self.losses_of: dict[str, Loss] = {}
        self._recent_vectors: dict[str, np.ndarray[Any, Any]] = {}
        self._leader = {feature.name: feature.config.tied or feature.name for feature in self.inputs}
        self._tagged = tagged_inputs(self.inputs, self.outputs)

    def columns_read(self, table: pd.DataFrame) -> list[str]:
        return [feature.config.source for feature in self.inputs]

    def learn(self, train: pd.DataFrame, *held_out: pd.DataFrame) -> None:
        super().learn(train, *held_out)
        for table in held_out:
            for feature in self.inputs:
                feature.fill(feature.read(table[feature.config.source]))
        for table in (train, *held_out):
            check_words(self.outputs, self._tagged, table)

    def fit_features(self, train: pd.DataFrame) -> None:
        for output in self.outputs:
            output.fit(train[output.config.source])
        for _, group in self._groups():
            leader = group[0].fit(_together(train, group))
            for feature in group[1:]:
                feature.state = leader.state

    def open(self, table: pd.DataFrame, *, seed: int, folder: Path) -> Self:
        for name, group in self._groups():
            if self.start is not None:
                self._restore_encoder(name, group[0], self.start.states)
            else:
                encoder = group[0].make_encoder()
                self.encoders[name] = encoder.fit(group[0].transform(_together(table, group)))
        return self._with_losses()

    def _restore_encoder(self, name: str, leader: InputFeature, states: Mapping[str, Any]) -> Encoder:
        encoder = leader.make_encoder()
        encoder.state = encoder.State.load(part(states, "encoders", name))
        self.encoders[name] = encoder
        return encoder

    def _groups(self) -> Iterator[tuple[str, list[InputFeature]]]:
        """Yield the inputs that share an encoder, by the name of the one that the others are tied to."""
        for name in dict.fromkeys(self._leader.values()):
            group = [feature for feature in self.inputs if self._leader[feature.name] == name]
            yield name, sorted(group, key=lambda feature: feature.name != name)

    def _with_losses(self) -> Self:
        self.losses_of = {output.name: output.make_loss("ecd") for output in self.outputs}
        self.importance = {name: float(loss.config.weight) for name, loss in self.losses_of.items()}
        return self

    def encode(self, table: pd.DataFrame) -> EcdStore:
        """Return rows with their targets."""
        require_columns(table, [output.config.source for output in self.outputs])
        check_words(self.outputs, self._tagged, table)
        targets: dict[str, Any] = {output.name: output.targets(table[output.config.source]) for output in self.outputs}
        store = self._store(table, targets)
        for name, tokens in store.words.items():
            store.targets[name] = known_targets(targets[name], tokens)
        return store

    def encode_inputs(self, table: pd.DataFrame) -> EcdStore:
        """Return rows without targets, to be predicted."""
        return self._store(table, {})

    def _store(self, table: pd.DataFrame, targets: dict[str, Any]) -> EcdStore:
        import numpy as np

        require_columns(table, [feature.config.source for feature in self.inputs])
        inputs: dict[str, Any] = {}
        costs = np.zeros(len(table), dtype=np.int64)
        for feature in self.inputs:
            encoder = self._encoder(feature.name)
            inputs[feature.name] = encoder.transform(feature.transform(table[feature.config.source]))
            if not self._cached(feature):
                costs += encoder.costs(inputs[feature.name])
        words = {
            name: tokens_of_words(self._encoder(feature.name), feature, table) for name, feature in self._tagged.items()
        }
        return EcdStore(inputs, targets, np.maximum(costs, 1), words)

    def overlong(self, store: EcdStore, num_rows: int) -> list[str]:
        found = []
        for feature in self.inputs:
            limit = self._encoder(feature.name).max_length
            reach = 0 if limit is None else int((store.inputs[feature.name].lengths >= limit).sum())
            if reach:
                found.append(
                    f"{reach} of {num_rows} rows of {feature.name!r} reach {limit} tokens; what is beyond is cut"
                )
        for name, tokens in store.words.items():
            unread = int((tokens.values < 0).sum())
            if unread:
                words = f"{unread} of {len(tokens.values)} words of {self._tagged[name].name!r}"
                found.append(f"{words} are empty or beyond what is read, and tagged {OUTSIDE} by {name!r}")
        return found

    def encoder(self, name: str) -> tuple[Encoder, Any]:
        """Return the encoder of an input, and its module."""
        return self._encoder(name), self.module.encoders[self.module.encoder_of[name]]

    def _encoder(self, name: str) -> Encoder:
        return self.encoders[self._leader[name]]

    def _cached(self, feature: InputFeature) -> bool:
        """Return whether an input's vectors are computed once and kept."""
        wanted = getattr(feature.config.preprocessing, "cache_encoder_embeddings", False)
        # One vector for each word of every text would take gigabytes where one for each text takes megabytes.
        by_word = any(feature is tagged for tagged in self._tagged.values())
        return wanted is not False and not by_word and self._encoder(feature.name).frozen

    def build(self, *, total_steps: int, seed: int, device: str, shards: bool = False) -> Self:
        import torch

        if self.start is not None:
            self._load(self.start.folder, trainable=True)
            self.module = self.module.to(device)
            return self
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            modules = [encoder.build() for encoder in self.encoders.values()]
            for encoder, module in zip(self.encoders.values(), modules, strict=True):
                encoder.adapt(module, total_steps=total_steps, seed=seed)
            self.module = self._assemble(modules).to(device)
        return self

    def _assemble(self, modules: list[Any]) -> EcdModel:
        from declarlm.layers.ecd_model import EcdModel

        places = {name: place for place, name in enumerate(self.encoders)}
        encoder_of = {feature.name: places[self._leader[feature.name]] for feature in self.inputs}
        combiner = self.sections.combiner.build()
        joined = combiner.build({name: int(modules[place].width) for name, place in encoder_of.items()})
        heads = {}
        for output in self.outputs:
            decoder: Any = output.make_decoder("ecd")
            width = int(joined.width) * (output.name not in self._tagged or len(self.inputs) > 1)
            if output.name in self._tagged:
                width += int(modules[encoder_of[self._tagged[output.name].name]].width)
            heads[output.name] = decoder.build(width, output.num_scores)
        return EcdModel(modules, encoder_of, joined, heads, {name: one.name for name, one in self._tagged.items()})

    def weights(self, store: EcdStore, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        return {name: loss.denominator(flat(store.targets[name], rows)) for name, loss in self.losses_of.items()}

    def losses(self, store: EcdStore, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
        return self._losses(self.module(self._batch(store, rows)), store, rows)

    def head_losses(
        self, store: EcdStore, rows: np.ndarray[Any, Any], vectors: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        """Return the losses of rows whose encoders' vectors are known, ``(rows, width)`` by input name."""
        return self._losses(self.module({name: {"pooled": pooled} for name, pooled in vectors.items()}), store, rows)

    def _losses(
        self, scores: Mapping[str, Tensor], store: EcdStore, rows: np.ndarray[Any, Any]
    ) -> Mapping[str, Tensor]:
        import torch

        targets = {name: torch.from_numpy(flat(values, rows)).to(self.device) for name, values in store.targets.items()}
        return {name: loss.sum(scores[name], targets[name]) for name, loss in self.losses_of.items()}

    def predict(self, store: EcdStore) -> dict[str, Raw]:
        """Return what the model says about every output of every row, by output name, in the store's order."""
        import numpy as np
        import torch

        scores: dict[str, Any] = {
            output.name: np.zeros((len(store), output.num_scores), dtype=np.float32)
            if output.name not in self._tagged
            else unscored(store.words[output.name], output.num_scores)
            for output in self.outputs
        }
        was_training = self.module.training

        def run(rows: np.ndarray[Any, Any]) -> None:
            for name, values in self.module(self._batch(store, rows)).items():
                fill_in(scores[name], rows, values.float().cpu().numpy())

        self.module.eval()
        with torch.inference_mode():
            in_batches(store.costs, self.device, run, token_budget(self.device))
        self.module.train(was_training)
        for name, tokens in store.words.items():
            scores[name] = without_unread(scores[name], tokens)
        return {output.name: output.raw(scores[output.name]) for output in self.outputs}

    @property
    def device(self) -> Any:
        """Where the module computes."""
        return next(self.module.parameters()).device

    def _batch(self, store: EcdStore, rows: np.ndarray[Any, Any]) -> dict[str, dict[str, Tensor]]:
        import torch

        batch: dict[str, dict[str, Tensor]] = {}
        for feature in self.inputs:
            if self._cached(feature):
                batch[feature.name] = {"pooled": torch.from_numpy(self._vectors(store, feature.name).take(rows))}
            else:
                values = store.inputs[feature.name]
                some = values.take(rows) if isinstance(values, Ragged) else values[rows]
                batch[feature.name] = self._encoder(feature.name).collate(some)
        for name, tokens in store.words.items():
            batch[name] = word_batch(tokens.take(rows))
        return {name: {key: value.to(self.device) for key, value in kinds.items()} for name, kinds in batch.items()}

    def _vectors(self, store: EcdStore, name: str) -> HiddenStore:
        """Return the vectors of a frozen encoder, computed when they are first needed."""
        if name not in store.vectors:
            encoder, module = self.encoder(name)
            store.vectors[name] = hidden_store(encoder, module, store.inputs[name], self._recent_vectors)
        return store.vectors[name]

    def parameter_groups(self, learning_rate: float | Literal["auto"]) -> list[dict[str, Any]]:
        """Return the trainable weights in groups for an optimizer, each with its learning rate.

        Args:
            learning_rate: ``auto`` for the rate that suits each part. A number is everybody's rate, but where
                pretrained weights or adapters are trained, it is theirs, and new layers are not slower than usual.
        """
        from torch import nn

        given = None if learning_rate == "auto" else learning_rate
        pairs = list(zip(self.encoders.values(), self.module.encoders, strict=True))
        delicate = any(encoder.pretrained and not encoder.frozen for encoder, _ in pairs)
        groups = []
        for encoder, module in pairs:
            own = given
            if given is not None and delicate and not encoder.pretrained:
                own = max(given, encoder.learning_rate)
            groups += encoder.parameter_groups(module, own)
        deep = sum(isinstance(part, nn.Linear) for part in self._own.modules()) > len(self.outputs)
        usual_rate = DEEP_LEARNING_RATE if deep else self.sections.combiner.plugin.learning_rate
        rate = max(given or 0.0, usual_rate) if delicate else given or usual_rate
        return groups + grouped(self._own, rate)

    def hooks(self) -> Sequence[Any]:
        pairs = zip(self.encoders.values(), self.module.encoders, strict=True)
        return [hook for encoder, module in pairs for hook in encoder.hooks(module)]

    def states(self) -> dict[str, Any]:
        return {
            **super().states(),
            "encoders": {name: encoder.state.dump() for name, encoder in self.encoders.items()},
        }

    def save(self, folder: Path, digest: Any = None) -> None:
        for place, encoder, module in self._placed(folder):
            encoder.save(module, place)
        self.merged = worst([encoder.merged for encoder in self.encoders.values()])
        self._save_heads(folder)

    def save_merged(self, folder: Path, precision: Precision = "auto") -> Merged:
        self.merged = worst(
            [encoder.save_merged(module, at, precision) for at, encoder, module in self._placed(folder)]
        )
        if self.merged is None:
            raise ModelError("the model has no adapter of its own")
        self._save_heads(folder)
        return self.merged

    def _placed(self, folder: Path) -> Iterator[tuple[Path, Encoder, Any]]:
        """Yield each encoder with its module and the folder that it is saved in."""
        for place, (encoder, module) in enumerate(zip(self.encoders.values(), self.module.encoders, strict=True)):
            yield folder / ENCODERS / str(place), encoder, module

    def _save_heads(self, folder: Path) -> None:
        from safetensors.torch import save

        from declarlm.core.files import write_bytes

        write_bytes(folder / HEADS, save(self._own.state_dict()))

    @property
    def _own(self) -> nn.Module:
        """What no encoder saves: the combiner and the heads."""
        from torch import nn

        return nn.ModuleDict({"combiner": self.module.combiner, "heads": self.module.heads})

    def restore(self, folder: Path, states: Mapping[str, Any], *, device: str) -> Self:
        self.restore_features(states)
        for name, group in self._groups():
            self._restore_encoder(name, group[0], states)
        self._load(folder)
        self.module = self.module.to(device).eval()
        return self._with_losses()

    def _load(self, folder: Path, *, trainable: bool = False) -> None:
        """Make the module of what ``save`` wrote."""
        places = enumerate(self.encoders.values())
        modules = [encoder.load(folder / ENCODERS / str(place), trainable=trainable) for place, encoder in places]
        self.module = self._assemble(modules)
        load_weights(self._own, folder / HEADS)


def _together(table: pd.DataFrame, group: Sequence[InputFeature]) -> pd.Series:
    """Return the columns that share an encoder as one, the later ones below the first."""
    import pandas as pd

    columns: list[pd.Series] = [table[feature.config.source] for feature in group]
    if len(columns) == 1:
        return columns[0]
    joined = pd.concat(columns, ignore_index=True)
    joined.name = columns[0].name
    return joined
