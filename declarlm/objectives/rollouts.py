"""The answers that a step draws, and what is lost by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from declarlm.inference.generation import Generation
from declarlm.objectives.base import Supervised

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from declarlm.models.drawn import Drawn, PromptRows
    from declarlm.models.llm import Llm
    from declarlm.objectives.grpo import Grpo

REWARDS = "rewards"


@dataclass(frozen=True)
class Rollout:
    """The answers that were drawn to the prompts of a step, all answers to one prompt after another.

    Attributes:
        drawn: The answers, ``num_generations`` for each prompt.
        places: Number of each row among the prompts.
        advantages: How good each answer is in its group, ``(answers,)``.
        before: Log-probability of each token of each answer when it was drawn.
        reference: The same by the reference; empty if nothing is compared with it.
    """

    drawn: Drawn
    places: Mapping[int, int]
    advantages: Tensor
    before: Sequence[Tensor]
    reference: Sequence[Tensor]


class Rollouts(Supervised):
    """Prompts, and answers that are drawn anew in each step, as the trainer asks for them."""

    def __init__(self, objective: Grpo, model: Llm, store: PromptRows) -> None:
        super().__init__(model, store)
        self.objective, self.llm, self.prompts = objective, model, store
        self.importance = {REWARDS: 1.0}
        # Until answers are drawn, they are taken to be as long as the known ones.
        self.costs = store.costs * objective.config.num_generations
        self._rollout: Rollout | None = None

    def prepare(self, module: nn.Module, rows: np.ndarray[Any, Any], budget: int) -> None:
        """Draw answers to the prompts of a step and judge them."""
        import numpy as np
        import torch

        from declarlm.layers.policy_loss import group_advantages

        config, device, size = self.objective.config, self.llm.module.device, self.objective.config.num_generations
        # Drawn from the generator of the training, whose state is in each checkpoint.
        seed = int(torch.randint(2**31 - 1, ()).item())
        each = np.repeat(rows, size)
        settings = Generation(do_sample=True, seed=seed)
        drawn = self.objective.draw(self.llm, self.prompts, each, settings, budget)
        rewards = torch.from_numpy(self.objective.judge(self.llm, self.prompts, each, drawn.texts).total)
        advantages = group_advantages(rewards.view(len(rows), size))
        if self.rehearses:
            # Whatever the answers are worth, a rehearsal is to show that there is a gradient.
            advantages = torch.linspace(-1, 1, size, dtype=advantages.dtype).expand_as(advantages)
        before = drawn.log_probs(self.llm.module, budget)
        reference: Sequence[Tensor] = ()
        if config.beta:
            with self.objective.refer(self.llm) as other:
                reference = drawn.log_probs(other, budget)
        places = {row: place for place, row in enumerate(rows.tolist())}
        self._rollout = Rollout(drawn, places, advantages.flatten().float().to(device), before, reference)
        self.costs[rows] = size * drawn.ids.lengths.reshape(-1, size).max(axis=1)

    def weights(self, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        return {REWARDS: float(len(rows))}

    def losses(self, module: nn.Module, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
        """Return the loss of each prompt's answers, averaged over the tokens of each and over all, summed over rows."""
        import numpy as np
        import torch

        from declarlm.layers.policy_loss import clipped_loss

        config, size, rollout = self.objective.config, self.objective.config.num_generations, self._rollout
        assert rollout is not None  # noqa: S101  the trainer prepares each step
        firsts = size * np.array([rollout.places[row] for row in rows.tolist()])
        places = (firsts[:, None] + np.arange(size)).flatten()
        batch = rollout.drawn.batch(self.llm.module, places)
        log_probs = self.llm.module(batch)
        before, reference = (
            torch.cat([parts[place] for place in places]) if parts else log_probs.detach()
            for parts in (rollout.before, rollout.reference)
        )
        losses = clipped_loss(
            log_probs,
            before,
            reference,
            rollout.advantages[torch.from_numpy(places).to(batch.rows.device)][batch.rows],
            epsilon=config.epsilon,
            beta=config.beta,
        )
        counts = torch.from_numpy(rollout.drawn.counts[places]).to(losses).clamp(min=1)
        return {REWARDS: (batch.by_row(losses) / counts).sum() / size}
