"""Features: from one column of a table to what a model takes, and back from predictions to values."""

from declarlm.features.base import InputFeature, OutputFeature, Raw, input_features, output_features

__all__ = ["InputFeature", "OutputFeature", "Raw", "input_features", "output_features"]
