"""How good a model is on a table: losses, metrics by output type, and the validation during training."""

from declarlm.evaluation.scores import EvaluationResult, mean_losses, measure, predictions
from declarlm.evaluation.validation import Validation

__all__ = ["EvaluationResult", "Validation", "mean_losses", "measure", "predictions"]
