"""The exact log-probability of every label after every prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core.batching import in_batches
from declarlm.core.ragged import Ragged
from declarlm.inference.label_tree import LabelTree, plant

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from declarlm.inference.decoding import SharedHead
    from declarlm.layers.causal_model import CausalModel

_MOST_NODES = 128  # A wider tree spends more on attention between its branches than a second pass costs.


def score_labels(
    model: CausalModel,
    prompts: Ragged | Sequence[Sequence[int] | np.ndarray[Any, Any]],
    labels: Sequence[Sequence[int]],
    *,
    token_budget: int | None = None,
) -> np.ndarray[Any, Any]:
    """Return the summed log-probability of each label's tokens after each prompt, float32 ``(rows, labels)``.

    A label's tokens end with a stop token (or what else ends it), so that a label is not credited with another
    one that begins with it. Each prompt is computed once; the labels are branches that continue it side by side.
    Where that is impossible, as beyond a sliding window, each label is computed apart.

    Args:
        model: The wrapped language model.
        prompts: Token ids of each prompt; the scores of an empty one are NaN.
        labels: Token ids of each label, at least one.
        token_budget: Tokens that are processed side by side, with padding.

    Raises:
        OutOfMemoryError: If not even one row fits into memory.
    """
    import numpy as np

    from declarlm.inference.decoding import shared_head
    from declarlm.layers.causal_model import evaluating

    rows = prompts if isinstance(prompts, Ragged) else Ragged.from_rows(prompts)
    lengths = rows.lengths
    scores = np.full((len(rows), len(labels)), np.nan, dtype=np.float32)
    if not lengths.any() or not labels:
        return scores
    trees = plant(labels, _MOST_NODES)
    widest = max(len(tree.tokens) for tree in trees)
    with evaluating(model):
        branching = np.isin(lengths, [size for size in set(lengths.tolist()) if model.can_branch(size + widest)])
        together, apart = (np.flatnonzero((lengths > 0) & part) for part in (branching, ~branching))
        head = shared_head(model, rows, together, widest)

        def run(batch: np.ndarray[Any, Any]) -> None:
            for tree, values in _score_batch(model, [rows[row].tolist() for row in together[batch]], trees, head):
                scores[np.ix_(together[batch], tree.labels)] = values

        in_batches(lengths[together] + widest, model.device, run, token_budget)
        scores[apart] = _score_apart(model, rows.take(apart), labels, token_budget)
    return scores


def _score_batch(
    model: CausalModel, rows: list[list[int]], trees: list[LabelTree], head: SharedHead | None
) -> list[tuple[LabelTree, np.ndarray[Any, Any]]]:
    """Return the scores of each tree's labels, ``(rows, labels)``."""
    import torch

    start = head.length if head else 0
    cache = head.expand(len(rows)) if head else model.new_cache()
    lengths = torch.tensor([len(row) for row in rows], device=model.device)
    width = int(lengths.max()) - start
    ids = torch.tensor([row[start:] + [0] * (start + width - len(row)) for row in rows], device=model.device)
    places = torch.arange(start, start + width, device=model.device).expand_as(ids)
    inputs = {"input_ids": ids, "position_ids": places, "past_key_values": cache, "use_cache": True}
    hidden = model.head.hidden(inputs)
    ends = hidden[torch.arange(len(rows), device=model.device), lengths - start - 1]  # (rows, width)
    results = []
    for tree in trees:
        states = ends[:, None]
        if len(tree.tokens):
            states = torch.cat([states, _branch(model, tree, lengths, start + width, cache)], 1)
            cache.crop(-len(tree.tokens))
        results.append((tree, _sum_paths(model, tree, states)))
    return results


def _branch(model: CausalModel, tree: LabelTree, lengths: Tensor, width: int, cache: Any) -> Tensor:
    """Return the hidden state of each node after each prompt, ``(rows, nodes, width)``."""
    import torch

    from declarlm.layers.causal_batch import attention_mask

    device, rows, nodes = lengths.device, len(lengths), len(tree.tokens)
    prompt = torch.arange(width, device=device) < lengths[:, None]  # (rows, width)
    branches = torch.from_numpy(tree.visible).to(device)
    visible = torch.cat([prompt[:, None].expand(-1, nodes, -1), branches.expand(rows, -1, -1)], 2)
    inputs = {
        "input_ids": torch.from_numpy(tree.tokens).to(device).expand(rows, -1),
        "position_ids": lengths[:, None] + torch.from_numpy(tree.depth).to(device),
        "attention_mask": attention_mask(visible, model.mask_dtype)[:, None],
        "past_key_values": cache,
        "use_cache": True,
    }
    return model.head.hidden(inputs)


def _sum_paths(model: CausalModel, tree: LabelTree, states: Tensor) -> np.ndarray[Any, Any]:
    """Return each label's sum over its edges, ``(rows, labels)``, from the states ``(rows, 1 + nodes, width)``."""
    import numpy as np
    import torch

    size = model.head.chunk_size(states.device)
    sources, targets = torch.from_numpy(tree.sources), torch.from_numpy(tree.targets)
    step = max(1, size // len(states))
    values = []
    for first in range(0, states.shape[1], step):
        low, high = np.searchsorted(tree.sources, [first, first + step])
        logits = model.head.logits(states[:, first : first + step])  # (rows, step, vocab)
        places, tokens = (part[low:high].to(logits.device) for part in (sources - first, targets))
        values.append(logits[:, places, tokens] - logits.logsumexp(-1)[:, places])
    summed = torch.cat(values, 1) @ torch.from_numpy(tree.paths).to(states.device)
    found: np.ndarray[Any, Any] = summed.cpu().numpy()
    return found


def _score_apart(
    model: CausalModel, rows: Ragged, labels: Sequence[Sequence[int]], token_budget: int | None
) -> np.ndarray[Any, Any]:
    """Return the same by one full pass for each prompt with each label, for models that cannot branch.

    Where an encoder reads the prompts, all labels of a row are in one batch, and it reads each prompt once.
    """
    import numpy as np

    scores = np.zeros(len(rows) * len(labels), dtype=np.float32)
    sizes = np.array([len(label) for label in labels])
    together = len(labels) if model.reads_apart else 1  # pairs that are in one batch
    lengths = np.add.outer(rows.lengths, sizes)
    lengths = lengths.sum(1) if model.reads_apart else lengths.ravel()

    def run(chosen: np.ndarray[Any, Any]) -> None:
        batch = np.add.outer(chosen * together, np.arange(together)).ravel()
        pairs = [(rows[pair // len(labels)], labels[pair % len(labels)]) for pair in batch]
        ids = Ragged.from_rows([[*row, *label] for row, label in pairs])
        asked = Ragged.from_rows([[0] * len(row) + [1] * len(label) for row, label in pairs])
        made = model.make_batch(ids, asked, None, packed=False)
        scores[batch] = made.by_row(model(made)).cpu().numpy()

    in_batches(lengths, model.device, run, token_budget)
    return scores.reshape(len(rows), len(labels))
