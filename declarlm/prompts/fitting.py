"""Making prompts fit: what stands in front is left out first, then text of cells is cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from declarlm.core import DataError
from declarlm.prompts.cutting import cut
from declarlm.prompts.rows import answer_too_long
from declarlm.prompts.segments import Segment
from declarlm.prompts.tokenization import Tokenization

if TYPE_CHECKING:
    import numpy as np


class Shrinking(Protocol):
    """A cell of several parts, such as examples or turns, of which the first ones can be left out."""

    def fewer(self) -> Self | None:
        """Return the cell without its first part, None if all that is left must stay."""


class Fitted(NamedTuple):
    """Prompts that fit.

    Attributes:
        prompts: Their text.
        ids: Their tokens.
        num_cut: Tokens of cells that each lost, ``int64 (rows,)``.
        num_left_out: Parts, such as examples, that each lost, ``int64 (rows,)``.
        dropped: Whether one could not be made to fit, and is empty, ``bool (rows,)``.
    """

    prompts: list[list[Segment]]
    ids: list[list[int]]
    num_cut: np.ndarray[Any, Any]
    num_left_out: np.ndarray[Any, Any]
    dropped: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Fitting:
    """Makes prompts fit into a limit.

    Attributes:
        limit: Most tokens of a prompt and its answer; ``None`` for no limit.
        outputs: Where answers come from, for errors.
        must_stay: What is left of a prompt where all is cut that can be, for errors.
        shrinks: The cell that can lose parts, None if there is no such cell.
        tokenization: Says where tokens start.
        write: Returns the segments of a row, from its cells and its label.
        encode: Returns the tokens of prompts.
    """

    limit: int | None
    outputs: Sequence[str]
    must_stay: str
    shrinks: str | None
    tokenization: Tokenization
    write: Callable[[Mapping[str, Any], object], list[Segment]]
    encode: Callable[[Sequence[Sequence[Segment]]], list[list[int]]]

    def fit(
        self,
        prompts: list[list[Segment]],
        cells: Sequence[Mapping[str, Any]],
        labels: Sequence[object],
        overlong: str,
        free: Sequence[tuple[int, int]],
    ) -> Fitted:
        """Return ``prompts``, changed in place so that each leaves tokens ``free``: if it must be cut, and if not.

        Raises:
            DataError: If one does not fit and ``overlong`` does not help.
            TypeError: If a text is none.
        """
        import numpy as np

        ids = self.encode(prompts)
        dropped, left_out = np.zeros(len(cells), dtype=bool), np.zeros(len(cells), dtype=np.int64)
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        if self.limit is not None:
            rooms = [self.limit - least for least, _ in free]
            if self.shrinks is not None:
                left_out = self._leave_out(self.shrinks, prompts, ids, cells, rooms, labels)
                lengths = np.array([len(row) for row in ids], dtype=np.int64)
            waiting = [index for index, row in enumerate(ids) if len(row) > self.limit - free[index][1]]
            for index in self._shorten(prompts, ids, waiting, rooms, labels, overlong):
                dropped[index] = True
                prompts[index], ids[index] = [], []
        num_cut = lengths - [len(row) for row in ids]
        num_cut[dropped] = 0
        return Fitted(prompts, ids, num_cut, left_out, dropped)

    def _leave_out(
        self,
        name: str,
        prompts: list[list[Segment]],
        ids: list[list[int]],
        cells: Sequence[Mapping[str, Any]],
        rooms: Sequence[int],
        labels: Sequence[object],
    ) -> np.ndarray[Any, Any]:
        """Take parts out of the cell ``name``, in place, until prompts fit or none can go; return how many of each."""
        import numpy as np

        left_out = np.zeros(len(cells), dtype=np.int64)
        shown = {index: row[name] for index, row in enumerate(cells) if hasattr(row[name], "fewer")}
        while waiting := [index for index in shown if len(ids[index]) > rooms[index]]:
            shorter = {index: shown[index].fewer() for index in waiting}
            shown = {index: cell for index, cell in shorter.items() if cell is not None}
            for index, cell in shown.items():
                left_out[index] += 1
                prompts[index] = self.write({**cells[index], name: cell}, labels[index])
            for index, row in zip(shown, self.encode([prompts[index] for index in shown]), strict=True):
                ids[index] = row
        return left_out

    def _shorten(
        self,
        prompts: list[list[Segment]],
        ids: list[list[int]],
        waiting: list[int],
        rooms: Sequence[int],
        labels: Sequence[object],
        overlong: str,
    ) -> list[int]:
        """Cut the ``waiting`` prompts and their ids in place to ``rooms``; return those where that is impossible."""
        hopeless: list[int] = []
        if waiting and overlong == "error":
            raise self._too_long(labels[waiting[0]], len(ids[waiting[0]]), rooms[waiting[0]], "prompt")
        while waiting:
            cut_rows = []
            for index in waiting:
                shorter = cut(prompts[index], len(ids[index]) - rooms[index], self.tokenization)
                if shorter is not None:
                    prompts[index] = shorter
                    cut_rows.append(index)
                elif overlong == "drop":
                    hopeless.append(index)
                else:
                    raise self._too_long(labels[index], len(ids[index]), rooms[index], self.must_stay)
            for index, row in zip(cut_rows, self.encode([prompts[index] for index in cut_rows]), strict=True):
                ids[index] = row
            waiting = [index for index in cut_rows if len(ids[index]) > rooms[index]]
        return hopeless

    def _too_long(self, label: object, length: int, room: int, part: str) -> DataError:
        limit = self.limit or 0
        if room <= 0:
            return answer_too_long(limit - room, limit, column=", ".join(self.outputs), row=label)
        return DataError(
            f"the {part} has {length} tokens and its answer needs {limit - room}, together more than the {limit} that "
            "fit; shorten them, raise preprocessing.global_max_sequence_length if the model allows it, "
            f"or set preprocessing.overlong: {'cut' if part == 'prompt' else 'drop'}",
            row=label,
        )
