"""Whole models, built from sections and from what was learned about the data."""
