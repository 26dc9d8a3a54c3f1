"""Going on with what was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.api.model import DeclarLM
from declarlm.api.result import TrainResult
from declarlm.core import DataError
from declarlm.run import open_run

if TYPE_CHECKING:
    from declarlm.training.progress import Progress


def resume_training(
    directory: str | Path,
    *,
    dataset: Any = None,
    validation: Any = None,
    test: Any = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Go on with a training that was interrupted, on the same rows.

    Args:
        directory: The run directory.
        dataset: The same rows, if they are not where they were.
        validation: Likewise for a validation set of its own.
        test: Likewise for a test set of its own.
        device: As for ``DeclarLM``.
        progress: Where steps and evaluations are shown.

    Raises:
        DataError: If the rows cannot be found, or are others than those that training began with.
        RunError: If the directory is no run, or nothing is left to do in it.
    """
    run = open_run(Path(directory))
    run.check_resumable()
    sources = run.read("data")["sources"]
    given = {"dataset": dataset, "validation": validation, "test": test}
    for role, source in sources.items():
        if given[role] is None:
            if source["path"] is None:
                raise DataError(f"the {role} rows of {run.directory} were a table in memory; give them again")
            given[role] = source["path"]
    model = DeclarLM(run.directory / "config.resolved.yaml", device=device)
    return model.train(**given, resume=directory, progress=progress)
