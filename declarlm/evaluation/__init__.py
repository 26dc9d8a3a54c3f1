"""How good a model is on a table: losses, metrics by output type, and the validation during training."""

from declarlm.evaluation.calibration import check_tunable, tune, tuned_outputs
from declarlm.evaluation.scores import EvaluationResult, mean_losses, measure, predictions
from declarlm.evaluation.validation import Validation

__all__ = [
    "EvaluationResult",
    "Validation",
    "check_tunable",
    "mean_losses",
    "measure",
    "predictions",
    "tune",
    "tuned_outputs",
]
