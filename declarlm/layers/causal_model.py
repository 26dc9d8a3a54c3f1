"""A causal language model as objectives and predictions see it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from declarlm.core.ragged import Ragged
from declarlm.layers.causal_batch import CausalBatch, attention_mask, make_batch
from declarlm.layers.causal_head import CausalHead, adds_tokens, causal_part
from declarlm.layers.embedding_noise import noise_on

# What models call the span of tokens that their local layers see.
_WINDOWS = ("sliding_window", "sliding_window_size", "attention_chunk_size", "window_size", "local_attention")
# How models say, each in its own way, that they take no block mask, no positions or no cache.
_UNSUPPORTED = (TypeError, ValueError, RuntimeError, IndexError, AttributeError)


class CausalModel(nn.Module):
    """Wraps a Hugging Face decoder, or an adapter's wrapper around one; build it after the adapter is attached.

    Attributes:
        backbone: The wrapped module; its weights are the only ones.
        head: The output head, which the backbone owns.
        adds_tokens: Whether an adapter puts virtual tokens before what the decoder reads.
        takes_positions: Whether the decoder is told the position of each token.
        noise: Noise on what is read in training, None without any.
        runs_alike: Whether training goes through the layers once for each batch, whatever its rows are.
        reads_apart: Whether an encoder reads the prompts.
    """

    reads_apart: ClassVar[bool] = False

    def __init__(self, backbone: nn.Module, noise_alpha: float | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.noise = noise_on(causal_part(backbone), noise_alpha)
        self.head = self._make_head(backbone)
        self.adds_tokens = adds_tokens(backbone)
        self.takes_positions = "position_ids" in inspect.signature(causal_part(backbone).forward).parameters
        self.runs_alike = False
        self._measured: dict[str, bool] = {}

    def _make_head(self, backbone: nn.Module) -> CausalHead:
        return CausalHead(backbone)

    def forward(self, batch: CausalBatch) -> Tensor:
        """Return the log-probability of each supervised token, float32 ``(supervised,)``."""
        inputs = batch.inputs
        if batch.head is not None:
            # Keys and values keep their graph, so that the gradients of all rows reach the shared tokens.
            cache = self.new_cache()
            self.head.hidden({"input_ids": batch.head, "past_key_values": cache, "use_cache": True}, last=True)
            cache.batch_repeat_interleave(batch.num_rows)
            inputs = {**inputs, "past_key_values": cache}
        with self.noise.over(batch.lengths) if self.noise is not None and self.training else nullcontext():
            hidden = self.head.hidden(inputs)
        return self.head.log_probs(hidden.flatten(0, 1)[batch.index], batch.targets)

    def losses(self, batch: CausalBatch) -> Tensor:
        """Return the sum of the cross entropy over the supervised tokens, a float32 scalar."""
        log_probs: Tensor = self(batch)
        return -log_probs.sum()

    @property
    def is_noisy(self) -> bool:
        """Whether there is noise on what is read now."""
        return self.noise is not None and self.training

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return next(self.backbone.parameters()).device

    @property
    def config(self) -> Any:
        """The Hugging Face config of the text decoder."""
        return causal_part(self.backbone).config.get_text_config(decoder=True)

    @property
    def mask_dtype(self) -> torch.dtype:
        """How attention takes a mask: as booleans in SDPA, as numbers that are added to the scores elsewhere."""
        if self.config._attn_implementation == "sdpa":
            return torch.bool
        return next(self.backbone.parameters()).dtype

    @cached_property
    def has_plain_cache(self) -> bool:
        """Whether keys and values of earlier tokens can be kept outside the model."""
        causal = causal_part(self.backbone)
        takes = "past_key_values" in inspect.signature(causal.forward).parameters
        return takes and not self.adds_tokens and causal._supports_default_dynamic_cache()

    def new_cache(self, rows: Sequence[Any] = ()) -> Any:
        """Return an empty store of keys and values, for rows of which no token is known yet."""
        return DynamicCache(config=self.config)

    def begun(self, rows: Ragged) -> Ragged:
        """Return what the decoder continues of each row: all of it."""
        return rows

    def generation_inputs(self, rows: Sequence[Sequence[int]]) -> tuple[dict[str, Tensor], int]:
        """Return rows as transformers' own loop takes them, padded on the left, and their width."""
        width = max(map(len, rows))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, width - len(row) :] = torch.tensor(row)
            mask[place, width - len(row) :] = 1
        return {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}, width

    @property
    def recomputes(self) -> bool:
        """Whether activations are recomputed during backward, which transformers does only without a cache."""
        return any(getattr(part, "gradient_checkpointing", False) for part in self.backbone.modules())

    def run_alike(self) -> None:
        """Go through the layers once for each batch from now on: other processes go with this one."""
        self.runs_alike = True
        self.can_pack(1)

    def make_batch(
        self, ids: Ragged, supervised: Ragged, fields: Ragged | None, *, packed: bool, shared: int = 0
    ) -> CausalBatch:
        """Lay rows out as this model takes them; for ``packed``, ask ``can_pack``, for ``shared``, ``can_branch``."""
        return make_batch(
            ids,
            supervised,
            fields,
            packed=packed,
            mask_dtype=self.mask_dtype,
            device=self.device,
            shared=shared,
            measured=self.noise is not None,
        )

    def can_pack(self, longest: int) -> bool:
        """Return whether rows of at most ``longest`` tokens laid end to end do not see one another.

        Whether masks and positions are honoured is measured once: alibi models, for one, refuse them.
        """
        return self._masks_rule(longest) and self._holds("pack", self._packed_minus_alone)

    def can_branch(self, longest: int) -> bool:
        """Return whether several continuations of one cached prompt can be computed side by side.

        A branch is told apart by mask and positions alone; ``longest`` is how many tokens the cache holds with a
        prompt, its padding, and all branches. A cache that is as long as a sliding window cannot be cropped.
        """
        return (
            self._masks_rule(longest + 1) and self.has_plain_cache and self._holds("branch", self._branched_minus_alone)
        )

    def _masks_rule(self, longest: int) -> bool:
        """Return whether an explicit mask may replace the model's own; it overrides a sliding window."""
        windows = [getattr(self.config, name, None) for name in _WINDOWS]
        narrowest = min((window for window in windows if window is not None), default=longest)
        return longest <= narrowest and not self.adds_tokens

    def _holds(self, name: str, difference: Callable[[], tuple[Tensor, Tensor]]) -> bool:
        if name not in self._measured:
            try:
                with evaluating(self):
                    one, other = difference()
                tolerance = 1e-4 if one.dtype == torch.float32 else 0.05
                self._measured[name] = bool((one - other).abs().max() <= tolerance * one.abs().max())
            except _UNSUPPORTED:
                self._measured[name] = False
        return self._measured[name]

    def _packed_minus_alone(self) -> tuple[Tensor, Tensor]:
        ids = Ragged.from_rows([[3, 4, 5], [5, 4, 3, 4, 5]])
        padded = self.head.hidden(self.make_batch(ids, ids, None, packed=False).inputs)
        packed = self.head.hidden(self.make_batch(ids, ids, None, packed=True).inputs)
        return torch.cat([padded[0, :3], padded[1]]), packed[0]

    def _branched_minus_alone(self) -> tuple[Tensor, Tensor]:
        """Continue ``3 4 5`` by ``4 4`` and by ``5``, with a gap of one hidden token after the prompt."""
        device, cache = self.device, self.new_cache()
        rows = torch.tensor([[3, 4, 5, 4, 4], [3, 4, 5, 5, 3]], device=device)
        alone = self.head.hidden({"input_ids": rows, "use_cache": False})
        self.head.hidden({"input_ids": rows[:1, :4], "past_key_values": cache, "use_cache": True})
        visible = torch.tensor(
            [[1, 1, 1, 0, 1, 0, 0], [1, 1, 1, 0, 1, 1, 0], [1, 1, 1, 0, 0, 0, 1]], dtype=torch.bool, device=device
        )
        inputs = {
            "input_ids": torch.tensor([[4, 4, 5]], device=device),
            "position_ids": torch.tensor([[3, 4, 3]], device=device),
            "attention_mask": attention_mask(visible, self.mask_dtype)[None, None],
            "past_key_values": cache,
            "use_cache": True,
        }
        return torch.cat([alone[0, 3:], alone[1, 3:4]]), self.head.hidden(inputs)[0]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch dropout and gradients off, and leave each part in the mode in which it was."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part in training:
            part.training = True
