"""The processes that train one model together, each on its share of every step's rows.

All of them run the same program and hold the same weights, so each decision must fall alike everywhere. What only
one may do, such as writing a file, the first one does; what only one can know, such as the time, it tells the others.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

BUCKET = 2**24  # numbers that are summed over the processes at a time


class Alone:
    """One process that trains by itself.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        shards: Whether each process holds a part of each weight.
    """

    rank = 0
    size = 1
    shards = False

    @property
    def is_first(self) -> bool:
        """Whether this process writes and decides for all."""
        return self.rank == 0

    def prepare(self, module: nn.Module) -> None:
        """Make the processes agree about the module's weights, before an optimizer is made of them."""

    def same(self, value: Any) -> Any:
        """Return the first process's value, in all of them; it must be picklable."""
        return value

    def wait(self) -> None:
        """Wait until all processes have come here."""

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in their order, in all of them."""
        return [value]

    def agree(self, failed: bool) -> bool:
        """Return whether any process failed.

        Raises:
            KeyboardInterrupt: In every process alike, if somebody asked the first one to stop.
        """
        return failed

    def part(self, num_rows: int) -> np.ndarray[Any, Any]:
        """Return the numbers of the rows that this process evaluates."""
        import numpy as np

        return np.arange(num_rows)

    def micro_batches(
        self, costs: np.ndarray[Any, Any], cut: Callable[[np.ndarray[Any, Any]], Iterator[np.ndarray[Any, Any]]]
    ) -> Iterator[tuple[np.ndarray[Any, Any], float]]:
        """Yield the micro-batches of this process, and by what their loss is multiplied.

        Args:
            costs: Tokens of each row of the step, ``(rows,)``.
            cut: Cuts rows of the given costs into micro-batches.
        """
        for batch in cut(costs):
            yield batch, 1.0

    def add_up(self, total: Tensor, weights: Sequence[nn.Parameter]) -> None:
        """Replace ``total`` and the gradients of ``weights`` by their sums over the processes."""

    def collect(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return whole tensors, in the first process; what the others get is of no use."""
        return tensors

    @contextmanager
    def own_random(self, device: torch.device, *seed: int) -> Iterator[None]:
        """Draw from a stream of this process's own in the block, which ``seed`` decides."""
        yield

    @contextmanager
    def evaluating(self, module: nn.Module) -> Iterator[None]:
        """Make the module ready to be called by its parts in the block, where all processes draw the same."""
        yield

    @contextmanager
    def gathered(self, module: nn.Module) -> Iterator[None]:
        """Give the first process whole weights in the block, so that it can save them."""
        yield


class Replicated(Alone):
    """Processes that hold all weights each, and sum their gradients once per optimizer step.

    Not by torch's wrapper for it, which sums during the backward pass: a process that runs out of memory could not
    tell the others, nor could they have different numbers of micro-batches.

    Args:
        device: Where this process computes.
        stop: Returns, in the first process, whether somebody asked it to stop.
    """

    def __init__(self, device: str, stop: Callable[[], bool] = lambda: False) -> None:
        from torch import distributed

        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self.device, self._stop = device, stop

    def prepare(self, module: nn.Module) -> None:
        from torch import distributed

        from declarlm.training.checkpoints import trained_tensors

        for tensor in trained_tensors(module).values():
            distributed.broadcast(tensor, 0)

    def same(self, value: Any) -> Any:
        from torch import distributed

        values = [value]
        distributed.broadcast_object_list(values, 0)
        return values[0]

    def wait(self) -> None:
        self.same(None)

    def gather(self, value: Any) -> list[Any]:
        from torch import distributed

        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def agree(self, failed: bool) -> bool:
        import torch
        from torch import distributed

        flags = torch.tensor([failed, self.is_first and self._stop()], dtype=torch.uint8, device=self.device)
        distributed.all_reduce(flags, op=distributed.ReduceOp.MAX)
        has_failed, is_asked = flags.tolist()
        if is_asked:
            raise KeyboardInterrupt
        return bool(has_failed)

    def part(self, num_rows: int) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.arange(self.rank, num_rows, self.size)

    def micro_batches(
        self, costs: np.ndarray[Any, Any], cut: Callable[[np.ndarray[Any, Any]], Iterator[np.ndarray[Any, Any]]]
    ) -> Iterator[tuple[np.ndarray[Any, Any], float]]:
        mine = deal(costs, self.size)[self.rank]
        for batch in cut(costs[mine]):
            yield mine[batch], 1.0

    def add_up(self, total: Tensor, weights: Sequence[nn.Parameter]) -> None:
        import torch
        from torch import distributed

        distributed.all_reduce(total)
        has_any = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.uint8, device=total.device)
        distributed.all_reduce(has_any, op=distributed.ReduceOp.MAX)
        trained = [weight for weight, has in zip(weights, has_any.tolist(), strict=True) if has]
        for bucket in _buckets(trained):
            gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in bucket]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            distributed.all_reduce(flat)
            sums = torch.split(flat, [weight.numel() for weight in bucket])
            for weight, summed in zip(bucket, sums, strict=True):
                weight.grad = summed.view_as(weight)

    @contextmanager
    def own_random(self, device: torch.device, *seed: int) -> Iterator[None]:
        from declarlm.training.state import RandomState

        if self.is_first:  # It goes on with the stream that a checkpoint keeps.
            yield
            return
        import numpy as np

        before = RandomState.capture(device)
        drawn = np.random.SeedSequence([*seed, self.rank]).generate_state(1, np.uint64)[0]
        RandomState.seeded(int(drawn) % 2**63, device).restore(device)
        try:
            yield
        finally:
            before.restore(device)


def deal(costs: np.ndarray[Any, Any], hands: int) -> list[np.ndarray[Any, Any]]:
    """Return which rows each of several processes gets, so that their tokens are about the same.

    The longest row goes first, always to who has fewest tokens so far.

    Args:
        costs: Tokens of each row, ``(rows,)``.
        hands: Number of processes.
    """
    import numpy as np

    dealt: list[list[int]] = [[] for _ in range(hands)]
    heap = [(0, hand) for hand in range(hands)]
    for row in np.argsort(-costs, kind="stable").tolist():
        tokens, hand = heap[0]
        dealt[hand].append(row)
        heapq.heapreplace(heap, (tokens + max(1, int(costs[row])), hand))
    return [np.array(sorted(rows), dtype=np.int64) for rows in dealt]


def _buckets(weights: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield the weights in groups of limited size and of one type."""
    bucket: list[nn.Parameter] = []
    size = 0
    for weight in weights:
        if bucket and (size + weight.numel() > BUCKET or weight.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(weight)
        size += weight.numel()
    if bucket:
        yield bucket
