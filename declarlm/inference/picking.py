"""Which token comes next: penalties, constraints, and the most probable or a random one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from declarlm.decoders.constraints import Constraint
    from declarlm.inference.generation import Generation


class Picker:
    """Picks the next tokens of one batch; call it once for each step."""

    def __init__(
        self,
        settings: Generation,
        stop_ids: Collection[int],
        constraint: Constraint | None,
        prompts: Mapping[int, Sequence[int]],
        limits: Mapping[int, int],
    ) -> None:
        self._settings = settings
        self._stop_ids = sorted(stop_ids)
        self._constraint = constraint
        self._prompts = prompts
        self._limits = limits
        # A state may change in place: each row has its own.
        self._states = {row: constraint.start() for row in prompts} if constraint else {}
        self._seen: Tensor | None = None
        self._luck = {row: _uniform(settings.seed, row, limits[row]) for row in prompts} if settings.samples else {}

    def __call__(self, logits: Tensor, active: Sequence[int], answers: Mapping[int, list[int]]) -> Tensor:
        """Return the next token of each active row, from float32 ``(active, vocab)`` to int64 ``(active,)``."""
        if self._settings.repetition_penalty != 1.0:
            logits = self._penalize(logits, active, answers)
        if size := self._settings.no_repeat_ngram_size:
            for place, row in enumerate(active):
                logits[place, _repeating([*self._prompts[row], *answers[row]], size)] = float("-inf")
        step = len(answers[active[0]])
        if step < self._settings.min_new_tokens:
            logits[:, self._stop_ids] = float("-inf")
        if self._constraint is not None:
            logits = self._constrain(logits, active, answers)
        if not self._settings.samples:
            return logits.argmax(-1)
        return _draw(logits, [self._luck[row][step] for row in active], self._settings)

    def keep(self, places: Tensor) -> None:
        """Forget the rows that are no longer active."""
        if self._seen is not None:
            self._seen = self._seen[places]

    def _penalize(self, logits: Tensor, active: Sequence[int], answers: Mapping[int, list[int]]) -> Tensor:
        """Make seen tokens less probable, as in Keskar et al., "CTRL", 2019, section 4.1."""
        import torch

        if self._seen is None:
            self._seen = torch.zeros_like(logits, dtype=torch.bool)
            for place, row in enumerate(active):
                self._seen[place, list(self._prompts[row])] = True
        else:
            last = torch.tensor([answers[row][-1] for row in active], device=logits.device)
            self._seen[torch.arange(len(active), device=logits.device), last] = True
        penalty = self._settings.repetition_penalty
        return torch.where(self._seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)

    def _constrain(self, logits: Tensor, active: Sequence[int], answers: Mapping[int, list[int]]) -> Tensor:
        import numpy as np
        import torch

        constraint: Any = self._constraint
        allowed = []
        for row in active:
            if answers[row]:
                self._states[row] = constraint.follow(self._states[row], answers[row][-1])
            allowed.append(constraint.allowed(self._states[row], self._limits[row] - len(answers[row])))
        mask = torch.from_numpy(np.stack(allowed)).to(logits.device)
        return logits[:, : mask.shape[1]].masked_fill(~mask[:, : logits.shape[1]], float("-inf"))


def _repeating(tokens: Sequence[int], size: int) -> list[int]:
    """Return the tokens that would complete a run of ``size`` tokens that occurred before."""
    ending = list(tokens[len(tokens) - size + 1 :])
    runs = range(len(tokens) - size + 1)
    return [tokens[start + size - 1] for start in runs if list(tokens[start : start + size - 1]) == ending]


def _uniform(seed: int, row: int, count: int) -> np.ndarray[Any, Any]:
    """Return the random numbers of one row, which do not depend on how rows are batched."""
    import numpy as np

    return np.random.default_rng((seed, row)).random(count)


def _draw(logits: Tensor, luck: Sequence[float], settings: Generation) -> Tensor:
    """Return a token of each row at random: temperature, then the top k, then the top p of what is left."""
    import torch

    ranked, order = (logits / (settings.temperature or 1.0)).sort(-1, descending=True)
    if settings.top_k:
        ranked[:, settings.top_k :] = float("-inf")
    probabilities = ranked.softmax(-1, dtype=torch.float64)
    if settings.top_p is not None:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= settings.top_p, 0)
    shares = probabilities.cumsum(-1)
    points = torch.tensor(luck, dtype=shares.dtype, device=shares.device)[:, None] * shares[:, -1:]
    rank = torch.searchsorted(shares, points, right=True).clamp(max=logits.shape[1] - 1)
    return order.gather(1, rank)[:, 0]
