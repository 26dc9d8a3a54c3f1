"""No training at all: a language model used as it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from declarlm.core import Problem
from declarlm.objectives.base import Objective, objectives
from declarlm.training.config import TrainerConfig

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.models.base import Model, Store


_OF_TRAINING = (
    "epochs",
    "train_steps",
    "learning_rate",
    "learning_rate_scheduler",
    "optimizer",
    "gradient_accumulation_steps",
    "effective_batch_size",
    "eval_steps",
    "evaluate_training_set",
    "early_stop",
    "steps_per_checkpoint",
    "checkpoints_per_epoch",
    "gradient_clipping",
    "enable_gradient_checkpointing",
    "should_shuffle",
)


@objectives.register("none")
class Untrained(Objective):
    """Change no weight: prompt the base model as it is, or with adapter weights that were trained elsewhere."""

    trains = False

    class Config(Objective.Config):
        def check(self) -> Iterable[Problem]:
            yield from super().check()
            usual = TrainerConfig()
            for key in _OF_TRAINING:
                if getattr(self, key) != getattr(usual, key):
                    yield Problem(key, "has no effect, type none trains nothing; leave it out, or write type: finetune")

    def store(self, model: Model, table: pd.DataFrame) -> Store:
        return model.encode(table)
