"""Files that are made from the code and committed: they must be what the code makes today."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import jsonschema

from declarlm.config import config_schema

ROOT = Path(__file__).parents[1]


def test_the_exported_schema_is_fresh():
    text = (ROOT / "schemas" / "config.schema.json").read_text(encoding="utf-8")
    assert text == json.dumps(config_schema(), ensure_ascii=False, indent=2) + "\n", "run: make schemas"


def test_the_exported_schema_is_draft_07():
    schema = config_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_the_reference_pages_are_fresh():
    pages = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["pages"]()
    folder = ROOT / "docs" / "reference"
    written = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert written == pages, "run: make docs"
