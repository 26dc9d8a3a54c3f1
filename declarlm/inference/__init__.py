"""Predicting with a trained model: text by generation, labels by score, numbers by a grammar."""
