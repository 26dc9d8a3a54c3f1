"""A folder with a config and rows, a finished run, and the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from people import CONFIG, ROWS

from declarlm.cli import main


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a config and rows."""
    monkeypatch.chdir(tmp_path)
    Path("people.yaml").write_text(CONFIG)
    ROWS.to_csv("people.csv", index=False)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "people.yaml").write_text(CONFIG)
    ROWS.to_csv(folder / "people.csv", index=False)
    arguments = ["train", "-c", folder / "people.yaml", "--dataset", folder / "people.csv", "--output", folder / "runs"]
    with pytest.raises(SystemExit) as left:
        main([*map(str, arguments), "--quiet", "--json"])
    assert left.value.code == 0
    return folder / "runs" / "people"


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str, str]]:
    """Run the command line; return its exit code, stdout and stderr."""

    def run_main(*arguments: object) -> tuple[Any, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        return left.value.code, *capfd.readouterr()

    return run_main
