"""``predict``: one row for each row of the table, whatever is wrong with some of them; and what is said about it."""

import json

import numpy as np
import pandas as pd
import pytest
from small_bases import save_tiny_llama

from declarlm import DataError, DeclarLM, DeclarlmWarning
from declarlm.core.errors import DiskError

ROWS = pd.DataFrame(
    [
        {"note": f"the {color} {animal}", "size": float(row), "color": color, "animal": animal, "count": row % 3}
        for row, (color, animal) in enumerate([(c, a) for c in ("red", "white") for a in ("dog", "pig", "cow")] * 4)
    ]
)
NOT_A_NUMBER = "'oops' is not a number; add \"oops\" to preprocessing.missing_values or clean the column"


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> str:
    return save_tiny_llama(tmp_path_factory.mktemp("llama") / "base")


@pytest.fixture(scope="module")
def ecd(tmp_path_factory) -> DeclarLM:
    config = {
        "input_features": [
            {"name": "note", "type": "text"},
            {"name": "size", "type": "number", "preprocessing": {"missing_value_strategy": "drop_row"}},
        ],
        "output_features": [{"name": name, "type": "category"} for name in ("animal", "count")],
        "trainer": {"train_steps": 2, "batch_size": 4},
    }
    return DeclarLM(config).train(ROWS, output=tmp_path_factory.mktemp("runs")).model


def llm(base, **changes):
    config = {
        "base_model": base,
        "input_features": [{"name": "note", "type": "text"}],
        "output_features": [{"name": "color", "type": "text"}],
        "generation": {"max_new_tokens": 2},
        **changes,
    }
    return DeclarLM(config)


def test_bad_rows_carry_their_reason_and_the_others_are_predicted(ecd):
    good = ROWS.head(4).set_axis([7, 7, 8, 9])
    bad = good.assign(size=pd.Series(["0", "oops", None, "3"], dtype=object).set_axis(good.index))
    with pytest.warns(DeclarlmWarning) as caught:
        found = ecd.predict(bad)
    assert [str(warning.message) for warning in caught] == [
        f"2 of 4 rows could not be predicted, the first one because column 'size', row 7: {NOT_A_NUMBER}"
    ]
    assert caught[0].filename == __file__
    reasons = [None, f"column 'size', row 7: {NOT_A_NUMBER}", "column 'size', row 8: is missing", None]
    for name in ("animal", "count"):
        assert [None if pd.isna(reason) else reason for reason in found[f"{name}_error"]] == reasons
        assert found[f"{name}_predictions"].isna().tolist() == [False, True, True, False]
        assert found[f"{name}_probability"].isna().tolist() == [False, True, True, False]
    assert isinstance(found["count_predictions"].iloc[0], int)
    assert found.index.tolist() == [7, 7, 8, 9]
    whole = ecd.predict(good)
    assert "animal_error" not in whole
    pd.testing.assert_frame_equal(
        found.drop(columns=["animal_error", "count_error"]).iloc[[0, 3]],
        whole.iloc[[0, 3]],
        check_dtype=False,
    )


def test_a_table_of_bad_rows_has_reasons_only(ecd):
    with pytest.warns(DeclarlmWarning, match="^2 of 2 rows could not be predicted"):
        found = ecd.predict(ROWS.head(2).assign(size="oops"))
    assert found["animal_predictions"].isna().all()
    assert found["animal_error"].str.endswith(NOT_A_NUMBER).all()


def test_a_missing_column_and_an_evaluation_stay_strict(ecd):
    with pytest.raises(DataError, match="no column is named 'size'"):
        ecd.predict(ROWS[["note"]])
    with pytest.raises(DataError, match="column 'size', row 0: 'oops' is not a number"):
        ecd.evaluate(ROWS.assign(size="oops"))


def test_rows_that_make_no_prompt_carry_their_reason(llama):
    model = llm(llama, prompt={"template": "{note} {size:.1f}"})
    rows = pd.DataFrame({"note": ["a", "b", "c"], "size": [1.0, "x", 2.0]})
    with pytest.warns(DeclarlmWarning, match="^1 of 3 rows could not be predicted, the first one because "):
        found = model.predict(rows)
    assert found["color_predictions"].isna().tolist() == [False, True, False]
    assert found["color_error"].notna().tolist() == [False, True, False]
    assert "row 1" in found["color_error"][1]
    alone = model.predict(rows.iloc[[0, 2]])
    assert alone["color_response"].tolist() == found["color_response"].iloc[[0, 2]].tolist()


def test_a_prompt_that_is_too_long_fails_its_row_only(llama):
    model = llm(llama, prompt={"template": "{% if kind == 'long' %}" + "far too long " * 40 + "{% endif %}{{ note }}"})
    with pytest.warns(DeclarlmWarning, match="^1 of 3 rows could not be predicted, the first one because row 4: the "):
        found = model.predict(pd.DataFrame({"note": ["a", "b", "c"], "kind": ["", "long", ""]}, index=[3, 4, 5]))
    assert found.index.tolist() == [3, 4, 5]
    assert found["color_predictions"].isna().tolist() == [False, True, False]
    assert found["color_error"][4].startswith("row 4: the template has ")


def test_predictions_are_also_written_to_a_file(ecd, tmp_path):
    found = ecd.predict(ROWS, output=tmp_path / "new" / "predictions.jsonl")
    lines = (tmp_path / "new" / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["animal_predictions"] for line in lines] == found["animal_predictions"].tolist()
    with pytest.raises(DataError, match=r"no table format is named '\.txt'"):
        ecd.predict(ROWS, output=tmp_path / "predictions.txt")
    with pytest.raises(DiskError, match=r"^/proc/p\.csv cannot be written: /proc: No such file or directory$"):
        ecd.predict(ROWS, output="/proc/p.csv")
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(DataError, match=r"rows\.csv holds the rows that are read, which would be lost"):
        ecd.predict(tmp_path / "rows.csv", output=tmp_path / "rows.csv")


def test_cut_rows_are_told_and_recorded(llama, tmp_path):
    model = llm(llama, adapter={"type": "lora"}, trainer={"train_steps": 1, "batch_size": 4})
    long = ROWS.assign(note=["wine " * 200 if row in (1, 3) else "wine" for row in range(len(ROWS))])
    with pytest.warns(DeclarlmWarning) as caught:
        run = model.train(long, validation=long.head(2), test=long.head(5), output=tmp_path)
    cut = "rows are longer than 64 tokens; text of their longest column was cut"
    expected = [f"2 of 24 {cut}", f"validation: 1 of 2 {cut}", f"test: 2 of 5 {cut}"]
    assert [str(warning.message) for warning in caught] == expected
    assert caught[0].filename == __file__
    recorded = json.loads((run.directory / "data.json").read_text())["remarks"]
    assert [remark for remark in recorded if remark.endswith(cut)] == expected
    assert len(run.model.predict(long.head(3))) == 3
    assert np.isfinite(run.metrics["test"]["combined"]["loss"])
