"""What every backend has in common."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from declarlm.core import Problem, Registry, Section

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.training.group import Alone
    from declarlm.training.progress import Progress
    from declarlm.training.workload import Evaluation

    Predict = Callable[[pd.DataFrame], tuple[pd.DataFrame, dict[int, str]]]

backends: Registry[Backend] = Registry("backend", package="declarlm.backends")


@dataclass(frozen=True, eq=False)
class Seat:
    """What a process gets that trains together with others.

    Attributes:
        group: The processes that train together.
        device: Where this one computes.
        progress: Where it reports to.
    """

    group: Alone
    device: str
    progress: Progress


class Job(Protocol):
    """A training that any process can begin; it can be sent to one.

    Attributes:
        directory: The run directory, which all processes see.
    """

    directory: Path

    def __call__(self, seat: Seat) -> Generator[Evaluation, None, Any]:
        """Take part in the training, yield after each evaluation, and return what it found."""
        ...


class Backend:
    """Run trainings and predictions.

    Attributes:
        config: Its section.
        is_here: Whether all of it runs in this process.
    """

    is_here: ClassVar[bool] = False

    class Config(Section):
        def check_model(self, config: Any) -> Iterable[Problem]:
            """Yield what this backend cannot run of the whole config."""
            return ()

    def __init__(self, config: Any) -> None:
        self.config = config

    def opened(self) -> AbstractContextManager[object]:
        """Keep what several trainings in a row need ready for the length of the block."""
        return nullcontext()

    def train(self, job: Job, progress: Progress | None) -> Generator[Evaluation, None, Any]:
        """Run a training in processes of its own, yield after each evaluation, and return what it returns.

        Raises:
            StoppedError: On Ctrl-C or SIGTERM, with a checkpoint written.
            RunError: If a process dies.
        """
        raise NotImplementedError

    def predict(self, table: pd.DataFrame, make: Callable[[], Predict]) -> tuple[pd.DataFrame, dict[int, str]]:
        """Return the predictions for a table, a row each, in its order, and why rows failed, by position.

        Args:
            table: The rows.
            make: Makes, once in each process, what does the same for some of them; it can be sent there.
        """
        raise NotImplementedError
