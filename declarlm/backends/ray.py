"""Processes of Ray, on this machine or on a cluster: pip install "declarlm[tune]"."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Literal

from declarlm.backends.base import Backend, Job, backends
from declarlm.backends.cluster import import_ray, started
from declarlm.core import ConfigError, Problem, param

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.backends.base import Predict
    from declarlm.training.progress import Progress
    from declarlm.training.workload import Evaluation


@backends.register("ray")
class Ray(Backend):
    """Train one model in several processes of Ray, each on its share of every step's rows, and predict tables there.

    An optimizer step is that of one process with the same ``batch_size``, whatever the number of processes. Rows are
    read by each process, and the run is written by the first one, so that all machines of a cluster must see the same
    files under the same paths.
    """

    class Config(Backend.Config):
        num_workers: int | Literal["auto"] = param(
            "Processes; auto is one for each GPU, or, without GPUs, for each machine.", default="auto", min=1
        )
        strategy: Literal["ddp", "fsdp"] = param(
            "What each process holds: ddp is the whole model, fsdp a part of every layer, for a base that does not fit "
            "on one GPU.",
            default="ddp",
        )
        cpu_resources_per_worker: float = param(
            "CPUs of a process; its threads follow from them.", default=1.0, above=0
        )
        gpu_resources_per_worker: float | Literal["auto"] = param(
            "GPUs of a process; auto is 1 where there are GPUs.", default="auto", min=0
        )
        address: str | None = param(
            "Address of a running cluster; null starts Ray on this machine, for as long as it is needed.", default=None
        )

        def check_model(self, config: Any) -> Iterable[Problem]:
            if self.strategy == "ddp":
                return
            remedy = "write backend.strategy: ddp"
            if not config.is_llm:
                yield Problem("backend.strategy", f"'fsdp' is for model_type 'llm'; {remedy}")
                return
            if config.quantization is not None:
                yield Problem("quantization", f"cannot be split over processes; leave it out, or {remedy}")
            if config.adapter is not None and not config.adapter.plugin.can_shard:
                yield Problem("adapter.type", f"{config.adapter.type!r} needs whole weights; {remedy}")
            if not config.trainer.optimizer.plugin.can_shard:
                kind = config.trainer.optimizer.type
                yield Problem("trainer.optimizer.type", f"{kind!r} needs whole weights; write adamw, or {remedy}")

    config: Config

    def opened(self) -> AbstractContextManager[Path]:
        return started(self._import(), self.config.address)

    def _import(self) -> Any:
        return import_ray("backend", "backend: local")

    def train(self, job: Job, progress: Progress | None) -> Generator[Evaluation, None, Any]:
        from declarlm.backends.workers import Crew, torch_config

        ray = self._import()
        with self.opened() as scratch:
            import ray.train
            import ray.train.torch

            num_workers, resources = self._resources(ray)
            is_alone = ray.util.get_node_ip_address() == "127.0.0.1"
            if not is_alone:
                scratch = job.directory.resolve() / ".ray"  # which all machines see
            meeting = scratch / "meeting" if is_alone else None
            crew = Crew(ray, job, shards=self.config.strategy == "fsdp", meeting=meeting)
            trainer = ray.train.torch.TorchTrainer(
                crew.work,
                torch_config=torch_config(ray, meets=is_alone),
                scaling_config=ray.train.ScalingConfig(
                    num_workers=num_workers, use_gpu="GPU" in resources, resources_per_worker=resources
                ),
                run_config=ray.train.RunConfig(storage_path=str(scratch / "train"), name="train"),
            )
            try:
                return (yield from crew.lead(trainer.fit, progress))
            finally:
                rmtree(job.directory / ".ray", ignore_errors=True)

    def predict(self, table: pd.DataFrame, make: Callable[[], Predict]) -> tuple[pd.DataFrame, dict[int, str]]:
        from declarlm.backends.tables import predict_blocks

        ray = self._import()
        with self.opened():
            number, each = self._resources(ray)
            needs = {"num_cpus": each["CPU"], "num_gpus": each.get("GPU")}
            # On one machine a process that died would die again, and Ray says at length that it cannot promise more.
            again = {} if self.config.address else {"max_restarts": 0, "max_task_retries": 0}
            return predict_blocks(ray, table, make, num_processes=number, **needs, **again)

    def _resources(self, ray: Any) -> tuple[int, dict[str, float]]:
        """Return the number of processes, and what each needs.

        Raises:
            ConfigError: If there is no room for them.
        """
        config, there = self.config, ray.cluster_resources()
        gpus = config.gpu_resources_per_worker
        each = float(there.get("GPU", 0) >= 1) if gpus == "auto" else float(gpus)
        resources = {"CPU": config.cpu_resources_per_worker, **({"GPU": each} if each else {})}
        room = min(int(there.get(name, 0) / amount) for name, amount in resources.items())
        usual = int(there["GPU"] / each) if each and there.get("GPU") else len(ray.nodes())
        number = min(usual, max(1, room)) if config.num_workers == "auto" else config.num_workers
        if number > room:
            wanted = ", ".join(f"{amount:g} {name}" for name, amount in resources.items())
            have = f"there are {there.get('CPU', 0):g} CPU, {there.get('GPU', 0):g} GPU"
            problem = f"{number} processes with {wanted} each need more than there is: {have}"
            raise ConfigError("config", [Problem("backend.num_workers", problem)])
        return number, resources
