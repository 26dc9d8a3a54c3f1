"""JSON features: an object or a list of values that a language model writes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from declarlm.core import ConfigError, DataError, ModelError, Problem, Section, param
from declarlm.core.fields import shown
from declarlm.decoders.base import Decoder, decoders
from declarlm.decoders.constraints import Constraint
from declarlm.decoders.json_constraint import ANY_JSON, json_constraint, unsupported
from declarlm.features.base import OutputFeature, Raw, output_features
from declarlm.features.json_schema import in_order, read_schema, schema_problems
from declarlm.features.literals import python_literal
from declarlm.losses.base import Loss, losses

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.metrics import Prediction

_KEY = "json_schema"


class JsonOutputPreprocessing(Section):
    """How the cells of a JSON output are read."""

    missing_value_strategy: Literal["error", "drop_row"] = param(
        "What is done about a row without an answer.", default="error"
    )
    max_sequence_length: int | None = param(
        "Tokens that an answer may have when it is written; null lets the model stop by itself.", default=None, min=1
    )


@output_features.register("json")
class JsonOutput(OutputFeature):
    """A JSON object or array that a language model writes, such as the fields of a text.

    A cell is a mapping, a list, or JSON text; it is learned in one spelling, its keys in the order of the schema, then
    of the cell. Answers are held to the schema while they are written, where the decoder can, and are checked
    afterwards. Prediction columns: ``<name>_predictions``, the parsed value or nothing where the answer holds none;
    ``<name>_valid``, whether there is one that keeps the schema; and ``<name>_response``, the answer as it was written.
    Source: https://json-schema.org/draft/2020-12/json-schema-validation, or the draft that ``$schema`` names.
    """

    default_decoders: ClassVar[dict[str, str]] = {"llm": "json_extractor"}
    default_loss = "next_token_softmax_cross_entropy"
    is_free = True

    class Config(OutputFeature.Config):
        preprocessing: JsonOutputPreprocessing = param("How cells are read.", default=JsonOutputPreprocessing())
        json_schema: dict[str, Any] | str | None = param(
            "JSON Schema that cells must keep and answers are checked against, or the path of a file that holds it.",
            default=None,
        )
        decoder: Decoder.Config | None = param(
            "How the answer is read, json_extractor if null.", default=None, registry=decoders.where(accepts="json")
        )
        loss: Loss.Config | None = param(
            "What is minimized, the cross entropy of the next token if null.",
            default=None,
            registry=losses.where(accepts="json"),
        )

        def check(self) -> Iterable[Problem]:
            yield from super().check()
            if isinstance(self.json_schema, Mapping):
                yield from schema_problems(self.json_schema, _KEY)
                yield from _constraint_problems(self.decoder, self.json_schema)

    class State(OutputFeature.State):
        fill: str | None = param("What stands for a missing cell: nothing does.", default=None)
        json_schema: dict[str, Any] | None = param("The schema itself.", default=None)
        kind: Literal["object", "array"] | None = param("What all training cells are, if that is one.", default=None)

    def fit(self, column: pd.Series) -> Self:
        """Read the schema, and check every training row against it.

        Raises:
            ConfigError: If the schema's file cannot be read, or holds none.
            DataError: With the first cell that is no JSON or breaks the schema.
        """
        self.without_rows()
        broken = self._breaches()
        values = self.read(column).tolist()
        for row, value in zip(column.index, values, strict=True):
            if value is not None and (reason := broken(value)) is not None:
                remedy = f"clean the column or change {_KEY}"
                raise DataError(f"breaks {_KEY}: {reason}; {remedy}", column=self.config.source, row=row)
        kinds = {"array" if isinstance(value, list) else "object" for value in values if value is not None}
        self.state = self.state.replace(kind=kinds.pop() if len(kinds) == 1 else None)
        return self

    def without_rows(self) -> Self:
        schema = self.config.json_schema
        if isinstance(schema, str):
            where = f"output_features.{self.name}."
            schema = read_schema(schema, f"{where}{_KEY}")
            if problems := list(_constraint_problems(self.config.decoder, schema, where)):
                raise ConfigError("config", problems)
        self.state = self.State(json_schema=schema)
        return self

    def read(self, column: pd.Series) -> pd.Series:
        import pandas as pd

        cells = zip(column.tolist(), column.index, strict=True)
        values = [None if _is_missing(cell) else _value(cell, self.config.source, row) for cell, row in cells]
        return pd.Series(values, index=column.index, name=column.name, dtype=object)

    def answers(self, column: pd.Series) -> list[str]:
        values = self.read(column)
        self.check_missing(values)
        schema = self.state.json_schema or {}
        return [written(in_order(value, schema)) for value in values]

    def constraint(self, tokenizer: Any, stop_ids: Collection[int]) -> Constraint | None:
        decoder: Any = self.make_decoder("llm")
        schema = self.state.json_schema or ({"type": self.state.kind} if self.state.kind else ANY_JSON)
        wanted = decoder.config.constrained
        if wanted is False or (wanted == "auto" and unsupported(schema) is not None):
            return None
        try:
            return json_constraint(tokenizer, schema, stop_ids)
        except ModelError:
            if wanted == "auto":
                return None
            raise

    def truth(self, column: pd.Series) -> list[str]:
        return self.answers(column)

    def columns(self, raw: Raw) -> dict[str, list[Any]]:
        texts, values = list(raw.texts or []), self._values(raw)
        return {
            f"{self.name}_predictions": values,
            f"{self.name}_valid": self._kept(values),
            f"{self.name}_response": texts,
        }

    def metric_prediction(self, raw: Raw) -> Prediction:
        from declarlm.metrics import Prediction

        values = self._values(raw)
        texts = ["" if value is None else written(value) for value in values]
        return Prediction(values=texts, is_valid=self._kept(values))

    def _values(self, raw: Raw) -> list[Any]:
        extractor: Any = self.make_decoder("llm")
        return [extractor.read(text) for text in raw.texts or []]

    def _kept(self, values: list[Any]) -> list[bool]:
        broken = self._breaches()
        return [value is not None and broken(value) is None for value in values]

    def _breaches(self) -> Any:
        """Return what says how a value breaks the schema, None if it keeps it."""
        schema = self.state.json_schema
        if schema is None:
            return lambda value: None
        from jsonschema.exceptions import best_match
        from jsonschema.validators import validator_for
        from referencing import Registry

        validator: Any = validator_for(schema)(schema, registry=Registry())  # nothing is fetched

        def breach(value: Any) -> str | None:
            error = best_match(validator.iter_errors(value))
            return None if error is None else f"at {error.json_path}: {error.message[:200]}"

        return breach


def written(value: Any) -> str:
    """Return a value in the one spelling that is learned."""
    return json.dumps(value, ensure_ascii=False)


def _constraint_problems(decoder: Any, schema: Mapping[str, Any], where: str = "") -> Iterator[Problem]:
    """Yield why an answer cannot be held to a schema, although the config says that it must be."""
    if getattr(decoder, "constrained", None) is True and (reason := unsupported(schema)) is not None:
        yield Problem(f"{where}decoder.constrained", f"{_KEY} cannot be followed token by token ({reason}); write auto")


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and cell != cell) or (isinstance(cell, str) and not cell.strip())


def _value(cell: Any, column: str, row: object) -> Any:
    """Return the value of a cell.

    Raises:
        DataError: If it holds no JSON object or array.
    """
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError) as error:
            printed = python_literal(cell)
            if not isinstance(printed, dict | list):
                message = f'{shown(cell)} is no JSON: {error}; write an object such as {{"name": "x"}}'
                raise DataError(message, column=column, row=row) from None
            cell = printed
    plain = _plain(cell)
    if not isinstance(plain, dict | list):
        raise DataError(f"{shown(cell)} must be a JSON object or array", column=column, row=row)
    return plain


def _plain(value: Any) -> Any:
    """Return a value of lists and mappings, whatever arrays and tuples it came as."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
