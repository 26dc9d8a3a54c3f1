"""Uses runs in a process that records what code from strangers would need: unpickling, processes, connections.

Usage: ``audited.py REPORT RUN...``, where ``resume:RUN`` goes on with a run. Writes the predictions of each and what
was recorded to ``REPORT``.
"""

import json
import sys
import traceback
from typing import Any

WATCHED = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect")
found: list[str] = []


def record(event: str, arguments: tuple[Any, ...]) -> None:
    if event in WATCHED:
        callers = " < ".join(f"{frame.name} ({frame.filename})" for frame in traceback.extract_stack()[-8:])
        found.append(f"{event} {arguments}: {callers}")


sys.addaudithook(record)

import pandas as pd  # noqa: E402

from declarlm import DeclarLM  # noqa: E402
from declarlm.api import resume_training  # noqa: E402

report, *runs = sys.argv[1:]
rows = pd.read_json(sys.stdin.read().strip(), orient="records", lines=True, dtype=False)
predictions = {}
for run in runs:
    kind, _, place = run.rpartition(":")
    model = resume_training(place, device="cpu").model if kind == "resume" else DeclarLM.load(place, device="cpu")
    predictions[run] = model.predict(rows).to_dict("list")
    model.evaluate(rows)
with open(report, "w", encoding="utf-8") as file:  # noqa: PTH123
    json.dump({"found": found, "predictions": predictions}, file)
