"""``declarlm`` in processes of its own, which a test may kill."""

import json
import subprocess
import sys
from pathlib import Path


class Forks:
    """``declarlm`` as processes: forks of one that has imported everything."""

    def __init__(self, errors: Path) -> None:
        command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("forked_cli.py"))]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.errors = errors

    def _ask(self, line: str) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(line, file=self._server.stdin, flush=True)
        return int(self._server.stdout.readline())

    def start(self, *arguments: object) -> int:
        """Start ``declarlm`` and return the number of its process."""
        return self._ask(f"start {json.dumps([list(map(str, arguments)), str(self.errors)])}")

    def wait(self, process: int) -> int:
        """Return the exit status of a process; what it wrote to stderr is then in ``errors``."""
        return self._ask(f"wait {process}")

    def run(self, *arguments: object) -> int:
        return self.wait(self.start(*arguments))

    def close(self) -> None:
        self._server.communicate()  # closes its stdin, at which it ends


class Commands(Forks):
    """``declarlm`` as a person starts it."""

    def __init__(self, errors: Path) -> None:
        self.errors, self._processes = errors, dict[int, subprocess.Popen[bytes]]()

    def start(self, *arguments: object) -> int:
        code = "from declarlm.cli import main; main()"
        command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
        with self.errors.open("wb") as errors:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        self._processes[process.pid] = process
        return process.pid

    def wait(self, process: int) -> int:
        return self._processes.pop(process).wait()

    def close(self) -> None:
        assert not self._processes
