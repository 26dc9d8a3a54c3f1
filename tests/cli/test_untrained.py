"""Verbs on the config of a model that needs no training."""

import csv
import io

CONFIG = """
base_model: starter
input_features: [{name: text, type: text}]
output_features: [{name: mood, type: category, preprocessing: {labels: [good, bad]}}]
trainer: {type: %s}
"""
TABLE = "text,mood\nI love it,good\nI hate it,bad\n"


def test_a_config_predicts_and_is_measured_where_nothing_is_trained(run, tmp_path):
    (tmp_path / "zero.yaml").write_text(CONFIG % "none")
    (tmp_path / "rows.csv").write_text(TABLE)
    code, out, err = run("predict", tmp_path / "zero.yaml", "--dataset", tmp_path / "rows.csv")
    assert (code, err) == (0, "")
    labels = [row["mood_predictions"] for row in csv.DictReader(io.StringIO(out))]
    assert len(labels) == 2
    assert set(labels) <= {"good", "bad"}
    code, out, _ = run("evaluate", tmp_path / "zero.yaml", "--dataset", tmp_path / "rows.csv")
    assert (code, "accuracy" in out) == (0, True)


def test_a_config_that_must_be_trained_says_how(run, tmp_path):
    (tmp_path / "tuned.yaml").write_text(CONFIG % "finetune")
    (tmp_path / "rows.csv").write_text(TABLE)
    code, out, err = run("predict", tmp_path / "tuned.yaml", "--dataset", tmp_path / "rows.csv")
    assert (code, out) == (1, "")
    path = tmp_path / "tuned.yaml"
    assert err == f"{path} is the config of a model that must be trained: declarlm train -c {path}\n"
