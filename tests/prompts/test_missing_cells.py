"""A missing cell is an empty text in a prompt, whatever its column holds."""

import numpy as np
import pandas as pd
import pytest

from declarlm import DeclarLM

TABLE = pd.DataFrame(
    {
        "text": ["a", None, np.nan, pd.NA],
        "year": [2000.0, None, np.nan, np.nan],
        "kind": pd.Categorical(["x", None, np.nan, pd.NA]),
        "flag": pd.array([True, None, pd.NA, pd.NA], dtype="boolean"),
        "count": pd.array([1, None, pd.NA, pd.NA], dtype="Int64"),
        "date": pd.to_datetime(["2020-01-01", None, pd.NaT, None]),
        "any": ["z", None, float("nan"), pd.NaT],
        "label": ["p", "q", "p", "q"],
    }
)
TYPES = {"text": "text", "year": "number", "kind": "category", "flag": "binary", "count": "number"}
FORMAT = "{text}|{year:.2f}|{kind:>3}|{flag}|{count:d}|{date}|{any}|"
JINJA = "{% if text %}{{ text }}{% endif %}|{{ year }}|{{ kind }}|{{ flag }}|{{ count }}|{{ date }}|{{ any | upper }}|"


@pytest.mark.parametrize(
    ("prompt", "whole", "empty"),
    [
        ({"template": FORMAT}, "a|2000.00|  x|True|1|2020-01-01 00:00:00|z|", "|||||||"),
        ({"template": JINJA}, "a|2000|x|True|1|2020-01-01 00:00:00|Z|", "|||||||"),
        (
            {},
            "text: a\nyear: 2000\nkind: x\nflag: True\ncount: 1\nlabel:",
            "text: \nyear: \nkind: \nflag: \ncount: \nlabel:",
        ),
    ],
)
def test_nothing_stands_for_a_missing_cell(prompt, whole, empty):
    config = {
        "base_model": "starter",
        "input_features": [{"name": name, "type": kind} for name, kind in TYPES.items()],
        "output_features": [{"name": "label", "type": "category"}],
        "prompt": prompt,
    }
    shown = [
        "".join(span.text for span in preview.spans if span.role in ("template", "cell"))
        for preview in DeclarLM(config).preview(TABLE, 4)
    ]
    assert shown == [whole, empty, empty, empty]
