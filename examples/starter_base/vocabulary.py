"""The hand-written words and phrasings beside this file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

_HERE = Path(__file__).parent
words = SimpleNamespace(**yaml.safe_load((_HERE / "words.yaml").read_text(encoding="utf-8")))  # lists of words by name
_PHRASES: dict[str, Any] = yaml.safe_load((_HERE / "phrases.yaml").read_text(encoding="utf-8"))
TOPICS: dict[str, list[str]] = words.topics
REQUESTS: dict[str, dict[str, list[str]]] = _PHRASES["requests"]
RECORDS: dict[str, dict[str, dict[str, Any]]] = _PHRASES["records"]
