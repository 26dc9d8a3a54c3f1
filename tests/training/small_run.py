"""A small model with dropout, rows of different lengths for it, and a trainer of both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from declarlm.training import Trainer, parameter_groups


class Tokens:
    """Predict the next of random tokens: rows of 2 to 12 tokens, the loss a sum over them."""

    importance: Mapping[str, float] = {"answer": 1.0}

    def __init__(self, num_rows: int = 40) -> None:
        generator = np.random.default_rng(0)
        self.num_rows = num_rows
        self.costs = generator.integers(2, 13, num_rows)
        self.data = [torch.tensor(generator.integers(1, 16, length)) for length in self.costs]

    def prepare(self, module: nn.Module, rows: np.ndarray[Any, Any], budget: int) -> None:
        pass

    def weights(self, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        return {"answer": float((self.costs[rows] - 1).sum())}

    def losses(self, module: nn.Module, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
        padded = nn.utils.rnn.pad_sequence([self.data[row] for row in rows], batch_first=True)
        logits, targets = module(padded[:, :-1]), padded[:, 1:]
        return {"answer": nn.functional.cross_entropy(logits.mT, targets, ignore_index=0, reduction="sum")}


class Notes:
    """Progress that keeps the sentences."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def step(self, report: Any) -> None:
        pass

    def evaluation(self, evaluation: Any) -> None:
        pass

    def about(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None:
        pass


class Counter:
    """A hook whose state changes with every step."""

    def __init__(self) -> None:
        self.count = torch.zeros(1)

    def extra_loss(self) -> None:
        return None

    def after_step(self, step: int) -> None:
        self.count = self.count + 1

    def settled(self) -> bool:
        return True

    def state(self) -> dict[str, Tensor]:
        return {"count": self.count}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.count = state["count"].clone()


class Running(nn.Module):
    """Keeps a running mean, as a normalization does."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * inputs.detach().mean())
        return inputs - self.mean


def make_model(dropout: float = 0.1) -> nn.Module:
    torch.manual_seed(7)
    body = [nn.Embedding(16, 64), nn.Dropout(dropout), nn.Linear(64, 80), nn.GELU(), nn.LayerNorm(80)]
    return nn.Sequential(*body, nn.Linear(80, 16))


def make_trainer(directory: Path, config: Mapping[str, Any] | None = None, **arguments: Any) -> Trainer:
    """Make a trainer; ``config`` goes into its section, and keywords replace its arguments."""
    rate = (config or {}).get("learning_rate", 0.01)
    section = Trainer.Config.load({"learning_rate": rate, "batch_size": 8, **(config or {})})
    module = arguments.pop("module", None) or make_model()
    workload = arguments.pop("workload", None) or Tokens()
    defaults: dict[str, Any] = {
        "parameter_groups": parameter_groups(module, rate),
        "evaluate": None,
        "goal": "minimize",
        "metric": "loss",
        "directory": directory,
        "seed": 42,
        "device": "cpu",
    }
    return Trainer(section, module, workload, **{**defaults, **arguments})


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same(left: Mapping[str, Tensor], right: Mapping[str, Tensor], tolerance: float = 0.0) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], rtol=0, atol=tolerance, msg=f"{name} differs")
