"""The one training loop: steps, optimizers, schedules, checkpoints. It knows modules and rows, no features."""

from declarlm.training.config import Steps, TrainerConfig, plan_steps
from declarlm.training.gradients import parameter_groups
from declarlm.training.trainer import Trainer
from declarlm.training.workload import Evaluation, Hook, Workload

__all__ = ["Evaluation", "Hook", "Steps", "Trainer", "TrainerConfig", "Workload", "parameter_groups", "plan_steps"]
