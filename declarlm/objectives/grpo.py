"""Group relative policy optimization: make answers that are rewarded more probable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from declarlm.core import Problem, param
from declarlm.data.tables import require_columns
from declarlm.inference.generation import Generation, generate
from declarlm.models.drawn import Drawn, PromptRows
from declarlm.models.reference import standing_reference
from declarlm.objectives.base import Objective, objectives
from declarlm.objectives.rollouts import REWARDS, Rollouts
from declarlm.rewards.base import Reward, rewards
from declarlm.rewards.judging import Judged, Judges
from declarlm.training.group import Alone

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from declarlm.layers.causal_model import CausalModel
    from declarlm.models.base import Model
    from declarlm.models.llm import Llm


@objectives.register("grpo")
class Grpo(Objective):
    """Draw several answers to each prompt, and make those more probable that are rewarded above the group's mean.

    In each step the model draws ``num_generations`` answers to each of the step's prompts, from its own
    probabilities. The weighted sum of ``rewards`` of an answer, minus the mean of its group and divided by the group's
    standard deviation, is its advantage. The loss of a token is minus ``min(ratio * advantage, clip(ratio, 1 -
    epsilon, 1 + epsilon) * advantage)``, where the ratio is that of its probability to the one when it was drawn
    (without dropout), plus ``beta`` times its divergence from the reference: the base with the adapter off, or what
    training started from, see ``dpo``. It is averaged over the tokens of an answer, then over answers, then over
    prompts. Answers are drawn anew in each step, by a seed that a resumed training draws again.
    The column of the output holds the known answers, which ``exact_match`` compares with.
    Measured in validation, on the answers that ``predict`` would give: ``rewards.mean``, the weighted sum, which
    decides, each reward by its type, without its weight, and ``rewards.base_mean``, the sum before training.
    Source: Shao et al., "DeepSeekMath", 2024, https://arxiv.org/abs/2402.03300, equation 3 (one update a batch).
    """

    joins = True
    full_rate = 1e-6
    adapter_share = 0.5

    class Config(Objective.Config):
        rewards: list[Reward.Config] = param("What makes an answer a good one.", registry=rewards)
        num_generations: int = param("Answers that are drawn to each prompt and compared.", default=4, min=2)
        max_new_tokens: int | Literal["auto"] = param(
            "Most tokens of a drawn answer; auto is a little more than the longest known answer.", default="auto", min=1
        )
        beta: float = param("Weight of the divergence from the reference; 0 has none.", default=0.04, min=0)
        epsilon: float = param("How far the ratio of probabilities counts from 1.", default=0.2, above=0, below=1)

        measures: ClassVar[Mapping[str, str]] = {f"{REWARDS}.mean": "maximize"}

        def check_model(self, config: Any) -> Iterable[Problem]:
            yield from super().check_model(config)
            if not self.rewards:
                yield Problem("trainer.rewards", "must name at least one reward, such as {type: exact_match}")
            for place, output in enumerate(config.output_features):
                if place:
                    yield Problem(f"output_features[{place}]", "trainer.type 'grpo' rewards answers of one output")
                elif output.type != "text":
                    problem = (
                        f"must be text for trainer.type 'grpo', which rewards written answers, got {output.type!r}"
                    )
                    yield Problem("output_features[0].type", problem)
            if getattr(config, "architecture", None) is not None:
                yield Problem("trainer.type", "'grpo' needs a base_model that can answer; write finetune first")
            if config.preprocessing.overlong == "drop":
                yield Problem("preprocessing.overlong", "drop leaves rows out, which 'grpo' needs not; write cut")
            if not config.backend.plugin.is_here:
                yield Problem("backend.type", "'grpo' draws answers in one process; write backend: local")

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._judges: Judges | None = None
        self._reference: Callable[[], AbstractContextManager[CausalModel]] | None = None

    def learn(self, model: Model, *tables: pd.DataFrame) -> None:
        self._opened(model, tables[0])

    def store(self, model: Model, table: pd.DataFrame) -> PromptRows:
        source = model.outputs[0].config.source
        require_columns(table, [source])
        return PromptRows(cast("Any", model.encode(table)), table, model.outputs[0].answers(table[source]))

    def learn_lengths(self, model: Model, store: PromptRows) -> None:
        model.learn_lengths(store.encoded)

    def remarks(self, model: Model, store: PromptRows, num_rows: int) -> list[str]:
        return model.overlong(store.encoded, num_rows)

    def begin(self, model: Model, stores: Sequence[PromptRows], group: Alone) -> None:
        held_out = stores[-1]
        if held_out is not stores[0]:
            held_out.base_reward = self._rewards(cast("Llm", model), held_out, None)["mean"]

    def workload(self, model: Model, store: PromptRows) -> Rollouts:
        return Rollouts(self, cast("Llm", model), store)

    def refer(self, model: Llm) -> AbstractContextManager[CausalModel]:
        """Have the model that is not to be left, for the length of a block."""
        if self._reference is None:
            self._reference = standing_reference(model)
        return self._reference()

    def draw(
        self, model: Llm, store: PromptRows, rows: np.ndarray[Any, Any], settings: Generation, budget: int | None = None
    ) -> Drawn:
        """Return an answer to each of the given rows, which may be named several times."""
        output, prompts = model.outputs[0], store.prompts(model, rows)
        stop_ids = set(model.encoder.stop_ids)
        answers = generate(
            model.module,
            prompts,
            settings=settings,
            stop_ids=stop_ids,
            pad_id=model.backbone.pad_id,
            max_new_tokens=model.max_new_tokens(output, self.config.max_new_tokens),
            context_length=model.context_for(0),
            token_budget=budget,
        )
        texts = [[token for token in answer if token not in stop_ids] for answer in answers]
        return Drawn.of(prompts, answers, [model.encoder.decode(ids, output.name) for ids in texts])

    def judge(self, model: Model, store: PromptRows, rows: np.ndarray[Any, Any], answers: list[str]) -> Judged:
        """Return the rewards of answers to the given rows."""
        known = [store.known[row] for row in rows.tolist()]
        return self._opened(model, store.table).judge(answers, known, store.table.iloc[rows])

    def _opened(self, model: Model, table: pd.DataFrame) -> Judges:
        if self._judges is None:
            columns = [str(name) for name in table.columns]
            open_run = cast("Callable[[str], Any]", self.open_run)
            self._judges = Judges(self.config.rewards, model.outputs[0].config.source, columns, open_run)
        return self._judges

    def measure(
        self,
        model: Model,
        store: PromptRows,
        *,
        rows: np.ndarray[Any, Any] | None = None,
        max_rows: int | None = None,
        group: Alone | None = None,
    ) -> dict[str, dict[str, float]]:
        """Return the mean rewards of the answers that a prediction would give, beside those before training."""
        llm = cast("Llm", model)
        found = self._rewards(llm, store, rows)
        if rows is None and store.base_reward is None:
            base = copy(llm)
            with self.refer(llm) as base.module:
                store.base_reward = self._rewards(base, store, None)["mean"]
        if rows is None:
            found["base_mean"] = cast("float", store.base_reward)
        return {"combined": {"loss": -found["mean"]}, REWARDS: found}

    def _rewards(self, model: Llm, store: PromptRows, rows: np.ndarray[Any, Any] | None) -> dict[str, float]:
        import numpy as np

        asked = np.arange(len(store)) if rows is None else rows
        judged = self.judge(model, store, asked, self.draw(model, store, asked, Generation()).texts)
        return {"mean": float(judged.total.mean()), **{name: float(one.mean()) for name, one in judged.parts.items()}}
