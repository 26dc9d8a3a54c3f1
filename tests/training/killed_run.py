"""Train the small model in processes that can be killed.

Torch is imported once. Each line on stdin, ``DIRECTORY OPTIMIZER fresh|resume``, forks a process that trains.
Lines on stdout: ``started PID``, ``step N`` after each step, ``hash H`` of weights and hook at the end or
``error TYPE CODE``, and ``ended STATUS``.
"""

import hashlib
import os
import sys
from pathlib import Path

import torch
from small_run import make_model, make_trainer
from torch import Tensor, nn

from declarlm.core import DeclarlmError


class Pruner:
    """A hook with a state of its own, like AdaLoRA's importance averages: it damps weights by their history."""

    def __init__(self, weight: nn.Parameter) -> None:
        self.weight, self.average = weight, torch.zeros_like(weight)

    def extra_loss(self) -> Tensor:
        return 1e-3 * self.weight.square().sum()

    def after_step(self, step: int) -> None:
        print("step", step, flush=True)
        self.average = 0.9 * self.average + 0.1 * (self.weight * self.weight.grad).abs().detach()
        with torch.no_grad():
            self.weight -= 0.01 * self.average.sign() * self.weight * (step % 2)

    def settled(self) -> bool:
        return True

    def state(self) -> dict[str, Tensor]:
        return {"average": self.average}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.average = state["average"].clone()


def main(directory: str, optimizer: str, mode: str) -> None:
    model = make_model()

    def evaluate() -> dict[str, float]:
        torch.rand(1)  # An evaluation that draws random numbers must not change training.
        return {"loss": float(sum(weight.abs().sum() for weight in model.parameters()))}

    config = {"epochs": 4, "optimizer": optimizer, "steps_per_checkpoint": 3, "early_stop": -1}
    hook = Pruner(model[2].weight)
    trainer = make_trainer(Path(directory), config, module=model, hooks=[hook], evaluate=evaluate)
    if mode == "fresh":
        trainer.fire_drill(evaluate)
    try:
        list(trainer.fit(resume=mode == "resume"))
    except DeclarlmError as error:
        print("error", type(error).__name__, error.exit_code, error, flush=True)
        return
    digest = hashlib.sha256()
    for tensor in [*model.state_dict().values(), hook.average]:
        digest.update(tensor.numpy().tobytes())
    print("hash", digest.hexdigest(), flush=True)


torch.set_num_threads(1)
import bitsandbytes  # noqa: E402, F401

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        print("started", os.getpid(), flush=True)
        main(*line.split())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("ended", os.waitstatus_to_exitcode(status), flush=True)
