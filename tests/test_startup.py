"""What the first commands cost: how long they take beside a bare Python, and what they load."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "transformers",
    "peft",
    "pandas",
    "numpy",
    "sklearn",
    "scipy",
    "pyarrow",
    "bitsandbytes",
    "accelerate",
}
MAIN = "from declarlm.cli import main; main({!r})"
CONFIG = """\
base_model: starter
input_features:
  - {name: text, type: text}
output_features:
  - {name: label, type: category}
prompt: {template: "{{ text }} ->"}
adapter: lora
quantization: {bits: 4}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("startup") / "config.yaml"
    path.write_text(CONFIG)
    return str(path)


def code(command: str, config: str) -> str:
    return {
        "import": "import declarlm",
        "help": MAIN.format(["--help"]),
        "train --help": MAIN.format(["train", "--help"]),
        "validate": MAIN.format(["validate", "-c", config]),
        "list": MAIN.format(["list"]),
        "schema": MAIN.format(["schema"]),
    }[command]


@pytest.mark.parametrize("command", ["import", "help", "train --help", "validate", "list", "schema"])
def test_no_heavy_package_is_loaded(command, config):
    watched = (
        f"import atexit, sys; atexit.register(lambda: print(*sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{watched}\n{code(command, config)}"], capture_output=True, text=True, check=True
    )
    assert done.stderr == "\n"


def test_importing_declarlm_loads_no_module_of_it():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, declarlm; print(*[name for name in sys.modules if 'declarlm.' in name])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "\n"


def seconds(source: str) -> float:
    """Processor time of a fresh Python, so that other work on the machine does not count."""
    started = _children()
    subprocess.run([sys.executable, "-c", source], capture_output=True, check=True, cwd=Path(__file__).parent)
    return _children() - started


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize(("command", "bound"), [("import", 0.5), ("help", 0.5), ("validate", 1.0)])
def test_the_first_commands_are_quick(command, bound, config):
    pairs = [(seconds("pass"), seconds(code(command, config))) for _ in range(5)]
    bare = statistics.median(pair[0] for pair in pairs)
    taken = statistics.median(pair[1] for pair in pairs)
    # A Python that starts in 20 ms is the machine that the bounds are meant for; a slower one may take longer.
    assert taken <= bound * max(1.0, bare / 0.02)
