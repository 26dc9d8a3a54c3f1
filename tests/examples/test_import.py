"""The example of a config of another tool becomes one that trains."""

from pathlib import Path

import pandas as pd

from declarlm import DeclarLM
from declarlm.compat.importing import import_config
from declarlm.core.strict_yaml import read_yaml

FOLDER = Path(__file__).parents[2] / "examples" / "import"


def test_it_trains_once_its_base_is_here(tmp_path):
    data = import_config(read_yaml(FOLDER / "axolotl.yml")).data
    rows = [{"instruction": "name a colour", "input": text, "output": "red"} for text in ("", "of blood", "of wine")]
    here = {
        "base_model": "starter",
        "trainer.train_steps": 2,
        "generation.max_new_tokens": 4,
        "trainer.precision": "fp32",
    }
    here |= {"trainer.optimizer.type": "adamw", "preprocessing.global_max_sequence_length": 64}
    result = DeclarLM(data, overrides=here).train(pd.DataFrame(rows * 6), output=tmp_path)
    assert result.metrics["validation"]["output"]["loss"] > 0
    assert len(result.model.predict(pd.DataFrame(rows))) == 3
