"""A table that is predicted in two processes of Ray: the same predictions in the same order as in one."""

import copy
from typing import Any

import pandas as pd
import pytest

from declarlm import DataError, DeclarLM
from declarlm.core import DeclarlmWarning
from declarlm.data.tables import read_table
from declarlm.training.progress import Silent

TWO = {"type": "ray", "num_workers": 2}


@pytest.fixture(scope="module")
def run(for_numbers, numbers, tmp_path_factory) -> str:
    trained = DeclarLM(for_numbers, device="cpu").train(numbers, output=tmp_path_factory.mktemp("runs"))
    return str(trained.directory)


def many(numbers: pd.DataFrame) -> pd.DataFrame:
    """Shuffled rows with an index that holds duplicates, and a column of mixed cells that no model reads."""
    rows = pd.concat([numbers] * 3).sample(frac=1, random_state=1)
    return rows.assign(note=[value for _ in range(len(rows) // 3) for value in (None, [1, "a"], 2.5)])


def test_predictions_are_those_of_one_process_in_the_tables_order(ray_runs, run, numbers, tmp_path):
    rows = many(numbers)
    here = DeclarLM.load(run, device="cpu").predict(rows)
    model = DeclarLM.load(run, device="cpu", backend=TWO)
    there = model.predict(rows, output=tmp_path / "found.parquet")
    pd.testing.assert_frame_equal(there, here)
    assert len(set(here["label_probability"])) > 90, "an order that is wrong would show"
    written = read_table(tmp_path / "found.parquet")
    assert written["label_predictions"].tolist() == here["label_predictions"].tolist()


def test_rows_that_fail_have_their_reasons_in_the_order_of_the_table(ray_runs, run, numbers):
    rows = numbers.astype({"a": object})
    rows.loc[[3, 77], "a"] = ["three", "seventy-seven"]
    with pytest.warns(DeclarlmWarning, match="2 of 101 rows could not be predicted"):
        here = DeclarLM.load(run, device="cpu").predict(rows)
    with pytest.warns(DeclarlmWarning, match="2 of 101 rows could not be predicted.*row 3"):
        there = DeclarLM.load(run, device="cpu", backend=TWO).predict(rows)
    pd.testing.assert_frame_equal(there, here)
    assert there["label_error"].notna().sum() == 2


def test_an_error_in_a_process_is_the_users_error(ray_runs, run, numbers):
    with pytest.raises(DataError, match="no column is named 'b'"):
        DeclarLM.load(run, device="cpu", backend=TWO).predict(numbers[["a"]])


def test_one_row_is_predicted_too(ray_runs, run, numbers):
    here, there = DeclarLM.load(run, device="cpu"), DeclarLM.load(run, device="cpu", backend=TWO)
    pd.testing.assert_frame_equal(there.predict(numbers[:1]), here.predict(numbers[:1]))


@pytest.mark.slow
def test_a_model_that_needs_no_training_predicts_there(ray_runs, for_colours, colours):
    config: dict[str, Any] = copy.deepcopy(for_colours)
    config["adapter"], config["trainer"] = None, {"type": "none"}
    labels = {"preprocessing": {"labels": sorted(set(colours["first"]))}}
    config["output_features"][0] |= labels
    here = DeclarLM(config, device="cpu").predict(colours)
    there = DeclarLM({**config, "backend": TWO}, device="cpu").predict(colours)
    pd.testing.assert_frame_equal(there, here, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_sweep_trains_each_trial_on_all_processes(ray_runs, for_numbers, numbers, tmp_path):
    parameters = {"trainer.learning_rate": {"space": "grid_search", "values": [1e-5, 0.03]}}
    config = {**for_numbers, "hyperopt": {"metric": "label.loss", "parameters": parameters, "search_alg": "grid"}}
    scheduler = {"type": "asha", "grace_period": 1, "reduction_factor": 2}
    config["hyperopt"]["executor"] = {"type": "inline", "scheduler": scheduler}
    found = {}
    for name, backend in (("here", "local"), ("there", TWO)):
        model = DeclarLM({**config, "backend": backend}, device="cpu")
        found[name] = model.hyperopt(numbers, output=tmp_path, name=name)
    assert found["there"].values == found["here"].values
    assert found["there"].value == pytest.approx(found["here"].value, rel=1e-4)
    assert list(found["there"].trials["state"]) == list(found["here"].trials["state"])


def test_a_trained_model_predicts_where_it_was_trained(ray_runs, for_numbers, numbers, tmp_path):
    result = DeclarLM({**for_numbers, "backend": TWO}).train(numbers, output=tmp_path, progress=Silent())
    found = result.model.predict(numbers)
    assert (found["label_predictions"] == numbers["label"]).mean() > 0.9
    assert result.model.evaluate(numbers).metrics["label"]["accuracy"] > 0.9
