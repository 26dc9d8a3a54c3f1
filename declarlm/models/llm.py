"""A language model on a table: prompted rows, and the weights that learn to answer them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self, cast

from declarlm.adapters.base import Adapter, BoundAdapter
from declarlm.adapters.beside import load_beside
from declarlm.adapters.into_base import Merged, Precision, merge_into_base, precision_of
from declarlm.adapters.named import open_adapter
from declarlm.backbones import open_backbone
from declarlm.backbones.sharing import share_weights
from declarlm.core import ModelError
from declarlm.core.batching import in_batches
from declarlm.core.files import read_json, write_json
from declarlm.data.retrieval import ExampleIndex
from declarlm.features.base import OutputFeature
from declarlm.models.base import part
from declarlm.models.causal import build_causal, collate
from declarlm.models.llm_rows import LlmRows
from declarlm.models.llm_weights import check_scores, doubt_about_the_bits, load_base, placed, score, weight_groups
from declarlm.models.prompted import WEIGHTS, LlmSections, Prompted

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from declarlm.layers.causal_model import CausalModel

READ_TOKENS = 8192  # of training rows that an adapter may look at before it starts
ADAPTER, PROMPT, GOLDEN, MERGED = "adapter", "prompt.json", "golden.json", "merged.json"


class Llm(Prompted):
    """A language model that reads a row as a prompt and writes the outputs as an answer.

    Attributes:
        module: The network, a ``CausalModel``.
    """

    module: CausalModel

    def __init__(self, sections: LlmSections) -> None:
        super().__init__(sections)
        self.importance = {output.name: _importance(output) for output in self.outputs} or {"tokens": 1.0}
        self._owns_weights = False  # whether the base's weights are this model's own
        self._is_new = False
        self._adapter: Adapter | None = sections.adapter.build() if sections.adapter is not None else None

    def remarks(self) -> list[str]:
        quantized = self.sections.quantization is not None
        doubts = doubt_about_the_bits(self.module.backbone, str(self.sections.base_model)) if quantized else []
        return doubts + self._doubt_about_the_end()

    def _doubt_about_the_end(self) -> list[str]:
        """Return a warning if answers are written freely and the base cannot tell their end from other tokens."""
        if all(not output.is_free and output.config.type != "number" for output in self.outputs):
            return []
        stop = self.encoder.stop_id
        twins = self.module.head.num_twins(stop)
        doubt = (
            f"{self.sections.base_model} never learned its stop token "
            f"{self.backbone.tokenizer.convert_ids_to_tokens(stop)!r}: its output weights equal those of {twins} other "
            "tokens and stay frozen, so answers will rarely end; choose another base_model, or train all weights "
            "(adapter: null)"
        )
        return [doubt] if twins else []

    def build(self, *, total_steps: int, seed: int, device: str, shards: bool = False) -> Self:
        if self.start is not None and self.sections.adapter is not None:
            folder = str(self.start.folder / ADAPTER)
            self._adapter = self.sections.adapter.replace(pretrained_adapter_weights=folder).build()
        place, trains = "cpu" if shards else device, total_steps > 0
        network = load_base(self.backbone, self.sections, self._adapter, trains=trains, device=device, place=place)
        if self._adapter is not None:
            network = self._adapter.attach(network, total_steps=total_steps, seed=seed)
            self._is_new = self._adapter.config.pretrained_adapter_weights is None and total_steps > 0
        elif total_steps:
            network.requires_grad_(True)
            self._owns_weights = True
        self.module = build_causal(placed(network, place), noise_alpha=self.sections.parameters.neftune_noise_alpha)
        return self

    def prepare(self, store: Any, *, seed: int) -> None:
        if self._adapter is None or not self._adapter.reads_rows:
            return
        import numpy as np

        from declarlm.layers.causal_model import evaluating

        read = store.single() if hasattr(store, "single") else store  # of pairs, the better answers
        order = np.random.default_rng(seed).permutation(len(read))
        rows = order[: max(1, int((np.cumsum(read.costs[order]) <= READ_TOKENS).sum()))]

        def run() -> None:
            def some(places: np.ndarray[Any, Any]) -> None:
                self.losses(read, rows[places])

            with evaluating(self.module):
                in_batches(read.costs[rows], self.module.device, some)

        self._adapter.prepare(self.module.backbone, run)

    def share(self) -> None:
        if self.sections.base_model is not None and self._adapter is not None and self.sections.quantization is None:
            share_weights(open_backbone(self.sections.base_model))

    def weights(self, store: LlmRows, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        supervised = float(store.supervised[rows].sum())
        return dict.fromkeys(self.importance, supervised)

    def own_weights(self, store: LlmRows, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        import numpy as np

        if len(self.importance) == 1:
            return self.weights(store, rows)
        fields = store.tokens.fields.take(rows).values
        counts = np.bincount(fields[fields >= 0], minlength=len(self.outputs)).astype(float)
        counts[-1] += float(store.supervised[rows].sum()) - counts.sum()  # as in ``losses``
        return dict(zip(self.importance, counts.tolist(), strict=True))

    def losses(self, store: LlmRows, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
        tokens = store.tokens
        batch = collate(self.module, *(part.take(rows) for part in (tokens.ids, tokens.roles, tokens.fields)))
        if len(self.importance) == 1:
            return dict.fromkeys(self.importance, self.module.losses(batch))
        scores = self.module(batch)
        losses = dict(zip(self.importance, -batch.by_field(scores, len(self.outputs)).sum(0), strict=True))
        # What stands between two answers, and the end, counts for the last one.
        last = self.outputs[-1].name
        losses[last] = losses[last] - scores[batch.fields < 0].sum()
        return losses

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        if self._adapter is not None:
            return self._adapter.parameter_groups(self.module.backbone, learning_rate)
        return weight_groups(self.module, learning_rate)

    def hooks(self) -> Sequence[Any]:
        return [] if self._adapter is None else [BoundAdapter(self._adapter, self.module.backbone)]

    @property
    def adapter(self) -> Adapter | None:
        """The adapter that the module has; None without one, or once it is merged."""
        return self._adapter

    def without_adapter(self) -> AbstractContextManager[None]:
        if self._adapter is None:
            return super().without_adapter()
        return self._adapter.off(self.module.backbone)

    def digest(self) -> list[float]:
        return score(self.module, self._golden)

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter alone.

        Raises:
            ModelError: If there is none.
        """
        if self._adapter is None:
            raise ModelError("the model has no adapter of its own")
        self._adapter.save(self.module.backbone, folder)

    def save(self, folder: Path, digest: list[float] | None = None) -> None:
        if self._adapter is not None:
            if self._is_new:
                self._adapter.check_learned(self.module.backbone)
            self._adapter.save(self.module.backbone, folder / ADAPTER)
            if self._adapter.config.merges:
                self.save_merged(folder)
                return
        elif self._owns_weights:
            self._save_weights(self.module.backbone, folder / WEIGHTS)
        self._save_marks(folder, self.digest() if digest is None else digest)

    def save_merged(self, folder: Path, precision: Precision = "auto") -> Merged:
        """Write the base with the adapter in its weights, and all that a later prediction needs, to ``folder``.

        A quantized base is read again without quantization.

        Raises:
            ModelError: If there is no adapter, or one that cannot be merged.
        """
        with TemporaryDirectory() as place:
            self.save_adapter(Path(place))
            network, self.merged = merge_into_base(
                lambda: self.backbone.load_causal(dtype="float32"),
                cast(Adapter, self._adapter),
                Path(place),
                self._golden,
                precision=precision_of(self.backbone, precision),
                present=self.module.backbone if self.sections.quantization is not None else None,
            )
        self._save_weights(network, folder / WEIGHTS)
        write_json(folder / MERGED, self.merged.dump())
        self._save_marks(folder, score(build_causal(network), self._golden))
        return self.merged

    def _save_weights(self, network: Any, folder: Path) -> None:
        network.save_pretrained(folder)
        self.backbone.tokenizer.save_pretrained(folder)

    def _save_marks(self, folder: Path, scores: list[float]) -> None:
        """Write by what a loaded copy is known to be the same."""
        write_json(folder / PROMPT, self.encoder.dump())
        if self.index is not None:
            self.index.save(folder)
        write_json(folder / GOLDEN, {"base": self.backbone.fingerprint, "rows": self._golden, "scores": scores})

    def restore(self, folder: Path, states: Mapping[str, Any], *, device: str, beside: Llm | None = None) -> Self:
        """Load what ``save`` wrote; ``beside`` another model, an adapter stands on the weights of that one's base."""
        weights = folder / WEIGHTS
        self._owns_weights = weights.is_dir() and beside is None
        name = str(weights if self._owns_weights else self.sections.base_model)
        self.backbone = self.sections.open(name) if beside is None else beside.backbone
        self.restore_features(states)
        self.answer_lengths = part(states, "lengths", "answers")
        self.reserve = part(states, "lengths").get("reserve", 0)
        self.least = part(states, "lengths").get("least", self.reserve)
        self._make_encoder(part(states, "columns"))
        if (retrieval := self.sections.prompt.retrieval) is not None:
            self.index = ExampleIndex.load(retrieval, folder)
        if self._owns_weights:
            self._adapter = None  # if there was one, it is merged into them
        if beside is not None:
            self._stand_on(beside, folder / ADAPTER)
        else:
            sections = replace(self.sections, quantization=None) if self._owns_weights else self.sections
            network = load_base(self.backbone, sections, None, trains=False, device=device)
            if self._adapter is not None:
                network = self._adapter.load(network, folder / ADAPTER)
            self.module = build_causal(placed(network, device)).eval()
        # Other bits round the scores of known rows more than a check of them allows.
        alike = beside is None or beside.sections.quantization == self.sections.quantization
        self._compare(read_json(folder / GOLDEN), read_json(folder / PROMPT)["fingerprint"], scores=alike)
        return self

    def with_adapter(self, folder: Path, beside: Llm) -> Llm:
        """Return a model that reads and answers as this one, under a trained adapter on the base of ``beside``."""
        adapter = open_adapter(folder)
        other = Llm(replace(self.sections, adapter=adapter.config))
        other.read_as(self)
        other._stand_on(beside, folder)
        return other

    def _stand_on(self, beside: Llm, folder: Path) -> None:
        if self._adapter is None:
            raise ModelError(f"{folder} holds no adapter")
        self.module = build_causal(load_beside(beside.module.backbone, self._adapter, folder)).eval()

    def _compare(self, golden: Mapping[str, Any], prompt: str, *, scores: bool = True) -> None:
        """Refuse a model that is not the one that was saved.

        Raises:
            ModelError: If base, tokens or scores are others.
        """
        base = self.sections.base_model
        if not self._owns_weights and golden["base"] != self.backbone.fingerprint:
            raise ModelError(f"the base model {base} has changed since this model was trained; restore its files")
        if prompt != self.encoder.fingerprint():
            raise ModelError("rows would get other tokens than in training; install the version that trained the model")
        self._golden = golden["rows"]
        if scores:
            check_scores(self.module, self._golden, golden["scores"])


def _importance(output: OutputFeature) -> float:
    return float(output.config.loss.weight) if output.config.loss is not None else 1.0
