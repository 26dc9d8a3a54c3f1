"""From a dataset, and sets of their own for validation and test, to the rows of each part."""

import pandas as pd

from declarlm.data.parts import read_parts
from declarlm.data.preprocessing import Preprocessing

ROWS = pd.DataFrame({"text": list("abcdefgh"), "split": ["train"] * 5 + ["validation", "test", "test"]})
OWN = pd.DataFrame({"text": list("xyz")})


def parts(dataset: pd.DataFrame, **given: pd.DataFrame) -> dict[str, str]:
    preprocessing = Preprocessing.load({"split": {"type": "fixed"}})
    given = {"validation": None, "test": None, **given}
    found = read_parts(dataset, *given.values(), preprocessing=preprocessing, features=[], seed=1).tables
    return {name: "".join(table["text"]) for name, table in vars(found).items()}


def test_rows_that_a_column_keeps_from_training_do_not_train_beside_sets_of_their_own():
    assert parts(ROWS) == {"train": "abcde", "validation": "f", "test": "gh"}
    assert parts(ROWS, validation=OWN) == {"train": "abcde", "validation": "xyz", "test": "gh"}
    assert parts(ROWS, test=OWN) == {"train": "abcde", "validation": "f", "test": "xyz"}


def test_where_rows_came_from_is_found_from_any_folder(tmp_path, monkeypatch):
    OWN.to_csv(tmp_path / "part-1.csv", index=False)
    ROWS[["text"]].to_csv(tmp_path / "part-2.csv", index=False)
    monkeypatch.chdir(tmp_path)
    given = {"preprocessing": Preprocessing.load({}), "features": [], "seed": 1}
    source = read_parts("part-*.csv", None, None, **given).sources["dataset"]
    assert source["path"] == str(tmp_path / "part-*.csv")
    monkeypatch.chdir("/")
    assert read_parts(source["path"], None, None, **given).sources["dataset"] == source


def test_without_that_column_all_rows_of_the_dataset_train():
    rows = ROWS.drop(columns="split")
    assert parts(rows, validation=OWN) == {"train": "abcdefgh", "validation": "xyz", "test": ""}
