"""Processes of Ray that train together, and who leads them: what they tell and are told."""

from __future__ import annotations

import asyncio
import os
import socket
import traceback
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from declarlm.backends.base import Job, Seat
from declarlm.backends.cluster import own_umask
from declarlm.core import DeclarlmError, RunError
from declarlm.training.interrupts import Interrupts
from declarlm.training.progress import Progress, Quiet, Silent, StepReport

if TYPE_CHECKING:
    from declarlm.training.workload import Evaluation

POLL_SECONDS = 0.5  # between two looks at whether the processes still run
# A process that dies is noticed by Ray; one that waits for others, such as while these evaluate, may wait long.
PATIENCE = timedelta(days=7)


class Mailbox:
    """What goes between the processes and who leads them; an actor of Ray."""

    def __init__(self) -> None:
        self._letters: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[bool] = asyncio.Queue()
        self._stop = asyncio.Event()

    async def send(self, kind: str, content: Any) -> None:
        """Leave a letter for the leader."""
        await self._letters.put((kind, content))

    async def receive(self, seconds: float) -> tuple[str, Any]:
        """Return the next letter, or an empty one if none comes in time."""
        try:
            return await asyncio.wait_for(self._letters.get(), seconds)
        except TimeoutError:
            return "", None

    async def answer(self, goes_on: bool) -> None:
        """Tell the first process whether training goes on after an evaluation."""
        await self._answers.put(goes_on)

    async def ask(self) -> bool:
        """Return whether training goes on after the evaluation that was sent last."""
        return await self._answers.get()

    async def stop(self) -> None:
        """Ask the processes to write a checkpoint and stop."""
        self._stop.set()

    async def stopping(self) -> None:
        """Return when somebody asked the processes to stop."""
        await self._stop.wait()


class Relayed:
    """Progress that is shown where the leader is."""

    def __init__(self, send: Callable[[str, Any], object]) -> None:
        self._send = send

    def step(self, report: StepReport) -> None:
        self._send("step", (report,))

    def evaluation(self, evaluation: Evaluation) -> None:
        self._send("evaluation", (evaluation,))

    def note(self, text: str) -> None:
        self._send("note", (text,))

    def about(self, text: str) -> None:
        self._send("about", (text,))

    def close(self) -> None:
        self._send("close", ())


class Crew:
    """Processes that do a job together.

    Args:
        ray: Ray, which runs.
        job: What they do.
        shards: Whether they split the weights.
        meeting: File through which processes of one machine find each other; others find each other by Ray.
    """

    def __init__(self, ray: Any, job: Job, *, shards: bool, meeting: Path | None) -> None:
        self._ray, self._job = ray, job
        self._mailbox = ray.remote(num_cpus=0)(Mailbox).remote()
        self.work = _Work(job, self._mailbox, shards=shards, meeting=meeting)

    def lead(self, run: Callable[[], object], progress: Progress | None) -> Generator[Evaluation, None, Any]:
        """Have ``run`` do the work, yield each evaluation, and return what the first process returns.

        Raises:
            StoppedError: On Ctrl-C or SIGTERM, with a checkpoint written.
            RunError: If a process dies; and whatever else one raises.
        """
        outcome: list[BaseException | None] = []
        thread = Thread(target=_kept, args=(run, outcome), daemon=True)
        thread.start()
        ending = _Ending(self._job.directory)
        while (evaluation := self._until_evaluation(thread, progress or Quiet(), ending)) is not None:
            goes_on = False
            try:
                yield evaluation
                goes_on = True
            finally:
                self._ray.get(self._mailbox.answer.remote(goes_on))
                if not goes_on:
                    thread.join()
        return ending.settle(outcome[0])

    def _until_evaluation(self, thread: Thread, shown: Progress, ending: _Ending) -> Evaluation | None:
        """Show what the processes tell up to the next evaluation, and return that, or nothing when all have ended."""
        interrupts, is_stopping = Interrupts(), False
        with interrupts.caught():
            while True:
                evaluation: Evaluation | None = None
                has_ended = not thread.is_alive()
                try:
                    with interrupts.held():  # no letter is lost
                        letter: tuple[str, Any] = self._ray.get(self._mailbox.receive.remote(POLL_SECONDS))
                        kind, content = letter
                        if kind == "evaluated":
                            evaluation = content
                        elif kind in ("result", "failed"):
                            getattr(ending, kind)(content)
                        elif kind:
                            getattr(shown, kind)(*content)
                except KeyboardInterrupt:
                    if is_stopping:
                        raise  # A second signal does not wait for the checkpoint.
                    is_stopping = True
                    self._ray.get(self._mailbox.stop.remote())
                if evaluation is not None or (has_ended and not kind):
                    return evaluation


class _Ending:
    """How the processes ended."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._results: list[Any] = []
        self._failures: list[BaseException] = []

    def result(self, value: Any) -> None:
        self._results.append(value)

    def failed(self, error: BaseException) -> None:
        self._failures.append(error)

    def settle(self, outcome: BaseException | None) -> Any:
        """Return the result, or raise what explains best why there is none."""
        if self._results:
            return self._results[0]
        # Where one process fails, the others break off as they lose it.
        known = sorted(self._failures, key=lambda error: (not isinstance(error, DeclarlmError), _is_loss(error)))
        if known and isinstance(known[0], DeclarlmError):
            raise known[0]
        if outcome is not None and "Actor" not in repr(outcome) and not known:
            raise outcome
        told = "died, killed or out of memory"
        if known and not _is_loss(known[0]):
            told = f"failed: {str(known[0]).splitlines()[0]}"
        again = f"go on with: declarlm resume {self._directory}"
        raise RunError(f"a training process {told}; {again}") from next(iter(known), outcome)


def _is_loss(error: BaseException) -> bool:
    """Return whether a process says no more than that it lost another one."""
    return any(sign in str(error).partition("\n")[0] for sign in ("peer", "Connection", "Socket", "NCCL"))


def _kept(run: Callable[[], object], outcome: list[BaseException | None]) -> None:
    """Run something in a thread and keep the error that it ends with, if any."""
    try:
        run()
    except BaseException as error:  # noqa: BLE001  # the leader raises what it is worth
        outcome.append(error)
    else:
        outcome.append(None)


class _Work:
    """What each process runs."""

    def __init__(self, job: Job, mailbox: Any, *, shards: bool, meeting: Path | None) -> None:
        self.job, self.mailbox, self.shards, self.meeting = job, mailbox, shards, meeting
        self.here, self.mask = Path.cwd(), own_umask()

    def __call__(self) -> None:
        import ray

        os.umask(self.mask)
        os.chdir(self.here)  # so that relative paths mean what they mean to who began
        try:
            self._work(ray)
        except DeclarlmError as error:
            ray.get(self.mailbox.send.remote("failed", error))
            raise
        except Exception as error:
            told = RuntimeError(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
            ray.get(self.mailbox.send.remote("failed", told))
            raise

    def _work(self, ray: Any) -> None:
        import ray.train.torch

        from declarlm.training.group import Replicated
        from declarlm.training.sharding import Sharded

        device = str(ray.train.torch.get_device())
        self._meet(ray, device)
        asked = self.mailbox.stopping.remote()
        group = (Sharded if self.shards else Replicated)(device, lambda: bool(ray.wait([asked], timeout=0)[0]))
        send = self.mailbox.send.remote
        steps = self.job(Seat(group, device, Relayed(send) if group.is_first else Silent()))
        while True:
            try:
                evaluation = next(steps)
            except StopIteration as end:
                if group.is_first:
                    ray.get(send("result", end.value))
                return
            goes_on = True
            if group.is_first:
                ray.get(send("evaluated", evaluation))
                goes_on = ray.get(self.mailbox.ask.remote())
            if not group.same(goes_on):
                steps.close()
                return

    def _meet(self, ray: Any, device: str) -> None:
        """Open the process group, if Ray did not; on one machine nothing but loopback is listened on."""
        import torch
        from torch import distributed

        if self.meeting is None:
            return
        names = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
        for library in ("GLOO", "NCCL"):
            os.environ[f"{library}_SOCKET_IFNAME"] = names[0]
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        context = ray.train.get_context()
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo",
            init_method=f"file://{self.meeting}",
            rank=context.get_world_rank(),
            world_size=context.get_world_size(),
            timeout=PATIENCE,
        )


def torch_config(ray: Any, *, meets: bool) -> Any:
    """Return how Ray prepares torch in each process: it opens the process group, unless they meet by themselves."""
    import ray.train.backend

    class Unopened(ray.train.torch.TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> Any:
            return ray.train.backend.Backend

    mixed = "cpu:gloo,cuda:nccl" if ray.cluster_resources().get("GPU") else "gloo"
    seconds = int(PATIENCE.total_seconds())
    return Unopened() if meets else ray.train.torch.TorchConfig(backend=mixed, timeout_s=seconds)
