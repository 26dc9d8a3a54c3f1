"""Contrastive learning: texts that belong together get vectors that lie close to each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from declarlm.core import DataError, Problem, param
from declarlm.data.tables import require_columns
from declarlm.evaluation.scores import mean_losses
from declarlm.models.contrasts import ContrastRows, text_vectors
from declarlm.objectives.base import Objective, Supervised, objectives
from declarlm.objectives.partners import pairs_of_labels
from declarlm.objectives.vectors import unit_vectors
from declarlm.training.group import Alone

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor, nn

    from declarlm.models.base import Model
    from declarlm.models.ecd import Ecd, EcdStore

CONTRAST = "contrast"
BLOCK = 128  # rows that are each other's candidates in an evaluation


@objectives.register("contrastive")
class Contrastive(Objective):
    """Draw the vectors of texts that belong together to each other, and away from those of other rows.

    With one text and a category or binary output, texts with the same label belong together; the output's head learns
    beside it, from the same vectors. With two tied texts and no output, those of one row do, such as a question and
    its answer; a third one is a text that looks right and is wrong.
    The loss of a row is the cross entropy of its partner among the partners of all rows of the step, by the cosines
    of their vectors divided by ``temperature``; candidates with the row's own label or text are left out. A step first
    computes all vectors without dropout, so that its loss does not depend on how rows are cut into micro-batches.
    Measured in validation: ``contrast.accuracy``, the share of texts whose nearest other text has the same label, or
    whose nearest partner is their own.
    Sources: Tunstall et al., "SetFit", 2022, https://arxiv.org/abs/2209.11055 (labels), Henderson et al., 2017,
    https://arxiv.org/abs/1705.00652 (pairs), Gao et al., 2021, https://arxiv.org/abs/2101.06983 (vectors first).
    """

    model_types = frozenset({"ecd"})
    needs_outputs: ClassVar[bool] = False

    class Config(Objective.Config):
        temperature: float = param("What cosines are divided by.", default=0.05, above=0)
        pairs_per_row: int | Literal["auto"] = param(
            "Partners with its label that each row meets in an epoch; auto is as many as make some 2,000 pairs, "
            "from 1 to 20.",
            default="auto",
            min=1,
        )
        contrast_weight: float = param("Weight of this loss beside that of the output.", default=1.0, above=0)

        measures: ClassVar[Mapping[str, str]] = {f"{CONTRAST}.accuracy": "maximize"}

        def decides(self, outputs: Sequence[Any]) -> str | None:
            return None if outputs else super().decides(outputs)

        def check_model(self, config: Any) -> Iterable[Problem]:
            yield from super().check_model(config)
            if config.is_llm:
                return
            yield from _problems(config)
            if not config.output_features:
                given = self.pairs_per_row != "auto"
                for key in ("pairs_per_row",) * given + ("contrast_weight",) * (self.contrast_weight != 1.0):
                    yield Problem(f"trainer.{key}", "has an effect beside an output only; leave it out")

    def learn(self, model: Model, *tables: pd.DataFrame) -> None:
        for table in tables:
            if model.outputs and len(table) and not len(self._pairs(self._labels(model, table))):
                remedy = "each part of the rows needs a label with two rows or more; split by split: stratified"
                wrong = f"no two of {len(table)} rows have the same label; {remedy}"
                raise DataError(wrong, column=model.outputs[0].config.source)

    def store(self, model: Model, table: pd.DataFrame) -> ContrastRows:
        import numpy as np

        ecd, names = cast("Ecd", model), tuple(feature.name for feature in model.inputs)
        if model.outputs:
            labels = self._labels(model, table)
            return ContrastRows(ecd.encode(table), names * 2, self._pairs(labels), labels)
        rows = np.arange(len(table), dtype=np.int64)[:, None].repeat(len(names), axis=1)
        encoded = ecd.encode_inputs(table)
        return ContrastRows(encoded, names, rows, _same_text(encoded, names[1]))

    def _labels(self, model: Model, table: pd.DataFrame) -> np.ndarray[Any, Any]:
        import numpy as np

        output = model.outputs[0]
        require_columns(table, [output.config.source])
        return np.asarray(output.targets(table[output.config.source])).astype(np.int64).reshape(-1)

    def _pairs(self, labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        per_row = self.config.pairs_per_row
        return pairs_of_labels(labels, None if per_row == "auto" else per_row)

    def remarks(self, model: Model, store: ContrastRows, num_rows: int) -> list[str]:
        import numpy as np

        alone = (num_rows - len(np.unique(store.places[:, 0]))) * bool(model.outputs)
        lonely = f"{alone} of {num_rows} rows are the only ones with their label, and have no partner"
        return model.overlong(store.table, num_rows) + [lonely] * (2 * alone > num_rows)

    def workload(self, model: Model, store: ContrastRows) -> Supervised:
        return Contrasts(self.config, cast("Ecd", model), store)

    def measure(
        self,
        model: Model,
        store: ContrastRows,
        *,
        rows: np.ndarray[Any, Any] | None = None,
        max_rows: int | None = None,
        group: Alone | None = None,
    ) -> dict[str, dict[str, float]]:
        """Return the loss, among 128 rows each, how often the nearest text is a right one, and what outputs lose."""
        import numpy as np

        ecd, some = cast("Ecd", model), np.arange(len(store)) if rows is None else rows
        options: dict[str, Any] = {"max_rows": max_rows, "group": group}
        if not model.outputs:
            figures = self._figures(store, some, unit_vectors(ecd, store, some, **options))
            return {"combined": {"loss": figures["loss"]}, CONTRAST: figures}
        # Each text once, however many pairs it is part of.
        texts = np.arange(len(store.table)) if rows is None else np.unique(store.places[rows])
        found = mean_losses(model, store.table, rows=texts, **options)
        figures = self._of_labels(store, some, texts, unit_vectors(ecd, store.singles(), texts, **options)[:, 0])
        found["combined"]["loss"] += self.config.contrast_weight * figures["loss"]
        return {**found, CONTRAST: figures}

    def _of_labels(
        self, store: ContrastRows, rows: np.ndarray[Any, Any], texts: np.ndarray[Any, Any], vectors: Tensor
    ) -> dict[str, float]:
        """Return the figures of pairs of texts, given the vector of each text."""
        import numpy as np
        import torch

        from declarlm.layers.contrast import share_nearest

        if not len(rows):
            return {"loss": 0.0, "accuracy": float("nan")}
        pairs = vectors[torch.from_numpy(np.searchsorted(texts, store.places[rows])).to(vectors.device)]
        kinds = torch.from_numpy(store.kinds[texts]).to(vectors.device)
        accuracy = share_nearest(vectors, vectors, kinds, same=True)
        return {**self._figures(store, rows, pairs), "accuracy": accuracy}

    def _figures(self, store: ContrastRows, rows: np.ndarray[Any, Any], vectors: Tensor) -> dict[str, float]:
        """Return the mean loss of rows, and the share whose nearest partner is a right one."""
        import torch

        from declarlm.layers.contrast import contrast_losses, share_nearest

        groups = torch.from_numpy(store.groups(rows)).to(vectors.device)
        blocks = [slice(start, start + BLOCK) for start in range(0, len(rows), BLOCK)]
        losses = [contrast_losses(vectors[some], groups[some], self.config.temperature).sum() for some in blocks]
        accuracy = share_nearest(vectors[:, 0], vectors[:, 1], groups, same=False)
        return {"loss": float(sum(losses)) / len(rows), "accuracy": accuracy}


class Contrasts(Supervised):
    """Rows of texts with their losses, as the trainer asks for them."""

    def __init__(self, config: Any, model: Ecd, store: ContrastRows) -> None:
        super().__init__(model, store)
        self.config, self.ecd, self.rows = config, model, store
        self.importance = {CONTRAST: config.contrast_weight, **model.importance}
        self._losses: dict[int, float] = {}
        self._pulls: dict[int, Tensor] = {}

    def prepare(self, module: nn.Module, rows: np.ndarray[Any, Any], budget: int) -> None:
        """Find the loss of each row of the step, and where it pulls each vector."""
        import torch

        from declarlm.layers.contrast import contrast_losses

        vectors = unit_vectors(self.ecd, self.rows, rows, budget=budget).requires_grad_()
        with torch.enable_grad(), torch.autocast(vectors.device.type, enabled=False):
            groups = torch.from_numpy(self.rows.groups(rows)).to(vectors.device)
            losses = contrast_losses(vectors, groups, self.config.temperature)
            (pulls,) = torch.autograd.grad(losses.sum(), vectors)
        self._losses = dict(zip(rows.tolist(), losses.tolist(), strict=True))
        self._pulls = dict(zip(rows.tolist(), pulls, strict=True))

    def weights(self, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        own = self.ecd.weights(self.rows.table, self.rows.places[rows, 0])
        return {CONTRAST: float(len(rows)), **own}

    def losses(self, module: nn.Module, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
        import torch
        from torch.nn import functional

        vectors = text_vectors(self.ecd, self.rows, rows)
        pulls = torch.stack([self._pulls[row] for row in rows.tolist()])
        # Its value is the loss that ``prepare`` found, its gradient on the vectors what that pulls at them.
        pulled = (functional.normalize(vectors.float(), dim=-1) * pulls).sum()
        loss = pulled - pulled.detach() + sum(self._losses[row] for row in rows.tolist())
        if not self.ecd.outputs:
            return {CONTRAST: loss}
        heads = self.ecd.head_losses(self.rows.table, self.rows.places[rows, 0], {self.rows.inputs[0]: vectors[:, 0]})
        return {CONTRAST: loss, **heads}


def _problems(config: Any) -> Iterable[Problem]:
    """Yield what of the features' sections does not say which texts belong together."""
    inputs, outputs = config.input_features, config.output_features
    if outputs and (len(outputs) > 1 or outputs[0].type not in ("category", "binary")):
        what = "must be one category or binary column, whose labels say what belongs together"
        yield Problem("output_features", f"{what}, for trainer.type 'contrastive'")
    if outputs and len(inputs) > 1:
        yield Problem("input_features[1]", "is one too many: trainer.type 'contrastive' reads one text of an output")
    if not outputs and len(inputs) not in (2, 3):
        remedy = "two texts that belong together (and a third that does not), or one text and a category output"
        yield Problem("input_features", f"must be {remedy} for trainer.type 'contrastive'")
    for index, feature in enumerate(inputs):
        yield from _readable(f"input_features[{index}]", feature, None if index == 0 else inputs[0].name)


def _readable(path: str, feature: Any, leader: str | None) -> Iterable[Problem]:
    if feature.type != "text":
        yield Problem(f"{path}.type", "must be text for trainer.type 'contrastive'")
    elif leader is not None and feature.tied != leader:
        yield Problem(f"{path}.tied", f"must be {leader}, so that one encoder gives the vectors that are compared")
    elif leader is None and not _trains(feature.encoder):
        name = feature.encoder.type if feature.encoder is not None else feature.plugin.default_encoder
        remedy = "write a transformer with trainable: true or an adapter"
        yield Problem(f"{path}.encoder", f"{name!r} has no weights that train; {remedy}")


def _trains(encoder: Any) -> bool:
    return encoder is not None and encoder.plugin.has_tokens and not encoder.build().frozen


def _same_text(encoded: EcdStore, name: str) -> np.ndarray[Any, Any]:
    """Return a number for each row, the same where the text of an input is the same, ``int64 (rows,)``."""
    import numpy as np

    known: dict[bytes, int] = {}
    found = [known.setdefault(np.asarray(values).tobytes(), len(known)) for values in encoded.inputs[name]]
    return np.array(found, dtype=np.int64)
