"""Layers: torch modules that know neither configs nor registries."""
