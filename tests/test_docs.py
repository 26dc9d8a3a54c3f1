"""The documentation: its configs are valid, its links lead somewhere, its commands and its code run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from declarlm.cli.app import app
from declarlm.config import load_config
from tests.test_architecture import ROOMS
from tests.test_architecture import ROOT as PACKAGE

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")])
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> list[str]:
    found = FENCE.finditer(path.read_text(encoding="utf-8"))
    return [block["text"] for block in found if block["language"] == language]


def anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


CONFIGS = [(path, number, text) for path in PAGES for number, text in enumerate(blocks(path, "yaml"), 1)]
COMMANDS = [
    (path, line)
    for path in PAGES
    for block in blocks(path, "bash")
    for line in block.splitlines()
    if line.startswith("declarlm ")
]


@pytest.mark.parametrize(("path", "number", "text"), CONFIGS, ids=[f"{named(path)}-{n}" for path, n, _ in CONFIGS])
def test_every_config_is_valid(path, number, text):
    assert load_config(text).model_type in ("llm", "ecd")


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_relative_link_leads_somewhere(path):
    for target in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        page = (path.parent / file).resolve() if file else path
        assert page.exists(), target
        assert not anchor or anchor in anchors(page), target


@pytest.mark.parametrize(("path", "line"), COMMANDS, ids=[f"{named(path)}: {line}" for path, line in COMMANDS])
def test_every_command_has_the_options_it_is_given(path, line):
    verb, *arguments = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app).commands[verb]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("-")} <= known


def test_the_code_of_the_page_on_extending_runs(tmp_path):
    for text in blocks(ROOT / "docs" / "extending.md", "python"):
        (tmp_path / text.split("\n")[0].removeprefix("# ")).write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, "reading_time.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(re.findall(r"'within_tenth': ([\d.]+)", done.stdout)[0]) > 0.8


def test_the_rooms_are_those_of_the_architecture():
    (listed,) = [block for block in blocks(ROOT / "docs" / "concepts.md", "text") if block.startswith("cli ")]
    rooms = [line.split()[0] for line in listed.splitlines()]
    standing = {path.stem for path in PACKAGE.iterdir()}
    assert rooms == [room for room in ROOMS if room in standing]


def test_every_decision_is_in_the_list():
    folder = ROOT / "docs" / "decisions"
    listed = LINK.findall((folder / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")
