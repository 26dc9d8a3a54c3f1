"""Random search, with grids in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod

from declarlm.core import Problem
from declarlm.hyperopt.searchers.base import Sample, Searcher, searchers
from declarlm.hyperopt.spaces import Interval, Options, Space


@searchers.register("random")
class Random(Searcher):
    """Draw the values of each trial independently of all others.

    Parameters with the space ``grid_search`` are not drawn: each of their combinations is tried ``num_samples``
    times, with the others drawn anew.
    """

    @property
    def num_trials(self) -> int:
        grid = self._grid()
        return prod(shape.count for shape in grid.values()) * (self.num_samples or (1 if grid else 10))

    def ask(self, number: int) -> Sample:
        import numpy as np

        generator = np.random.default_rng([self.seed, number])
        point = _point(self._grid(), number)
        return {path: point[path] if path in point else space.draw(generator) for path, space in self.spaces.items()}

    def known(self) -> Iterator[Sample]:
        yield from map(self.ask, range(self.num_trials))

    def _grid(self) -> dict[str, Options | Interval]:
        """Return the shapes of the parameters that are not drawn."""
        return {path: shape for path, shape in self._shapes() if self.spaces[path].is_grid}

    def _shapes(self) -> Iterator[tuple[str, Options | Interval]]:
        for path, space in self.spaces.items():
            if space.shape is not None:
                yield path, space.shape


def _point(grid: Mapping[str, Options | Interval], number: int) -> Sample:
    """Return the point of a grid with this number, counted round and round; the last parameter changes fastest."""
    point = {}
    for path, shape in reversed(list(grid.items())):
        number, place = divmod(number, shape.count)
        point[path] = shape.at(place)
    return point


@searchers.register("grid")
class Grid(Random):
    """Try every combination of the values of all parameters; ``num_samples`` times, if that is given."""

    class Config(Searcher.Config):
        def check_spaces(self, spaces: Mapping[str, Space.Config]) -> Iterable[Problem]:
            for path, space in spaces.items():
                built = space.build()
                if not built.follows and (built.shape is None or not built.shape.count):
                    remedy = "has no end of values, which a grid cannot try; write grid_search, choice or quniform"
                    yield Problem(f"parameters.{path}.space", f"{space.type!r} {remedy}")

    def _grid(self) -> dict[str, Options | Interval]:
        return dict(self._shapes())
