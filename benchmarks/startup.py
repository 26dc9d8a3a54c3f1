"""Measure how long the first commands take: fresh processes, the median of seven after one to warm the disk.

python benchmarks/startup.py        (make benchmark-startup)
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from quality import RESULTS, ROOT, commit, machine

BIN = Path(sys.executable).parent
COMMANDS = {  # command -> seconds at most
    "python -c 'import declarlm'": ([str(BIN / "python"), "-c", "import declarlm"], 0.5),
    "declarlm --help": ([str(BIN / "declarlm"), "--help"], 0.5),
    "declarlm validate": ([str(BIN / "declarlm"), "validate", "-c", "examples/quickstart/family.yaml"], 1.0),
}


def seconds(command: list[str]) -> float:
    """Return the wall time of one run."""
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


def heavy_modules(command: list[str]) -> list[str]:
    """Return which heavy libraries a Python command loads."""
    arguments = ["-X", "importtime", *command[1:]] if command[0].endswith("python") else ["-X", "importtime", *command]
    done = subprocess.run([str(BIN / "python"), *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    return sorted(loaded & {"torch", "transformers", "peft", "pandas", "sklearn", "numpy"})


def main() -> None:
    """Measure, print and write the results."""
    rows = []
    for name, (command, bound) in COMMANDS.items():
        seconds(command)
        times = [seconds(command) for _ in range(7)]
        median = statistics.median(times)
        rows.append(
            {
                "command": name,
                "median_seconds": round(median, 3),
                "at_most": bound,
                "held": median <= bound,
                "heavy_modules": heavy_modules(command),
            }
        )
        print(rows[-1])
    report = {"machine": machine(), "commit": commit(), "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "startup.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
