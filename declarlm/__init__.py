"""Declarative fine-tuning: describe the columns, get a trained model."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from declarlm.api import DeclarLM, HyperoptResult, TrainResult
    from declarlm.config import ModelConfig, load_config
    from declarlm.core import (
        ConfigError,
        DataError,
        DeclarlmError,
        DeclarlmWarning,
        ModelError,
        RunError,
        Section,
        param,
    )
    from declarlm.evaluation import EvaluationResult

_HOMES = {
    "DeclarLM": "declarlm.api",
    "HyperoptResult": "declarlm.api",
    "TrainResult": "declarlm.api",
    "EvaluationResult": "declarlm.evaluation",
    "ModelConfig": "declarlm.config",
    "load_config": "declarlm.config",
    "ConfigError": "declarlm.core",
    "DataError": "declarlm.core",
    "DeclarlmError": "declarlm.core",
    "DeclarlmWarning": "declarlm.core",
    "ModelError": "declarlm.core",
    "RunError": "declarlm.core",
    "Section": "declarlm.core",
    "param": "declarlm.core",
}

__all__ = [
    "ConfigError",
    "DataError",
    "DeclarLM",
    "DeclarlmError",
    "DeclarlmWarning",
    "EvaluationResult",
    "HyperoptResult",
    "ModelConfig",
    "ModelError",
    "RunError",
    "Section",
    "TrainResult",
    "load_config",
    "param",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: see PEP 562."""
    if name not in _HOMES:
        raise AttributeError(f"module 'declarlm' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
