"""What both kinds of model have in common: features, rows ready for training, and a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from declarlm.core import DataError, ModelError, RunError
from declarlm.data.tables import require_columns

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor, nn

    from declarlm.adapters.into_base import Merged, Precision
    from declarlm.features.base import InputFeature, OutputFeature


class Store(Protocol):
    """Rows of a table as a model reads them.

    Attributes:
        costs: Tokens that each row costs, ``(rows,)``; 1 where rows have no tokens.
    """

    costs: np.ndarray[Any, Any]

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Start:
    """A trained model that training goes on from.

    Attributes:
        folder: What its ``save`` wrote.
        states: What its ``states`` gave.
        name: What its run is called.
    """

    folder: Path
    states: Mapping[str, Any]
    name: str


class Model:
    """Features that were fitted on the training rows, and the module that was built for them.

    The order of the calls is ``learn``, ``open``, ``encode``, ``build``; or ``restore`` alone for a saved model.

    Attributes:
        inputs: The columns that are read.
        outputs: The columns that are predicted.
        module: The network, once built.
        importance: Weight of each named loss.
        merged: What merging the adapter into the base changed, once that was done.
        start: The trained model that training goes on from; set before ``learn``.
    """

    inputs: list[InputFeature]
    outputs: list[OutputFeature]
    module: nn.Module
    importance: Mapping[str, float]
    merged: Merged | None = None
    start: Start | None = None

    def columns_read(self, table: pd.DataFrame) -> list[str]:
        """Return the columns of a table that a prediction reads, whether they are there or not.

        Raises:
            ConfigError: If a template names something that is no column.
        """
        raise NotImplementedError

    def check_columns(self, table: pd.DataFrame) -> None:
        """Refuse a table that lacks a column that a prediction reads; needs neither tokenizer nor weights.

        Raises:
            DataError: With every column that is missing.
            ConfigError: If a template names something that is no column.
        """
        require_columns(table, self.columns_read(table))

    def learn(self, train: pd.DataFrame, *held_out: pd.DataFrame) -> None:
        """Learn from the training rows what the features must know, and refuse cells that would stop work later.

        Loads neither torch nor a base, so that what is wrong with a table is told at once.

        Raises:
            DataError: With every missing column, or the column, the row and what is wrong with its cell.
            ConfigError: If a template names something that is no column.
        """
        for table in (train, *held_out):
            require_columns(table, [*self.columns_read(table), *(output.config.source for output in self.outputs)])
        if self.start is None:
            self.fit_features(train)
        else:  # what the weights know stays: the same labels in the same places
            self.restore_features(self.start.states)
            for output in self.outputs:
                _check_known(output, train[output.config.source])
        for table in held_out if self.start is None else (train, *held_out):
            for output in self.outputs:
                output.fill(output.read(table[output.config.source]))

    def fit_features(self, train: pd.DataFrame) -> None:
        """Fit the outputs and inputs on the training rows, all columns of which are there."""
        raise NotImplementedError

    def check_rows(self, table: pd.DataFrame) -> None:
        """Refuse held-out rows that the opened model could not be judged on; ``learn`` has read their cells.

        Raises:
            DataError: With the column, the row and what is wrong with its cell.
        """

    def labelled(self, table: pd.DataFrame) -> np.ndarray[Any, Any]:
        """Return the numbers of the rows that can be judged: all but those that an output says to leave out.

        Raises:
            DataError: If an output's column is missing, or no row can be judged.
        """
        import numpy as np

        require_columns(table, [output.config.source for output in self.outputs])
        kept = np.ones(len(table), dtype=bool)
        for output in self.outputs:
            kept &= output.keep(table[output.config.source])
            if not kept.any():
                raise DataError("has no label in any row that can be judged", column=output.config.source)
        return np.flatnonzero(kept)

    def fit(self, table: pd.DataFrame, *, seed: int, folder: Path) -> Self:
        """Do all that comes before the weights, ``learn`` and ``open``, where no rows are held out."""
        self.learn(table)
        return self.open(table, seed=seed, folder=folder)

    def open(self, table: pd.DataFrame, *, seed: int, folder: Path) -> Self:
        """Open tokenizers and fit encoders, for features that have learned; no weights are loaded yet.

        Args:
            table: The training rows.
            seed: Seed of weights that are made from scratch.
            folder: Where a base that is made from scratch is kept until training ends.

        Raises:
            ModelError: If a base cannot be found or used.
        """
        raise NotImplementedError

    def encode(self, table: pd.DataFrame) -> Store:
        """Return rows with their answers, for training and for the loss of an evaluation.

        Raises:
            DataError: If a row does not fit, with its column and index.
        """
        raise NotImplementedError

    def pack(self, table: pd.DataFrame, *, length: int | None, as_lines: bool = False) -> Store:
        """Return raw text as pieces of at most ``length`` tokens, for next-token training.

        Raises:
            ModelError: If the model reads no raw text.
        """
        raise NotImplementedError

    def remarks(self) -> list[str]:
        """Return what a person should know of the module that was built, before it is trained."""
        return []

    def overlong(self, store: Any, num_rows: int) -> list[str]:
        """Return what was left out to make the ``num_rows`` rows of a table fit, encoded with or without answers."""
        return []

    def learn_lengths(self, store: Any) -> None:
        """Learn from the encoded training rows how long answers are."""

    def build(self, *, total_steps: int, seed: int, device: str, shards: bool = False) -> Self:
        """Load or make the module.

        Args:
            total_steps: Number of optimizer steps that will follow.
            seed: Seed of new weights.
            device: Where the module will compute.
            shards: Whether it stays on the host for now, as no device will hold all of it.
        """
        raise NotImplementedError

    def prepare(self, store: Any, *, seed: int) -> None:
        """Let what is new in the built module look at some training rows, before the first step."""

    def share(self) -> None:
        """Prepare what processes that train this model side by side can share, once, on the disk."""

    def restore(self, folder: Path, states: Mapping[str, Any], *, device: str) -> Self:
        """Load what ``save`` wrote, with what ``states`` gave then."""
        raise NotImplementedError

    def digest(self) -> Any:
        """Return what a loaded copy must find again, for ``save``."""
        return None

    def save(self, folder: Path, digest: Any = None) -> None:
        """Write the weights, and all that a later prediction needs, to ``folder``; by default with a digest of now."""
        raise NotImplementedError

    def save_merged(self, folder: Path, precision: Precision = "auto") -> Merged:
        """Write the model with its adapter in the weights of the base, and return what that changed.

        Raises:
            ModelError: If there is no adapter, or one that cannot be merged.
        """
        raise NotImplementedError

    def weights(self, store: Any, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        """Return what each loss is divided by over ``rows``."""
        raise NotImplementedError

    def own_weights(self, store: Any, rows: np.ndarray[Any, Any]) -> Mapping[str, float]:
        """Return what each output's loss is divided by to be the mean over its own tokens or rows."""
        return self.weights(store, rows)

    def losses(self, store: Any, rows: np.ndarray[Any, Any]) -> Mapping[str, Tensor]:
        """Return each loss summed over ``rows``, a scalar each."""
        raise NotImplementedError

    def parameter_groups(self, learning_rate: Any) -> list[dict[str, Any]]:
        """Return the trainable weights in groups for an optimizer, given ``trainer.learning_rate``."""
        raise NotImplementedError

    def hooks(self) -> Sequence[Any]:
        """Return what takes part in every training step beside the module."""
        return ()

    def without_adapter(self) -> AbstractContextManager[None]:
        """Let the module compute what its base does, without its adapter, for the length of a ``with`` block.

        Raises:
            ModelError: If there is no adapter, as where all weights train.
        """
        raise ModelError("the model has no adapter that could be switched off")

    def states(self) -> dict[str, Any]:
        """Return what the features learned, as plain data."""
        return {
            "inputs": {feature.name: feature.state.dump() for feature in self.inputs if feature.state is not None},
            "outputs": {feature.name: feature.state.dump() for feature in self.outputs},
        }

    def restore_features(self, states: Mapping[str, Any]) -> None:
        """Take over what ``states`` gave.

        Raises:
            RunError: If something is missing.
        """
        for feature in self.inputs:
            if feature.name in part(states, "inputs"):
                feature.restore(part(states, "inputs", feature.name))
        for output in self.outputs:
            output.restore(part(states, "outputs", output.name))


def _check_known(output: OutputFeature, column: pd.Series) -> None:
    """Refuse a label for which the model that training goes on from has no place."""
    if output.config.type != "category":
        return
    for row, label in zip(column.index, output.truth(column), strict=True):
        if label not in output.labels:
            remedy = "leave such rows out, or train a new model on all rows"
            raise DataError(
                f"{label!r} is no label that the loaded model knows; {remedy}", column=output.config.source, row=row
            )


def part(states: Mapping[str, Any], *keys: str) -> Any:
    """Return what stands at a place in a saved state.

    Raises:
        RunError: If nothing does.
    """
    found: Any = states
    for key in keys:
        if not isinstance(found, Mapping) or not isinstance(found.get(key), Mapping | list):
            raise RunError(f"features.json is damaged: {'.'.join(keys)} is missing; copy the run again")
        found = found[key]
    return found
