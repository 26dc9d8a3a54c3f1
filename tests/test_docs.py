"""The documentation: its configs are valid or fail as it says, its links, commands and targets exist, its code runs."""

import importlib
import re
import shlex
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import typer

from declarlm import DataError, DeclarLM
from declarlm.cli.app import REFUSED, VERBS, app, main
from declarlm.planning.init import first_config
from tests.test_architecture import ROOMS
from tests.test_architecture import ROOT as PACKAGE

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")])
CLI, CONCEPTS, QUICKSTART = (ROOT / "docs" / f"{name}.md" for name in ("cli", "concepts", "quickstart"))
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def fences(text: str) -> list[tuple[str, str]]:
    """Language and text of each block of code."""
    return [(found["language"], textwrap.dedent(found["text"])) for found in FENCE.finditer(text)]


def blocks(path: Path, language: str) -> list[str]:
    return [block for known, block in fences(path.read_text(encoding="utf-8")) if known == language]


def configs(text: str) -> list[tuple[str, str]]:
    """Each config and the errors that are shown below it, which is nothing for a valid one.

    Errors are the next block, if that begins with a place in the file that the first line of the config names.
    """
    found = fences(text)
    pairs = []
    for (language, block), (_, following) in pairwise([*found, ("", "")]):
        if language == "yaml":
            name = block.split("\n")[0].removeprefix("# ")
            pairs.append((block, following if re.match(rf"{re.escape(name)}:\d+: ", following) else ""))
    return pairs


def commands(text: str, program: str) -> list[list[str]]:
    """The arguments of every command in a block for the shell or between backticks that runs a program."""
    shell = [block.replace("\\\n", " ") for language, block in fences(text) if language == "bash"]
    spans = re.findall(r"`([^`]+)`", FENCE.sub("", text))
    lines = [line for block in shell for line in block.splitlines()] + [" ".join(span.split()) for span in spans]
    called = (line.removeprefix(".venv/bin/") for line in lines)
    return [shlex.split(line, comments=True)[1:] for line in called if line.startswith(f"{program} ")]


def unknown_words(arguments: list[str]) -> set[str]:
    """The verb and the options of a call of declarlm that there are not."""
    group = typer.main.get_command(app)
    verb = arguments[0]
    if verb not in group.commands and verb != "VERB" and not verb.startswith("-"):
        return {verb}
    command = group.commands.get(verb, group)
    known = {"-h", "--help"} | {option for parameter in command.params for option in parameter.opts}
    return {word.partition("=")[0] for word in arguments if word.startswith("-")} - known


def unknown_targets(text: str) -> set[str]:
    """The targets of calls of make that the Makefile does not have."""
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    words = {word for arguments in commands(text, "make") for word in arguments}
    return {word for word in words if "=" not in word} - known


def dead_links(path: Path, text: str) -> list[str]:
    """The relative links that lead to no file, or to no heading of it."""
    dead = []
    for target in LINK.findall(FENCE.sub("", text)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        page = (path.parent / file).resolve() if file else path
        if not page.exists() or (anchor and anchor not in anchors(page)):
            dead.append(target)
    return dead


def anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code or 0


CONFIGS = [
    (path, number, *pair) for path in PAGES for number, pair in enumerate(configs(path.read_text(encoding="utf-8")), 1)
]


@pytest.mark.parametrize(
    ("path", "number", "text", "errors"), CONFIGS, ids=[f"{named(path)}-{number}" for path, number, *_ in CONFIGS]
)
def test_every_config_is_valid_or_fails_as_the_page_shows(path, number, text, errors, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = errors.partition(":")[0] or "config.yaml"
    Path(name).write_text(text, encoding="utf-8")
    code = exit_code("validate", "-c", name, "--quiet")
    assert (code, capsys.readouterr().err) == (2 if errors else 0, errors)


def test_the_readme_shows_errors():
    assert [errors.count("\n") for _, errors in configs((ROOT / "README.md").read_text(encoding="utf-8")) if errors]


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_relative_link_leads_somewhere(path):
    assert dead_links(path, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_command_has_the_verb_and_the_options_it_is_given(path):
    found = commands(path.read_text(encoding="utf-8"), "declarlm")
    assert {word for arguments in found for word in unknown_words(arguments)} == set()
    assert found or path not in (ROOT / "README.md", QUICKSTART, CLI)


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_target_of_make_exists(path):
    assert unknown_targets(path.read_text(encoding="utf-8")) == set()


def test_a_page_that_is_wrong_is_found_out():
    page = """
`make everything` and `declarlm trane --dataset FILE`, see [there](nowhere.md) and [here](README.md#nothing)

```bash
make test quick   # two targets
declarlm train -c a.yaml \\
    --datasets b.csv -x
```

```yaml
# bad.yaml
seed: no
```

```text
bad.yaml:2: wrong
```
"""
    assert unknown_targets(page) == {"everything", "quick"}
    assert [unknown_words(call) for call in commands(page, "declarlm")] == [{"--datasets", "-x"}, {"trane"}]
    assert dead_links(ROOT / "README.md", page) == ["nowhere.md", "README.md#nothing"]
    assert configs(page) == [("# bad.yaml\nseed: no\n", "bad.yaml:2: wrong\n")]


def test_init_writes_the_config_of_the_quickstart():
    rows = [{"text": f"{row}" + " word" * 26, "family": f"family {row % 11}"} for row in range(5594)]
    written = first_config(pd.DataFrame(rows), "family", source="docstrings.csv")
    assert written == blocks(QUICKSTART, "yaml")[0]


def test_validate_says_what_the_quickstart_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("family.yaml").write_text(blocks(QUICKSTART, "yaml")[0], encoding="utf-8")
    assert exit_code("validate", "-c", "family.yaml") == 0
    assert capsys.readouterr().out in blocks(QUICKSTART, "text")


def test_a_column_of_another_name_is_told_as_the_quickstart_shows(tmp_path):
    rows = {"text": ["some words"] * 20, "familie": ["one", "two"] * 10}
    model = DeclarLM(blocks(QUICKSTART, "yaml")[0])
    with pytest.raises(DataError) as caught:
        model.train(rows, output=tmp_path / "runs")
    assert f"{caught.value}\n" in blocks(QUICKSTART, "text")


def first_cells(text: str, heading: str) -> list[list[str]]:
    """What stands between backticks in the first column of the table below a heading, row by row."""
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")]
    return [re.findall(r"`([^`]+)`", cell) for cell in rows[1:]]


def test_the_exit_codes_are_those_of_the_errors():
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    known = {code for text in sources for code in re.findall(r"^    exit_code.* = (\d+)$", text, re.MULTILINE)}
    listed = [code for codes in first_cells(CLI.read_text(encoding="utf-8"), "Exit codes") for code in codes]
    assert listed == sorted(known | {"0"}, key=int)


def test_the_verbs_and_the_options_everywhere_are_those_of_the_command_line():
    page = CLI.read_text(encoding="utf-8")
    assert [cells[0].split()[1] for cells in first_cells(page, "Verbs")] == list(VERBS)
    taken = [
        {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        for command in typer.main.get_command(app).commands.values()
    ]
    named = [cells[0].split()[0] for cells in first_cells(page, "Options that every verb takes")]
    assert set(named) == set.intersection(*taken)
    refused = {f"{verb} --{option.rstrip('_')}" for verb, options in REFUSED.items() for option in options}
    assert set(re.findall(r"`([a-z]+ --[a-z]+)`", page)) == refused


def test_the_code_of_the_page_on_extending_runs(tmp_path):
    for text in blocks(ROOT / "docs" / "extending.md", "python"):
        (tmp_path / text.split("\n")[0].removeprefix("# ")).write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, "reading_time.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(re.findall(r"'within_tenth': ([\d.]+)", done.stdout)[0]) > 0.8


def test_the_rooms_are_those_of_the_architecture():
    (listed,) = [block for block in blocks(CONCEPTS, "text") if block.startswith("cli ")]
    rooms = [line.split()[0] for line in listed.splitlines()]
    standing = {path.stem for path in PACKAGE.iterdir()}
    assert rooms == [room for room in ROOMS if room in standing]


def test_the_data_flow_is_that_of_the_main_path():
    (table,) = re.findall(r"\| from \| by \| to \|\n(.*?)\n\n", CONCEPTS.read_text(encoding="utf-8"), re.DOTALL)
    names = [name for row in table.splitlines()[1:] for name in re.findall(r"`([\w.]+)`", row.split("|")[2])]
    homes = {"Model": "declarlm.models.base", "Trainer": "declarlm.training", "DeclarLM": "declarlm.api"}
    homes["ModelConfig"] = "declarlm.config"
    for name in names:
        home, _, member = name.rpartition(".")
        room = importlib.import_module(homes.get(home, f"declarlm.{home}"))
        assert hasattr(getattr(room, home) if home in homes else room, member), name
    source = (PACKAGE / "api" / "training.py").read_text(encoding="utf-8")
    written = [f"{home.lower()}.{member}(" for home, _, member in (name.rpartition(".") for name in names)]
    called = [call for call in written if call.startswith(("model.", "trainer.")) and call in source]
    assert len(called) >= 5
    places = [source.index(call) for call in called]
    assert places == sorted(places)


def test_every_decision_is_in_the_list():
    folder = ROOT / "docs" / "decisions"
    listed = LINK.findall((folder / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.md") if path.name != "README.md")
