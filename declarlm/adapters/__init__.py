"""Adapters: small trained additions to a frozen base, in PEFT's format."""

from declarlm.adapters.base import Adapter, BoundAdapter, adapters
from declarlm.adapters.checks import check_effect, check_start, delta_norm, distance_from_base
from declarlm.adapters.merge import merge_adapter

__all__ = [
    "Adapter",
    "BoundAdapter",
    "adapters",
    "check_effect",
    "check_start",
    "delta_norm",
    "distance_from_base",
    "merge_adapter",
]
