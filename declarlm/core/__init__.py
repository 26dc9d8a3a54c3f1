"""The layer below every plugin: errors, registries, config sections and what is generated from them."""

from declarlm.core.errors import (
    ConfigError,
    DataError,
    DeclarlmError,
    DeclarlmWarning,
    DiskError,
    DivergedError,
    LockedError,
    ModelError,
    OutOfMemoryError,
    Problem,
    RefusedError,
    RunError,
    named_at,
)
from declarlm.core.registry import Registry
from declarlm.core.section import Section, param

__all__ = [
    "ConfigError",
    "DataError",
    "DeclarlmError",
    "DeclarlmWarning",
    "DiskError",
    "DivergedError",
    "LockedError",
    "ModelError",
    "OutOfMemoryError",
    "Problem",
    "RefusedError",
    "Registry",
    "RunError",
    "Section",
    "named_at",
    "param",
]
