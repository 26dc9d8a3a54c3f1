"""The loop that continues a batch of rows token by token."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from declarlm.adapters.switching import quiet
from declarlm.inference.picking import Picker

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from declarlm.core.ragged import Ragged
    from declarlm.decoders.constraints import Constraint
    from declarlm.inference.generation import Generation
    from declarlm.layers.causal_model import CausalModel

_SHORTEST_HEAD = 8  # tokens; below that, copying the keys and values costs what computing them does


@dataclass(frozen=True)
class SharedHead:
    """The tokens that all prompts begin with, computed once.

    Attributes:
        length: Number of tokens; each prompt is longer.
        cache: Their keys and values, of a single row.
    """

    length: int
    cache: Any

    def expand(self, rows: int) -> Any:
        """Return a cache that holds the tokens once for each row."""
        cache = deepcopy(self.cache)
        cache.batch_repeat_interleave(rows)
        return cache


def shared_head(model: CausalModel, prompts: Ragged, rows: np.ndarray[Any, Any], extra: int) -> SharedHead | None:
    """Return the common beginning of at least two rows of ``prompts``.

    It is ``None`` if it is short, or if the model cannot share it. ``extra`` is what will at most be added to a prompt.
    """
    if len(rows) < 2:
        return None
    # All other rows lie between these two in alphabetical order, so they share what these two share.
    first, last = (end(prompts[row].tolist() for row in rows) for end in (min, max))
    shortest, longest = (int(end(prompts.lengths[rows])) for end in (min, max))
    length = next((place for place in range(shortest - 1) if first[place] != last[place]), shortest - 1)
    if length < _SHORTEST_HEAD or not model.can_branch(longest + extra):
        return None
    import torch

    cache = model.new_cache()
    ids = torch.tensor([first[:length]], device=model.device)
    model.head.hidden({"input_ids": ids, "past_key_values": cache, "use_cache": True}, last=True)
    return SharedHead(length, cache)


def decode(
    model: CausalModel,
    prompts: Mapping[int, Sequence[int]],
    limits: Mapping[int, int],
    cache: Any,
    start: int,
    settings: Generation,
    stop_ids: Collection[int],
    constraint: Constraint | None,
) -> dict[int, list[int]]:
    """Return what follows each prompt; a row that has ended leaves the batch at once.

    Prompts are padded on the left, so that all rows take their next token at the same place. The padding stands
    between the first ``start`` tokens, which the cache holds, and the rest of a prompt; positions skip it.
    """
    import torch

    active, answers = list(prompts), {row: list[int]() for row in prompts}
    width = max(map(len, prompts.values())) - start
    mask = torch.ones(len(prompts), start + width + max(limits.values()), dtype=torch.long)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    for place, prompt in enumerate(prompts.values()):
        padding = width - (len(prompt) - start)
        ids[place, padding:] = torch.tensor(prompt[start:])
        mask[place, start : start + padding] = 0
    ids, mask = ids.to(model.device), mask.to(model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    pick = Picker(settings, stop_ids, constraint, prompts, limits)
    begin, end = start, start + width
    while True:
        inputs = {"input_ids": ids, "attention_mask": mask[:, :end], "past_key_values": cache, "use_cache": True}
        if model.takes_positions:
            inputs["position_ids"] = positions[:, begin:end]
        logits = model.head.logits(model.head.hidden(inputs, last=True)[:, 0])
        tokens = pick(logits, active, answers)
        going = []
        for place, (row, token) in enumerate(zip(active, tokens.tolist(), strict=True)):
            answers[row].append(token)
            if token not in stop_ids and len(answers[row]) < limits[row]:
                going.append(place)
        if not going:
            return answers
        if len(going) < len(active):
            kept = torch.tensor(going, device=model.device)
            active = [active[place] for place in going]
            cache.reorder_cache(kept)
            tokens, mask, positions = tokens[kept], mask[kept], positions[kept]
            pick.keep(kept)
        ids, begin, end = tokens[:, None], end, end + 1


def decode_by_transformers(
    model: CausalModel,
    prompts: Mapping[int, Sequence[int]],
    limits: Mapping[int, int],
    settings: Generation,
    stop_ids: Collection[int],
    pad_id: int | None,
    constraint: Constraint | None,
) -> dict[int, list[int]]:
    """Return the same by transformers' own loop, for beams, virtual tokens of decoders and caches of a model's own."""
    import torch
    from transformers import GenerationConfig

    inputs, width = model.generation_inputs(list(prompts.values()))
    pad = min(stop_ids, default=0) if pad_id is None else pad_id
    config = GenerationConfig(
        max_new_tokens=max(limits.values()),
        min_new_tokens=settings.min_new_tokens or None,
        do_sample=settings.samples,
        temperature=settings.temperature if settings.samples else None,
        top_k=settings.top_k or 0 if settings.samples else None,
        top_p=settings.top_p if settings.samples else None,
        num_beams=settings.num_beams,
        length_penalty=settings.length_penalty,
        repetition_penalty=settings.repetition_penalty,
        no_repeat_ngram_size=settings.no_repeat_ngram_size,
        eos_token_id=sorted(stop_ids) or None,
        pad_token_id=pad,
        decoder_start_token_id=int(inputs["decoder_input_ids"][0, 0]) if model.reads_apart else None,
    )
    # PEFT warns that it leaves out positions, which the mask says as well.
    with quiet() if model.adds_tokens else nullcontext(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        output = model.backbone.generate(  # type: ignore[operator]
            **inputs,
            generation_config=config,
            prefix_allowed_tokens_fn=_allowed_after(constraint, width, list(limits.values()), pad),
        )
    written = output[:, width:].tolist()
    return {row: _until_stop(line, stop_ids, limits[row]) for row, line in zip(prompts, written, strict=True)}


def _allowed_after(
    constraint: Constraint | None, width: int, limits: Sequence[int], pad: int
) -> Callable[[int, Tensor], list[int]] | None:
    """Return what tells transformers the tokens that may follow those of a row; an ended row is filled up."""
    if constraint is None:
        return None

    def allowed(place: int, tokens: Tensor) -> list[int]:
        written = tokens[width:].tolist()
        state = constraint.start()
        for token in written:
            state = constraint.follow(state, token)
        return constraint.allowed(state, limits[place] - len(written)).nonzero()[0].tolist() or [pad]

    return allowed


def _until_stop(tokens: list[int], stop_ids: Collection[int], limit: int) -> list[int]:
    """Return the tokens up to and with the first stop token."""
    end = next((place + 1 for place, token in enumerate(tokens) if token in stop_ids), len(tokens))
    return tokens[: min(end, limit)]
