"""Plain data as YAML that the strict reader reads back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from declarlm.core.strict_yaml import scalar


class _Dumper(yaml.SafeDumper):
    """Quotes text that the strict reader would take for something else: PyYAML leaves ``1e3`` bare."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if scalar(text) == text else '"')


_Dumper.add_representer(str, _represent_text)


def yaml_text(data: Mapping[str, Any]) -> str:
    """Return a mapping as YAML, its keys in their order."""
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
