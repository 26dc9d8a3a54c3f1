"""hf:// addresses, against a real cache folder of huggingface_hub and no network."""

import json
import os
import subprocess
import sys

import pytest

from declarlm.core import DataError
from declarlm.data.tables import read_table

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def read(tmp_path):
    """Return a function that reads an address in a fresh process which may not use the network."""
    repository = tmp_path / "hub" / "datasets--someone--small"
    files = repository / "snapshots" / REVISION
    (files / "data").mkdir(parents=True)
    (files / "data" / "train-0.csv").write_text("text,label\na,x\n")
    (files / "data" / "train-1.csv").write_text("text,label\nb,y\n")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)

    def run(address):
        code = (
            "import json, sys\n"
            "from declarlm.core import DataError\n"
            "from declarlm.data.tables import read_table\n"
            "try: print(read_table(sys.argv[1])['text'].to_json(orient='values'))\n"
            "except DataError as error: print(json.dumps(str(error)))\n"
        )
        env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code, address], env=env, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    return run


def test_files_of_a_dataset_are_read_from_the_cache(read):
    assert read("hf://datasets/someone/small/data/train-*.csv") == ["a", "b"]
    assert read("hf://someone/small@main/data/train-1.csv") == ["b"]


def test_what_the_hub_does_not_have_is_named(read):
    assert read("hf://datasets/someone/small/*.parquet") == (
        "hf://datasets/someone/small/*.parquet: no file of the dataset matches *.parquet"
    )
    assert read("hf://datasets/someone/other/train.csv").startswith("hf://datasets/someone/other/train.csv: ")


@pytest.mark.parametrize(
    "address", ["hf://small", "hf://someone/small", "hf://datasets/someone/small/../../x.csv", "hf://"]
)
def test_an_incomplete_address_is_refused(address):
    with pytest.raises(DataError) as caught:
        read_table(address)
    assert str(caught.value) == (
        f"{address}: name the files of the dataset, for instance hf://datasets/OWNER/NAME/data/train-*.parquet"
    )
