"""What stands for a missing label where no row was trained on."""

import pandas as pd
import pytest

from declarlm.core import DataError
from declarlm.features import output_features

COLUMNS = {"number": [1.0, None], "category": ["x", None], "binary": ["x", None], "text": ["x", None]}
MORE = {
    "category": {"preprocessing": {"labels": ["x", "y"]}},
    "binary": {"decoder": {"match": {label: {"type": "contains", "value": label} for label in ("x", "y")}}},
}


def untrained(kind, **preprocessing):
    given = {"name": "a", "decoder": None, **MORE.get(kind, {})}
    if given["decoder"] is not None:
        given["decoder"] = {"type": "category_extractor", **given["decoder"]}
    given["preprocessing"] = {**given.get("preprocessing", {}), **preprocessing}
    return output_features[kind].Config.load(given).build().without_rows()


@pytest.mark.parametrize(
    ("kind", "chosen", "expected"),
    [
        ("number", {"missing_value_strategy": "fill_with_const", "fill_value": 4}, [1.0, 4.0]),
        ("number", {"missing_value_strategy": "ffill"}, [1.0, 1.0]),
        ("category", {"missing_value_strategy": "fill_with_const", "fill_value": "y"}, ["x", "y"]),
        ("binary", {"missing_value_strategy": "fill_with_true"}, ["x", "y"]),
        ("binary", {"missing_value_strategy": "fill_with_const", "fill_value": False}, ["x", "x"]),
        ("text", {"missing_value_strategy": "fill_with_const", "fill_value": "none"}, ["x", "none"]),
    ],
)
def test_what_the_config_names_needs_no_training_rows(kind, chosen, expected):
    assert list(untrained(kind, **chosen).truth(pd.Series(COLUMNS[kind], name="a"))) == expected


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [
        ("number", "fill_with_mean"),
        ("number", "fill_with_mode"),
        ("category", "fill_with_mode"),
        ("binary", "fill_with_mode"),
    ],
)
def test_what_training_rows_would_tell_is_asked_of_them(kind, strategy):
    with pytest.raises(DataError) as error:
        untrained(kind, missing_value_strategy=strategy).truth(pd.Series(COLUMNS[kind], name="a"))
    assert str(error.value) == (
        f"column 'a', row 1: is missing, and {strategy} learns what stands for it from training rows: call train "
        "first, or write drop_row"
    )
