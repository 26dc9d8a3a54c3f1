"""What one moment of training is, beside the weights and the optimizer."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


LOSS_SCALE = 2.0**16  # with which training in fp16 starts, and the most
STEADY_STEPS = 500  # after which it is doubled


@dataclass
class TrainState:
    """Where training stands. All of it is JSON and goes into every checkpoint.

    Attributes:
        step: Optimizer steps done, which is also the position in the rows.
        budget: Tokens of a micro-batch; falls when memory runs out.
        evaluated: Step of the last evaluation.
        failures: Steps in a row whose loss or gradient was not finite.
        loss_scale: Factor of the gradients while they are computed; above 1 only in fp16.
        steady: Steps since it changed.
        loss_sum: Sum of the losses since the last evaluation.
        loss_steps: Number of those losses.
        best_step: Step of the best evaluation, or none yet.
        best_value: Its metric.
        rounds: Evaluations since the best one.
        seconds: Time spent so far.
        history: The evaluations so far.
    """

    step: int = 0
    budget: int = 0
    evaluated: int = 0
    failures: int = 0
    loss_scale: float = 1.0
    steady: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_step: int | None = None
    best_value: float | None = None
    rounds: int = 0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)

    def overflows(self, loss: float, norm: float) -> bool:
        """Return whether a step must be computed again, with the lower loss scale that is then set.

        Source: Micikevicius et al., 2018, https://arxiv.org/abs/1710.03740, section 3.2.

        Args:
            loss: Its loss, without the scale; where it is not finite, no scale helps.
            norm: Length of its gradient.
        """
        if math.isfinite(norm) or not math.isfinite(loss) or self.loss_scale <= 1.0:
            return False
        self.loss_scale, self.steady = self.loss_scale / 2, 0
        return True

    def count_steady(self) -> None:
        """Count a step in which nothing overflowed, and raise the loss scale after many of them."""
        self.steady += 1
        if self.loss_scale > 1.0 and self.steady >= STEADY_STEPS:
            self.loss_scale, self.steady = min(2 * self.loss_scale, LOSS_SCALE), 0


@dataclass(frozen=True)
class RandomState:
    """The state of every generator that training may draw from: Python, numpy, torch and the device."""

    python: Any
    numpy: Any
    host: torch.Tensor
    device: torch.Tensor | None

    @classmethod
    def capture(cls, device: torch.device) -> RandomState:
        """Return the present state."""
        import numpy as np
        import torch

        on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), on_device)

    @classmethod
    def seeded(cls, seed: int, device: torch.device) -> RandomState:
        """Return the state that a seed gives, without touching the present one."""
        import numpy as np
        import torch

        present = cls.capture(device)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        state = cls.capture(device)
        present.restore(device)
        return state

    def restore(self, device: torch.device) -> None:
        """Set every generator to this state."""
        import numpy as np
        import torch

        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.host)
        if self.device is not None and device.type == "cuda":
            torch.cuda.set_rng_state(self.device, device)

    def dump(self) -> dict[str, Any]:
        """Return the state as JSON; long words are hexadecimal."""
        import numpy as np

        version, words, gauss = self.python
        kind, keys, *rest = self.numpy
        return {
            "python": [version, np.array(words, dtype=np.uint32).tobytes().hex(), gauss],
            "numpy": [kind, keys.tobytes().hex(), *rest],
            "host": self.host.numpy().tobytes().hex(),
            "device": None if self.device is None else self.device.numpy().tobytes().hex(),
        }

    @classmethod
    def load(cls, data: dict[str, Any]) -> RandomState:
        """Return the state that ``dump`` wrote."""
        import numpy as np
        import torch

        def read(text: str, dtype: Any) -> Any:
            return np.frombuffer(bytes.fromhex(text), dtype=dtype).copy()

        version, words, gauss = data["python"]
        kind, keys, *rest = data["numpy"]
        return cls(
            (version, tuple(read(words, np.uint32).tolist()), gauss),
            (kind, read(keys, np.uint32), *rest),
            torch.from_numpy(read(data["host"], np.uint8)),
            None if data["device"] is None else torch.from_numpy(read(data["device"], np.uint8)),
        )
