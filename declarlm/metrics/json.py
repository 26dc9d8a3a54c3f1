"""Metrics of JSON answers; the values are their texts, empty where an answer held none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from declarlm.metrics.base import Metric, Prediction, metrics

_NOTHING = object()


class JsonMetric(Metric):
    """A number about JSON answers."""

    accepts = frozenset({"json"})


@metrics.register("schema_valid")
class SchemaValid(JsonMetric):
    """Share of rows whose answer is JSON that keeps the schema; without a schema, all JSON does."""

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        kept = prediction.is_valid
        found = [bool(value) for value in prediction.values] if kept is None else kept
        return sum(found) / len(found)


@metrics.register("field_accuracy")
class FieldAccuracy(JsonMetric):
    """Share of fields that are right: a mean over rows.

    The fields of a row are the plain values in its truth and its prediction, each known by its path, such as
    ``address.city``; one that only one of both has is wrong, and an empty object or list is a field of its own.
    Numbers are equal as numbers, 1 and 1.0, but no truth value is a number.
    """

    def compute(self, truth: Sequence[Any], prediction: Prediction) -> float:
        rows = zip(truth, prediction.values, strict=True)
        scores = [_share(dict(_fields(json.loads(one))), dict(_fields(_parsed(value)))) for one, value in rows]
        return sum(scores) / len(scores)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return _NOTHING


def _share(expected: dict[Any, Any], given: dict[Any, Any]) -> float:
    paths = expected.keys() | given.keys()
    return sum(_equal(expected.get(path, _NOTHING), given.get(path, _NOTHING)) for path in paths) / len(paths)


def _equal(first: Any, second: Any) -> bool:
    return first == second and isinstance(first, bool) == isinstance(second, bool)


def _fields(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the path and the value of every field."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = False
    for key, part in inner:
        found = True
        yield from _fields(part, (*path, key))
    if not found and value is not _NOTHING:
        yield path, value
