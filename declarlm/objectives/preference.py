"""What objectives have in common that compare two answers to one prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from declarlm.core import DataError, Problem, param
from declarlm.evaluation.scores import perplexity
from declarlm.models.few_shot import left_out
from declarlm.models.pair_rows import PairRows, encode_pairs
from declarlm.objectives.base import Objective, Supervised
from declarlm.objectives.figures import share_above
from declarlm.objectives.scoring import refer, score_pairs
from declarlm.training.group import Alone

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor, nn

    from declarlm.features.base import OutputFeature
    from declarlm.models.base import Model
    from declarlm.models.llm import Llm

PREFERENCES = "preferences"


class Compared(Objective):
    """Learn from answers that are scored as a whole, two to each row.

    A subclass says which two answers those are, and what is lost by how probable they are.

    Attributes:
        refers: Whether the loss compares with the model that training started from.
    """

    cuts_answers = True
    joins = True
    refers: ClassVar[bool] = True

    class Config(Objective.Config):
        measures: ClassVar[Mapping[str, str]] = {
            f"{PREFERENCES}.accuracy": "maximize",
            f"{PREFERENCES}.margin": "maximize",
            f"{PREFERENCES}.likelier": "maximize",
        }

        key: ClassVar[str]

        def column(self) -> str:
            """Return the column that is read beside those of the features, named by ``key``."""
            raise NotImplementedError

        def check_model(self, config: Any) -> Iterable[Problem]:
            yield from super().check_model(config)
            if len(config.output_features) > 1:
                yield Problem("output_features[1]", f"trainer.type {self.type!r} compares answers in one column")
            if getattr(config, "architecture", None) is not None:
                yield Problem("trainer.type", f"{self.type!r} needs a base_model that can answer; write finetune first")
            features = [*config.input_features, *config.output_features]
            if self.column() in [feature.column or feature.name for feature in features]:
                yield Problem(self.key, f"{self.column()!r} is also the column of a feature; name the one beside it")

    def begin(self, model: Model, stores: Sequence[PairRows], group: Alone) -> None:
        with group.evaluating(model.module):
            for store in stores if self.refers else stores[-1:]:
                refer(cast("Llm", model), store, at_start=True, group=group)

    def learn_lengths(self, model: Model, store: PairRows) -> None:
        model.learn_lengths(store.single())

    def remarks(self, model: Model, store: PairRows, num_rows: int) -> list[str]:
        llm = cast("Llm", model)
        limit = llm.max_length
        fewer = left_out(llm, store.tokens.num_left_out[::2], num_rows)
        long = f"of {num_rows} rows are longer than {limit} tokens"
        remarks = [f"{store.num_cut} {long}; both answers got the same shorter prompt, or lost their end"]
        dropped = [f"{num_rows - len(store)} {long} and were dropped"] * (len(store) < num_rows)
        return remarks * bool(store.num_cut) + fewer + dropped

    def workload(self, model: Model, store: PairRows) -> Supervised:
        return Comparison(self, model, store)

    def costs(self, store: PairRows) -> np.ndarray[Any, Any]:
        """Return how many tokens each row costs in a step."""
        costs: np.ndarray[Any, Any] = store.costs
        return costs

    def importance(self) -> Mapping[str, float]:
        """Return the weight of each named loss."""
        return {PREFERENCES: 1.0}

    def weights(self, store: PairRows, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        """Return what each loss is divided by over the given rows."""
        return {PREFERENCES: float(len(rows))}

    def losses(
        self, store: PairRows, rows: np.ndarray[Any, Any], scores: Tensor, told: Any = None
    ) -> dict[str, Tensor]:
        """Return each loss summed over rows, a scalar each.

        Args:
            store: The rows.
            rows: Which of them.
            scores: Log-probabilities, as ``scores`` returns them.
            told: What ``prepare`` found out about the whole step.
        """
        raise NotImplementedError

    def scores(self, model: Llm, store: PairRows, rows: np.ndarray[Any, Any]) -> Tensor:
        """Return the log-probabilities that the loss of rows needs, with their gradient, ``(rows, 1 or 2)``."""
        return store.log_probs(model.module, rows)

    def prepare(self, model: Llm, store: PairRows, rows: np.ndarray[Any, Any], budget: int) -> Any:
        """Return what the losses of all rows of a step must know of each other, before the first of them."""

    def figures(self, store: PairRows, rows: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> dict[str, float]:
        """Return how well scores tell better answers from worse ones; ``scores`` are as in ``losses``."""
        raise NotImplementedError

    def told(self, scores: Tensor, store: PairRows, rows: np.ndarray[Any, Any]) -> Any:
        """Return what ``prepare`` would, from the scores of all rows."""

    def measure(
        self,
        model: Model,
        store: PairRows,
        *,
        rows: np.ndarray[Any, Any] | None = None,
        max_rows: int | None = None,
        group: Alone | None = None,
    ) -> dict[str, dict[str, float]]:
        """Return the loss, that of the first answers, and how well better answers are told from worse ones."""
        import numpy as np
        import torch

        llm = cast("Llm", model)
        refer(llm, store, group=group)
        scores = score_pairs(llm.module, store, rows=rows, max_rows=max_rows, group=group)
        rows = np.arange(len(store)) if rows is None else rows
        tensor = torch.from_numpy(scores)
        sums = self.losses(store, rows, tensor, self.told(tensor, store, rows))
        shares = self.weights(store, rows)
        loss = sum(weight * float(sums[name]) / shares[name] for name, weight in self.importance().items())
        output, good = model.outputs[0], store.good[rows]
        found = {"loss": float(-scores[good, 0].sum() / max(1, store.num_answered[rows, 0][good].sum()))}
        if output.config.type == "text":
            found["perplexity"] = perplexity(found["loss"])
        return {"combined": {"loss": loss}, output.name: found, PREFERENCES: self.figures(store, rows, scores)}


class Comparison(Supervised):
    """Rows with two answers each and their losses, as the trainer asks for them."""

    def __init__(self, objective: Compared, model: Model, store: PairRows) -> None:
        super().__init__(model, store)
        self.objective, self.pairs = objective, store
        self.importance, self.costs = objective.importance(), objective.costs(store)
        self._told: Any = None

    def prepare(self, module: nn.Module, rows: np.ndarray[Any, Any], budget: int) -> None:
        self._told = self.objective.prepare(cast("Llm", self.model), self.pairs, rows, budget)

    def weights(self, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        return self.objective.weights(self.pairs, rows)

    def losses(self, module: nn.Module, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
        scores = self.objective.scores(cast("Llm", self.model), self.pairs, rows)
        return self.objective.losses(self.pairs, rows, scores, self._told)


class Preference(Compared):
    """Learn from a chosen and a rejected answer to each prompt."""

    class Config(Compared.Config):
        rejected_column: str = param(
            "Column of the worse answers; the output feature is that of the better ones.", default="rejected"
        )

        key: ClassVar[str] = "trainer.rejected_column"

        def column(self) -> str:
            return self.rejected_column

    def columns(self, model: Model) -> Sequence[OutputFeature]:
        return [self._rejected(model)]

    def learn(self, model: Model, *tables: pd.DataFrame) -> None:
        from declarlm.data.tables import require_columns

        for table in tables:
            require_columns(table, [self.config.rejected_column])
            rejected = self._rejected(model)
            worse, output = rejected.answers(table[rejected.config.source]), model.outputs[0]
            if worse and table is tables[0] and worse == output.answers(table[output.config.source]):
                message = f"is the same as {output.config.source!r} in every training row; write the worse answers"
                raise DataError(message, column=rejected.config.source)

    def store(self, model: Model, table: pd.DataFrame) -> PairRows:
        from declarlm.data.tables import require_columns

        llm, output, rejected = cast("Llm", model), model.outputs[0], self._rejected(model)
        require_columns(table, [output.config.source, rejected.config.source])
        better = output.answers(table[output.config.source])
        worse = rejected.answers(table[rejected.config.source])
        return encode_pairs(llm, table, better, worse)

    def _rejected(self, model: Model) -> OutputFeature:
        """Return a reader of the rejected answers: the output feature, on another column."""
        output = model.outputs[0]
        twin: OutputFeature = output.config.replace(column=self.config.rejected_column).build(output.state)
        return twin

    def rewards(
        self, store: PairRows, rows: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]
    ) -> np.ndarray[Any, Any]:
        """Return the implicit reward of both answers, ``(rows, 2)``."""
        raise NotImplementedError

    def figures(self, store: PairRows, rows: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> dict[str, float]:
        before, lengths = store.reference[rows], store.num_answered[rows]
        rewards, base = self.rewards(store, rows, scores), self.rewards(store, rows, before)
        return {
            "accuracy": share_above(rewards[:, 0], rewards[:, 1]),
            "margin": float((rewards[:, 0] - rewards[:, 1]).mean()),
            "likelier": share_above(*(scores / lengths).T),
            "base_accuracy": share_above(base[:, 0], base[:, 1]),
            "base_likelier": share_above(*(before / lengths).T),
        }
