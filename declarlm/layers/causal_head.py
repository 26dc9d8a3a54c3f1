"""The output head of a causal language model, run only where a log-probability is wanted.

The whole logits of a batch are its largest tensor by far, and most of them belong to prompt tokens that nobody
supervises. So the head's input is taken from the model as it runs, and the head is applied afterwards, in chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from declarlm.core import ModelError

_CHUNK = {"cpu": 2**22, "cuda": 2**27}  # Logits that exist at one time: 16 MiB stay near a CPU's caches.
_TWIN_ROWS, _TWIN_DISTANCE = 4096, 1e-3  # rows that are compared at a time; distance as a share of a row's length
_PROBES = (2.0**-17, 1.0, -7.0, 40.0, 1e4)  # So small that no cap bends it, and exact; typical ones; beyond any cap.


def causal_part(module: nn.Module) -> Any:
    """Return the Hugging Face model with the head, which is inside an adapter's wrapper or is ``module`` itself."""
    return module.get_base_model() if hasattr(module, "get_base_model") else module  # type: ignore[operator]


def adds_tokens(module: nn.Module) -> bool:
    """Return whether an adapter puts virtual tokens before what is read, so that it must go through the wrapper."""
    config = getattr(module, "active_peft_config", None)
    return bool(config is not None and config.is_prompt_learning)


@dataclass(frozen=True)
class Finish:
    """What a model does to its head's output: multiply, softly cap, drop padding of the vocabulary.

    Attributes:
        scale: Factor of the raw logits.
        cap: Bound that a hyperbolic tangent approaches, ``None`` without one.
        vocab_size: Logits that remain.
    """

    scale: float
    cap: float | None
    vocab_size: int

    def __call__(self, raw: Tensor) -> Tensor:
        logits = raw[..., : self.vocab_size].float()
        logits = logits if self.scale == 1.0 else logits * self.scale
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)


class CausalHead:
    """The head of ``module``, a causal language model or an adapter's wrapper around one.

    Raises:
        ModelError: If the model has no head, or does more to its logits than ``Finish`` can say.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._causal = causal_part(module)
        self._head = self._causal.get_output_embeddings()
        if self._head is None:
            raise ModelError(f"{self._causal.config.model_type} has no output head, choose a causal language model")
        self.finish = self._measure()

    def hidden(self, inputs: dict[str, Any], *, last: bool = False) -> Tensor:
        """Run the model and return what its head would read, ``(rows, length, width)``.

        The call goes through the wrapper: the inner model alone would miss the virtual tokens of prompt tuning.
        Their positions are left out of the result.
        """
        arguments = self._arguments(inputs)  # before the hook, as an encoder may run for them
        seen: list[Tensor] = []

        def take(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            seen.append(args[0])
            return (args[0][:, :0],)

        hook = self._head.register_forward_pre_hook(take)
        try:
            self._run(arguments)
        finally:
            hook.remove()
        ids = inputs["input_ids"]
        hidden = seen[0].to(ids.device)  # the head may be on another device than the embeddings
        return hidden[:, -1:] if last else hidden[:, -ids.shape[1] :]

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the final logits in float32, ``(..., width)`` to ``(..., vocab_size)``."""
        return self.finish(self._head(hidden).to(hidden.device))

    def chunk_size(self, device: torch.device) -> int:
        """Return for how many tokens logits should exist at one time."""
        return max(1, _CHUNK.get(device.type, _CHUNK["cpu"]) // self.finish.vocab_size)

    def log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return the log-probability of each target, float32 ``(n,)``, from ``(n, width)`` and ``(n,)``."""
        size = self.chunk_size(hidden.device)
        if hidden.requires_grad and not any(weight.requires_grad for weight in self._head.parameters()):
            value: Tensor = _FrozenHead.apply(hidden, targets, self._log_probs, size)  # type: ignore[no-untyped-call]
            return value
        if len(targets) <= size:
            return self._log_probs(hidden, targets)
        run = self._recomputed if torch.is_grad_enabled() else self._log_probs
        return torch.cat(
            [run(*piece) for piece in zip(torch.split(hidden, size), torch.split(targets, size), strict=True)]
        )

    def num_twins(self, token: int) -> int:
        """Return how many other tokens have the output weights of ``token``, 0 if training may part them.

        Tokens that a base never saw in training stay as they were made or are all pushed the same way.
        """
        weight = self._head.weight.detach()  # (vocab, width)
        if any(part.requires_grad for part in self._head.parameters()) or not weight.is_floating_point():
            return 0
        own = weight[token].float()
        apart = [torch.linalg.vector_norm(rows.float() - own, dim=1) for rows in torch.split(weight, _TWIN_ROWS)]
        return int((torch.cat(apart) <= _TWIN_DISTANCE * own.norm() + 1e-6).sum()) - 1

    def _arguments(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return what the model takes."""
        return inputs

    def _run(self, arguments: dict[str, Any]) -> None:
        self._module(**arguments)

    def _log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return -functional.cross_entropy(self.logits(hidden), targets, reduction="none")

    def _recomputed(self, hidden: Tensor, targets: Tensor) -> Tensor:
        value: Tensor = checkpoint(self._log_probs, hidden, targets, use_reentrant=False)
        return value

    def _measure(self) -> Finish:
        """Find what the model does to its logits by feeding known ones through it.

        Reading it from the config would need a list of all architectures, and even equal names mean different
        things: Granite divides by ``logits_scaling``, HyperCLOVA X multiplies by it.
        """
        vocab_size = self._head.out_features
        device = next(self._causal.parameters()).device
        probes = torch.tensor(_PROBES, device=device)
        ids = torch.zeros(1, len(_PROBES), dtype=torch.long, device=device)
        hook = self._head.register_forward_hook(lambda *_: probes[None, :, None].repeat(1, 1, vocab_size))
        try:
            with torch.no_grad():
                known = self._arguments({"input_ids": ids, "use_cache": False})
                final = self._causal(**known).logits[0].float()
        finally:
            hook.remove()
        values = final[:, 0].tolist()
        scale, limit = values[0] / _PROBES[0], values[-1]
        scale = 1.0 if abs(scale - 1) < 1e-6 else scale  # The hyperbolic tangent of a cap rounds.
        cap = None if abs(limit - scale * _PROBES[-1]) <= 1e-4 * abs(limit) else limit
        finish = Finish(scale, cap, final.shape[-1])
        expected = finish(probes[:, None].expand(-1, final.shape[-1]))
        if not torch.allclose(final, expected, rtol=1e-4, atol=1e-5):
            raise ModelError(
                f"{self._causal.config.model_type} changes its logits in a way that is unknown here "
                f"({_PROBES[1]} becomes {values[1]:.6g}); choose another base model"
            )
        return finish


class _FrozenHead(torch.autograd.Function):
    """Log-probabilities of a head that is not trained, with the gradient made beside each chunk's logits.

    So the logits of one chunk exist at a time, and nothing is computed twice. Each row's result depends on that
    row's hidden vector alone, which is why one vector per row is all that backward needs.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, targets: Tensor, log_probs: Callable[[Tensor, Tensor], Tensor], size: int
    ) -> Tensor:
        values: list[Tensor] = []
        gradients: list[Tensor] = []
        for piece, piece_targets in zip(torch.split(hidden, size), torch.split(targets, size), strict=True):
            with torch.enable_grad():
                leaf = piece.detach().requires_grad_()
                value = log_probs(leaf, piece_targets)
                gradients += torch.autograd.grad(value.sum(), leaf)
            values.append(value.detach())
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(values)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[:, None].to(gradient.dtype), None, None, None
