"""From a dataset to the rows that train, validate and test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.core import DataError
from declarlm.data.fingerprint import file_fingerprint, fingerprint
from declarlm.data.sampling import resample, subsample
from declarlm.data.split import Tables, divide
from declarlm.data.tables import read_table
from declarlm.features.base import OutputFeature

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.data.preprocessing import Preprocessing
    from declarlm.features.base import Feature


@dataclass(frozen=True, eq=False)
class Parts:
    """The rows of a training, and where they came from.

    Attributes:
        tables: Rows to train on, to validate with and to test with.
        sources: Path, size and hash of each file, or the hash of a table in memory, by role.
        dropped: Rows left out because a cell is missing, by column.
    """

    tables: Tables
    sources: dict[str, Any]
    dropped: dict[str, int] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return what the run directory keeps of this."""
        rows = {name: len(table) for name, table in vars(self.tables).items()}
        return {"sources": self.sources, "rows": rows, "dropped": self.dropped}

    def remarks(self) -> list[str]:
        """Return what a person should know about rows that were left out."""
        return [f"{count} rows without {column!r} were left out" for column, count in self.dropped.items()]


def read_parts(
    dataset: Any, validation: Any, test: Any, *, preprocessing: Preprocessing, features: Sequence[Feature], seed: int
) -> Parts:
    """Read, sample and split a dataset; with a validation or test set of their own, only what is missing is split.

    Raises:
        DataError: If a table cannot be read or split.
    """
    given = {"dataset": dataset, "validation": validation, "test": test}
    tables = {
        role: read_table(source, missing_values=preprocessing.missing_values)
        for role, source in given.items()
        if source is not None or role == "dataset"
    }
    sources = {role: _source(given[role], table) for role, table in tables.items()}
    dropped: dict[str, int] = {}
    tables = {role: _complete_rows(table, features, dropped) for role, table in tables.items()}
    whole = subsample(tables["dataset"], preprocessing, seed)
    if validation is None and test is None:
        parts = divide(whole, preprocessing.split, seed)
    else:
        parts = _beside(whole, tables, preprocessing, seed)
    balanced = _balanced(parts.train, features, preprocessing, seed)
    return Parts(Tables(balanced, parts.validation, parts.test), sources, dropped)


def _source(dataset: Any, table: pd.DataFrame) -> dict[str, Any]:
    if isinstance(dataset, str | Path) and Path(dataset).is_file():
        return file_fingerprint(Path(dataset).resolve())
    named = str(dataset) if isinstance(dataset, str | Path) else None
    # A glob is looked for where it was given, wherever training goes on.
    path = os.path.abspath(named) if named is not None and "://" not in named else named  # noqa: PTH100  # not resolved
    return {"path": path, "sha256": fingerprint(table)}


def _complete_rows(table: pd.DataFrame, features: Sequence[Feature], dropped: dict[str, int]) -> pd.DataFrame:
    """Leave out the rows that lack what a feature with ``drop_row`` reads, and count them; refuse other gaps."""
    for feature in features:
        source = feature.config.source
        if source not in table.columns:
            continue
        kept = feature.keep(table[source])
        if not kept.all():
            dropped[source] = dropped.get(source, 0) + int((~kept).sum())
            table = table[kept]
            if not len(table):
                raise DataError("is missing in every row", column=source)
        feature.check_missing(table[source])
    return table


def _beside(whole: pd.DataFrame, tables: dict[str, pd.DataFrame], preprocessing: Preprocessing, seed: int) -> Tables:
    """Return the parts when validation or test rows come from tables of their own.

    A missing validation set is taken from the training rows, with the share that the split gives it; a missing
    test set stays empty. A column that names the part of each row is obeyed: no row that it keeps from training trains.
    """
    if preprocessing.split.type == "fixed" and getattr(preprocessing.split, "column", None) in whole.columns:
        marked = divide(whole, preprocessing.split, seed)
        return Tables(marked.train, tables.get("validation", marked.validation), tables.get("test", marked.test))
    test = tables.get("test", whole.iloc[:0])
    if "validation" in tables:
        return Tables(whole, tables["validation"], test)
    split = preprocessing.split
    if hasattr(split, "probabilities"):
        share = split.probabilities[1]
        split = split.replace(probabilities=[1 - share, share, 0.0])
    parts = divide(whole, split, seed)
    return Tables(parts.train, parts.validation, test)


def _balanced(
    train: pd.DataFrame, features: Sequence[Feature], preprocessing: Preprocessing, seed: int
) -> pd.DataFrame:
    if preprocessing.oversample_minority is None and preprocessing.undersample_majority is None:
        return train
    outputs = [feature for feature in features if isinstance(feature, OutputFeature)]
    labelled = [output for output in outputs if output.config.type in ("category", "binary")]
    if len(labelled) != 1:
        raise DataError(f"rows can be resampled for one category or binary output, the config has {len(labelled)}")
    return resample(train, labelled[0].config.source, preprocessing, seed)
