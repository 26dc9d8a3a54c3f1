"""From a file to a config: read, understand old spellings, override, complete, validate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from declarlm.compat import upgrade
from declarlm.completion import complete
from declarlm.config.base import ModelConfig, foreign_keys
from declarlm.config.llm import LlmConfig
from declarlm.config.trials import probe
from declarlm.core import ConfigError, Problem
from declarlm.core.document import Document
from declarlm.core.fields import shown
from declarlm.core.overrides import override
from declarlm.core.strict_yaml import read_yaml


def load_config(
    source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | Iterable[str] | None = None
) -> ModelConfig:
    """Validate a YAML file, YAML text or a mapping, with every default filled in.

    Args:
        source: Path of a YAML file, YAML text, or plain data.
        overrides: Values by dotted path, or ``path=value`` texts as on the command line.

    Raises:
        ConfigError: With every problem found, each with its path, and its line if it came from a file.
    """
    document = read_config(source, overrides)
    return ModelConfig.load(document.data, source=document, problems=document.problems)


def read_config(
    source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | Iterable[str] | None = None
) -> Document:
    """Return a config before validation: in today's spelling, overridden and complete."""
    return completed(read_written(source, overrides))


def completed(written: Document) -> Document:
    """Return a config with what it leaves unsaid, and with what is wrong with the values that a search may try."""
    document = complete(written)
    return replace(document, problems=(*document.problems, *probe(written)))


def read_written(
    source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | Iterable[str] | None = None
) -> Document:
    """Return a config as it was written, in today's spelling and overridden, without what it leaves unsaid."""
    if not isinstance(source, str | Path | Mapping):
        raise ConfigError("config", [Problem("", f"must be a path, YAML text or a mapping, got {shown(source)}")])
    document = Document(dict(source)) if isinstance(source, Mapping) else read_yaml(source)
    if not document.data:
        raise ConfigError(document, [Problem("", "is empty; it needs at least input_features and output_features")])
    changes = {} if overrides is None else overrides
    return override(upgrade(document), changes, keys={*LlmConfig.schema().fields, *foreign_keys(LlmConfig)})
