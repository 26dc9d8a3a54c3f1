"""A whole sweep: what its trials are, what it leaves, and what it survives."""

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from declarlm import ConfigError, DataError, DeclarLM
from declarlm.api import SweepError, resume_sweep
from declarlm.core.files import read_json_lines
from declarlm.encoders.dense import DenseEncoder
from declarlm.run import open_run
from declarlm.training.interrupts import StoppedError

DRAW = random.Random(0)
ROWS = pd.DataFrame(
    [{"a": DRAW.gauss(0, 1), "b": DRAW.gauss(0, 1), "noise": DRAW.gauss(0, 1)} for _ in range(160)]
).assign(label=lambda rows: ["high" if a * b > 0 else "low" for a, b in zip(rows.a, rows.b, strict=True)])
CONFIG: dict[str, Any] = {
    "input_features": [{"name": name, "type": "number"} for name in ("a", "b", "noise")],
    "output_features": [{"name": "label", "type": "category"}],
    "combiner": {"type": "concat", "num_fc_layers": 1, "output_size": 16},
    "trainer": {"epochs": 4, "batch_size": 16, "early_stop": -1},
    "hyperopt": {
        "metric": "label.accuracy",
        "parameters": {
            "trainer.learning_rate": {"space": "loguniform", "lower": 1e-4, "upper": 1e-1},
            "combiner.output_size": {"space": "choice", "categories": [4, 8, 16]},
            "label.decoder.dropout": {"space": "uniform", "lower": 0.0, "upper": 0.3},
        },
        "executor": {"num_samples": 6, "scheduler": {"type": "asha", "reduction_factor": 2}},
    },
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**CONFIG, "hyperopt": {**CONFIG["hyperopt"], **changes}}


def sweep(tmp_path: Path, config: dict[str, Any] = CONFIG, **more: Any) -> Any:
    return DeclarLM(config).hyperopt(ROWS, output=tmp_path, **more)


@pytest.fixture
def _explosive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make encoders of three layers raise what no plugin should."""
    build = DenseEncoder.build

    def explode(self: Any) -> Any:
        if self.config.num_fc_layers == 3:
            raise ArithmeticError("three layers explode")
        return build(self)

    monkeypatch.setattr(DenseEncoder, "build", explode)


def test_a_sweep_leaves_a_table_a_best_model_and_the_config_to_train_it_again(tmp_path):
    result = sweep(tmp_path)
    assert len(result.trials) == 6
    assert set(result.trials.state) <= {"finished", "stopped"}
    finished = result.trials[result.trials.state == "finished"]
    assert result.value == finished.value.max()
    assert result.metric == "label.accuracy"
    best = result.best
    assert best.metrics["validation"]["label"]["accuracy"] == result.value
    assert best.model.predict(ROWS[:3]).label_predictions.isin(["high", "low"]).all()
    told = json.loads((result.directory / "hyperopt.json").read_text())
    assert [trial["parameters"] for trial in told["trials"]] == [
        {path: row[path] for path in CONFIG["hyperopt"]["parameters"]} for _, row in result.trials.iterrows()
    ]
    assert told["best"] == int(result.trials.value.idxmax()) or told["best"] in finished.index
    assert list(pd.read_csv(result.directory / "trials.csv").columns) == list(result.trials.columns)
    again = DeclarLM(result.directory / "best.yaml").train(ROWS, output=tmp_path, name="again")
    assert again.metrics["validation"]["label"]["accuracy"] == result.value
    assert result.command == f"declarlm train -c {result.directory}/best.yaml --dataset FILE"


def test_every_trial_is_a_run_whose_resolved_config_holds_its_values(tmp_path):
    result = sweep(tmp_path)
    for _, row in result.trials.iterrows():
        resolved = yaml.safe_load((result.directory / row.directory / "config.resolved.yaml").read_text())
        assert float(resolved["trainer"]["learning_rate"]) == row["trainer.learning_rate"]
        assert resolved["combiner"]["output_size"] == row["combiner.output_size"]
        assert resolved["output_features"][0]["decoder"]["dropout"] == row["label.decoder.dropout"]
        assert resolved["hyperopt"] is None
        assert open_run(result.directory / row.directory).status.state == row.state


def test_a_stopped_trial_can_be_trained_to_its_end(tmp_path):
    from declarlm.api import resume_training

    result = sweep(tmp_path)
    stopped = result.trials[result.trials.state == "stopped"]
    assert len(stopped)
    directory = result.directory / stopped.directory.iloc[0]
    resume_training(directory, dataset=ROWS)
    assert open_run(directory).status.state == "finished"
    assert len(open_run(directory).evaluations()) == 4


def test_the_adapter_of_each_trial_is_built_with_its_values(tmp_path):
    rows = pd.DataFrame({"text": [f"say {color}" for color in ("red", "blue") * 8], "color": ["red", "blue"] * 8})
    config = {
        "model_type": "llm",
        "base_model": "starter",
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [{"name": "color", "type": "category"}],
        "adapter": {"type": "lora"},
        "trainer": {"train_steps": 1, "batch_size": 4},
        "hyperopt": {
            "parameters": {
                "adapter.r": {"space": "grid_search", "values": [2, 4]},
                "adapter.alpha": {"space": "ratio", "of": "adapter.r", "value": 3},
                "adapter.dropout": {"space": "uniform", "lower": 0.0, "upper": 0.2},
            },
        },
    }
    result = DeclarLM(config).hyperopt(rows, output=tmp_path)
    for _, row in result.trials.iterrows():
        loaded = DeclarLM.load(result.directory / row.directory)
        built = loaded._model.module.backbone.peft_config["default"]
        assert (built.r, built.lora_alpha) == (row["adapter.r"], row["adapter.alpha"])
        assert built.lora_alpha == 3 * built.r
        assert built.lora_dropout == row["adapter.dropout"]
        layers = [part for part in loaded._model.module.backbone.modules() if hasattr(part, "lora_A")]
        assert {layer.lora_A["default"].out_features for layer in layers} == {row["adapter.r"]}


def test_without_a_space_for_alpha_it_stays_in_step_with_r(tmp_path):
    config = {**CONFIG, "trainer": {**CONFIG["trainer"], "epochs": 1}}
    llm = {**config, "model_type": "llm", "base_model": "starter", "adapter": "lora"}
    del llm["combiner"]
    llm["hyperopt"] = {"parameters": {"adapter.r": {"space": "choice", "categories": [2, 32]}}}
    from declarlm.config import trial_document

    written = DeclarLM(llm).written
    assert trial_document(written, {"adapter.r": 32})[0].data["adapter"]["alpha"] == 64


def test_a_sweep_over_the_rank_of_adalora_changes_its_target_rank(tmp_path):
    rows = pd.DataFrame({"text": [f"say {color}" for color in ("red", "blue") * 8], "color": ["red", "blue"] * 8})
    config = {
        "base_model": "starter",
        "input_features": [{"name": "text", "type": "text"}],
        "output_features": [{"name": "color", "type": "category"}],
        "adapter": {"type": "adalora"},
        "trainer": {"train_steps": 8, "batch_size": 4},
        "hyperopt": {"parameters": {"adapter.r": {"space": "grid_search", "values": [2, 4]}}},
    }
    result = DeclarLM(config).hyperopt(rows, output=tmp_path)
    for _, row in result.trials.iterrows():
        built = DeclarLM.load(result.directory / row.directory)._model.module.backbone
        ranks = [part for name, part in built.named_parameters() if name.endswith("lora_E.default")]
        assert built.peft_config["default"].target_r == row["adapter.r"]
        kept = sum(int((rank != 0).sum()) for rank in ranks)
        assert kept <= row["adapter.r"] * len(ranks)


def test_whole_parts_of_a_config_are_chosen_by_a_dot(tmp_path):
    parts = [{"combiner": {"num_fc_layers": 0}}, {"combiner": {"num_fc_layers": 2}, "trainer": {"epochs": 1}}]
    config = changed(
        parameters={
            ".": {"space": "grid_search", "values": parts},
            "trainer.learning_rate": {"space": "choice", "categories": [0.01]},
        },
        executor={"num_samples": 1},
    )
    result = sweep(tmp_path, config)
    resolved = [
        yaml.safe_load((result.directory / name / "config.resolved.yaml").read_text())
        for name in result.trials.directory
    ]
    assert [one["combiner"]["num_fc_layers"] for one in resolved] == [0, 2]
    assert [one["trainer"]["epochs"] for one in resolved] == [4, 1]
    assert [one["combiner"]["output_size"] for one in resolved] == [16, 16]
    assert [float(one["trainer"]["learning_rate"]) for one in resolved] == [0.01, 0.01]


@pytest.mark.usefixtures("_explosive")
def test_an_error_in_one_trial_leaves_the_others(tmp_path):
    config = changed(parameters={"a.encoder.num_fc_layers": {"space": "grid_search", "values": [1, 3, 2]}}, executor={})
    config["input_features"] = [{"name": "a", "type": "number", "encoder": "dense"}, *CONFIG["input_features"][1:]]
    result = sweep(tmp_path, config)
    assert list(result.trials.state) == ["finished", "failed", "finished"]
    told = json.loads((result.directory / "hyperopt.json").read_text())
    assert told["trials"][1]["message"].startswith("ArithmeticError: three layers explode\nTraceback")
    assert told["trials"][1]["metric_score"] is None


def test_a_trial_that_diverges_fails_and_the_others_finish(tmp_path):
    parameters = {"trainer.learning_rate": {"space": "grid_search", "values": [0.01, 1e38]}}
    result = sweep(tmp_path, changed(parameters=parameters, executor={}, metric="loss"))
    assert result.trials.state[0] == "finished"
    told = json.loads((result.directory / "hyperopt.json").read_text())["trials"][1]
    assert told["state"] == "failed"
    assert told["message"].endswith("infinite or not a number; lower trainer.learning_rate (1e+38)")


@pytest.mark.usefixtures("_explosive")
def test_when_all_trials_fail_their_causes_are_grouped(tmp_path):
    config = changed(parameters={"a.encoder.output_size": {"space": "grid_search", "values": [4, 8]}}, executor={})
    encoder = {"type": "dense", "num_fc_layers": 3}
    config["input_features"] = [{"name": "a", "type": "number", "encoder": encoder}, *CONFIG["input_features"][1:]]
    with pytest.raises(SweepError) as caught:
        sweep(tmp_path, config)
    assert str(caught.value) == (
        f"{tmp_path}/sweep: none of 2 trials has a result\n  trials 0, 1: ArithmeticError: three layers explode"
    )


def test_the_time_budget_starts_no_more_trials(tmp_path):
    config = changed(executor={"num_samples": 50, "time_budget_s": 2})
    result = sweep(tmp_path, config)
    assert 1 <= len(result.trials) < 50


class Interrupt:
    """A watcher that interrupts the sweep after some events."""

    def __init__(self, after: int) -> None:
        self.left = after

    def watching(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()

    def show(self, _: Any) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 2, 3, 5, 9, 14])
@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_sweep_that_is_interrupted_anywhere_goes_on_as_if_it_had_not_been(tmp_path, after, search):
    config = changed(search_alg={"type": search, **({"n_startup_trials": 2} if search == "tpe" else {})})
    whole = sweep(tmp_path, config, name="whole")
    with pytest.raises(StoppedError, match=rf"of 6 trials; go on with: declarlm hyperopt --resume {tmp_path}/cut"):
        sweep(tmp_path, config, name="cut", watcher=Interrupt(after))
    resumed = resume_sweep(tmp_path / "cut", dataset=ROWS)
    columns = ["number", "state", "value", *CONFIG["hyperopt"]["parameters"]]
    pd.testing.assert_frame_equal(resumed.trials[columns], whole.trials[columns])
    ends = [line["number"] for line in read_json_lines(tmp_path / "cut/ledger.jsonl") if line["event"] == "end"]
    assert sorted(ends) == list(range(6))


def test_a_finished_sweep_that_is_resumed_repeats_nothing(tmp_path):
    whole = sweep(tmp_path)
    before = (whole.directory / "ledger.jsonl").read_bytes()
    again = DeclarLM(CONFIG).hyperopt(ROWS, resume=whole.directory)
    assert (whole.directory / "ledger.jsonl").read_bytes() == before
    assert again.values == whole.values


def test_a_sweep_goes_on_only_with_the_rows_that_it_began_with(tmp_path):
    whole = sweep(tmp_path)
    with pytest.raises(DataError, match=r"the dataset rows are not those that .* began with"):
        resume_sweep(whole.directory, dataset=ROWS[:100])
    with pytest.raises(DataError, match="were a table in memory; give them again"):
        resume_sweep(whole.directory)


def test_a_sample_that_is_no_valid_config_stops_the_sweep_before_it_begins(tmp_path):
    parameters = {
        "trainer.batch_size": {"space": "grid_search", "values": [16, 32]},
        "trainer.effective_batch_size": {"space": "grid_search", "values": [32, 48]},
    }
    with pytest.raises(ConfigError) as caught:
        sweep(tmp_path, changed(parameters=parameters, executor={}))
    told = "with trainer.batch_size 32, trainer.effective_batch_size 48: "
    assert "hyperopt.parameters" in str(caught.value)
    assert "must be a multiple of batch_size (32), got 48" in str(caught.value), told
    assert not list(tmp_path.iterdir())


def test_rows_that_no_trial_could_use_are_refused_before_the_sweep_begins(tmp_path):
    config = {**CONFIG, "preprocessing": {"split": {"type": "random", "probabilities": [1.0, 0.0, 0.0]}}}
    with pytest.raises(DataError, match="trials are compared on the validation rows, and there are none"):
        sweep(tmp_path, config)
    with pytest.raises(DataError, match="noise"):
        DeclarLM(CONFIG).hyperopt(ROWS.drop(columns="noise"), output=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_config_without_the_section_says_what_to_write(tmp_path):
    config = {key: value for key, value in CONFIG.items() if key != "hyperopt"}
    with pytest.raises(ConfigError, match="hyperopt: is missing; write hyperopt with parameters"):
        sweep(tmp_path, config)
