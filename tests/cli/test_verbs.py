"""The command line: every verb, what goes to stdout and what to stderr, and the exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from people import CONFIG, ROWS

from declarlm.cli.app import VERBS
from declarlm.config import REGISTRIES, load_config


def test_help_names_every_verb_and_fits_on_a_screen(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    listed = re.findall(r"^  ([a-z]+)  +\S", out, re.MULTILINE)
    assert listed == list(VERBS)
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in out.replace("[ARGS]...", "").replace("adapters, ...", "")


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_explains_every_option(run, verb):
    code, out, err = run(verb, "-h")
    assert (code, err) == (0, "")
    options = re.split(r"^  (?=-)", out.partition("Options:\n")[2], flags=re.MULTILINE)[1:]
    for option in options:
        assert re.search(r"  \S.*[.\])]$", " ".join(option.split("\n")).strip()), option


def test_version(run):
    code, out, _ = run("--version")
    assert code == 0
    assert re.fullmatch(r"declarlm \d+\.\d+\.\d+\n", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["train", "-c", "a.yaml"], "Missing option '--dataset'."),
        (["train", "--datset", "a.csv"], "No such option: --datset (Possible options: --dataset, --set, --test)"),
        (
            ["train", "-c", "a.yaml", "--dataset", "a.csv", "--seed", "x"],
            "Invalid value for '--seed': Input should be a valid integer, unable to parse string as an integer",
        ),
        (["predict", "--dataset", "a.csv"], "Missing argument 'RUN'."),
        (
            ["train", "-c", "a.yaml", "--dataset", "a.csv", "--name", "a/b"],
            "Invalid value for --name: use up to 64 of A-Z a-z 0-9 . _ - and no dot in front",
        ),
        (
            ["list", "adapter"],
            "Invalid value for KIND: no kind is named 'adapter' (did you mean 'adapters'?), "
            f"choose from: {', '.join(sorted(REGISTRIES))}",
        ),
    ],
)
def test_wrong_usage_exits_with_2(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "".join(err.partition("Error: ")[1:]) == f"Error: {message}\n"


def test_validate_says_what_the_config_is(run, inside):
    assert run("validate", "-c", "people.yaml") == (
        0,
        "people.yaml is valid: model_type ecd, trainer.type finetune\n",
        "",
    )


def test_validate_prints_the_complete_config_as_json(run, inside):
    code, out, err = run("validate", "-c", "people.yaml", "--set", "trainer.epochs=5", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == load_config("people.yaml", ["trainer.epochs=5"]).dump()


def test_validate_tells_what_it_understood_of_old_spellings(run, inside):
    Path("old.yaml").write_text(CONFIG.replace("trainer:", "training:").replace("number", "numerical"))
    code, out, err = run("validate", "-c", "old.yaml")
    assert (code, out) == (0, "old.yaml is valid: model_type ecd, trainer.type finetune\n")
    assert err.splitlines() == [
        "old.yaml: training: read as trainer",
        "old.yaml: input_features[0].type: 'numerical' is read as 'number'",
    ]


def test_schema_prints_json_that_accepts_the_config(run):
    code, out, err = run("schema")
    assert (code, err) == (0, "")
    schema = json.loads(out)
    accepted = {
        "input_features": [{"name": "a", "type": "text", "encoder": "bert"}],
        "output_features": [{"name": "b", "type": "category"}],
    }
    jsonschema.validate(accepted, schema)
    refused = [
        {**accepted, "prompt": {}},
        {**accepted, "trainr": {}},
        {**accepted, "base_model": "starter", "combiner": "concat"},
        {**accepted, "base_model": "starter", "adapter": {"type": "lora", "r": 0}},
        {**accepted, "model_type": "llm"},
    ]
    for config in refused:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(config, schema)


def test_list_names_every_plugin(run):
    code, out, err = run("list", "--json")
    assert (code, err) == (0, "")
    assert {kind: list(plugins) for kind, plugins in json.loads(out).items()} == {
        kind: list(registry) for kind, registry in REGISTRIES.items()
    }
    code, out, err = run("list", "adapters")
    assert out.splitlines()[0] == "adapters"
    assert re.search(r"^  lora +Train a low-rank update beside each frozen linear layer\.$", out, re.MULTILINE)


def test_train_prints_a_table_and_leaves_a_run(run, inside):
    code, out, err = run("train", "-c", "people.yaml", "--dataset", "people.csv", "--seed", "7")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["validation", "test"]
    assert {"combined", "rich"} <= set(lines)
    assert any(re.fullmatch(r"  accuracy +[01]\.\d{4} +[01]\.\d{4}", line) for line in lines)
    assert max(map(len, lines)) <= 80
    end = "the run is in runs/people; next: declarlm predict runs/people --dataset FILE"
    assert err.splitlines()[-1] == end
    assert load_config("runs/people/config.resolved.yaml").seed == 7
    assert Path("runs/people/config.yaml").read_text() == CONFIG


def test_train_with_json_prints_nothing_else_on_stdout(run, inside):
    code, out, err = run("train", "-c", "people.yaml", "--dataset", "people.csv", "--json", "--name", "mine")
    assert code == 0
    result = json.loads(out)
    assert result["directory"] == "runs/mine"
    assert set(result["metrics"]) == {"validation", "test"}
    assert "epoch 1.00" in err


def test_quiet_says_nothing_on_stderr(run, inside):
    code, out, err = run("train", "-c", "people.yaml", "--dataset", "people.csv", "--quiet")
    assert (code, err) == (0, "")
    assert out.startswith(" ")


def test_flags_of_ludwig_are_understood(run, inside):
    code, _, err = run(
        *("train", "--config", "people.yaml", "--training_set", "people.csv", "--validation_set", "people.csv"),
        *("--test_set=people.csv", "-od", "results", "--model_name", "mine", "-rs", "3", "--quiet"),
    )
    assert (code, err) == (0, "")
    assert load_config("results/mine/config.resolved.yaml").seed == 3
    assert json.loads(Path("results/mine/data.json").read_text())["rows"] == {"train": 60, "validation": 60, "test": 60}
    code, out, _ = run("predict", "--model_path", "results/mine", "--dataset", "people.csv")
    assert (code, len(out.splitlines())) == (0, 61)


def test_a_config_with_any_name_names_a_run(run, inside):
    Path("people.yaml").rename("my people (new).v2.yaml")
    code, *_ = run("train", "-c", "my people (new).v2.yaml", "--dataset", "people.csv", "--quiet")
    assert code == 0
    assert [path.name for path in Path("runs").iterdir()] == ["my_people_new_v2"]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".jsonl", ".json", ".parquet", ".feather", ".xlsx"])
def test_predictions_are_written_in_the_format_that_the_name_asks_for(run, inside, trained, ending):
    from declarlm.data.tables import read_table

    code, out, err = run("predict", trained, "--dataset", "people.csv", "--output", f"new/predictions{ending}")
    assert (code, out, err) == (0, "", f"60 predictions are in new/predictions{ending}\n")
    written = read_table(f"new/predictions{ending}")
    assert list(written.columns) == [
        *("rich_predictions", "rich_probability", "rich_probabilities"),
        *("rich_probabilities_no", "rich_probabilities_yes"),
    ]
    shares = written[["rich_probabilities_no", "rich_probabilities_yes"]].astype(float)
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1)


def test_predictions_go_to_stdout_as_csv_or_json(run, inside, trained):
    code, table, err = run("predict", trained, "--dataset", "people.csv")
    assert (code, err) == (0, "")
    code, text, err = run("predict", trained, "--dataset", "people.csv", "--json")
    assert (code, err) == (0, "")
    records = json.loads(text)
    lines = table.splitlines()
    assert lines[0].split(",") == list(records[0])
    assert [line.split(",")[0] for line in lines[1:]] == [str(record["rich_predictions"]) for record in records]


def test_evaluate_measures_and_writes_predictions(run, inside, trained):
    code, out, err = run("evaluate", trained, "--dataset", "people.csv", "-o", "predictions.jsonl", "--json")
    assert (code, err) == (0, "60 predictions are in predictions.jsonl\n")
    metrics = json.loads(out)["metrics"]
    predicted = [json.loads(line)["rich_predictions"] for line in Path("predictions.jsonl").read_text().splitlines()]
    right = [str(guess) == str(truth) for guess, truth in zip(predicted, ROWS["rich"], strict=True)]
    assert metrics["rich"]["accuracy"] == pytest.approx(sum(right) / 60)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "RUN", "--dataset", "peopel.csv"], 3, "there is no file peopel.csv (did you mean people.csv?)"),
        (["predict", "RUN", "--dataset", "rich.csv"], 3, "rich.csv: no column is named 'age', choose from: rich; "
         "no column is named 'job', choose from: rich"),
        (["predict", "RUN", "--dataset", "people.csv", "--set", "seed=1"], 2, "--set seed=1: seed: no section or "
         "feature is named 'seed', choose from: generation"),
        (["predict", "nowhere", "--dataset", "people.csv"], 1,
         "nowhere does not exist; give the directory that training named"),
        (["predict", "people.csv", "--dataset", "people.csv"], 1,
         "people.csv is a file; give the directory that training named"),
        (["evaluate", "RUN", "--dataset", "unlabelled.csv"], 3,
         "unlabelled.csv: no column is named 'rich', choose from: age, job"),
        (["predict", ".", "--dataset", "people.csv"], 1,
         ". is no run: it has no file STATUS; give the directory that training named"),
        (["resume", "RUN"], 1, "RUN is finished; there is nothing to resume"),
        (["train", "-c", "people.yaml", "--dataset", "people.csv", "--device", "gpu"], 2,
         "device: must be cpu, mps, cuda or cuda:1, got 'gpu'"),
    ],
)  # fmt: skip
def test_errors_are_one_line_with_an_exit_code_of_their_own(run, inside, trained, arguments, code, message):
    Path("rich.csv").write_text("rich\nyes\n")
    Path("unlabelled.csv").write_text("age,job\n30,clerk\n")
    given = [str(trained) if argument == "RUN" else argument for argument in arguments]
    found = run(*given)
    assert found == (code, "", message.replace("RUN", str(trained)) + "\n")


def test_generation_is_changed_where_there_is_one(run, inside, trained):
    code, out, err = run("predict", trained, "--dataset", "people.csv", "--set", "generation.num_beam=2")
    assert (code, out) == (2, "")
    assert err.startswith(
        "--set generation.num_beam=2: generation.num_beam: no parameter is named 'num_beam' (did you mean 'num_beams'?)"
    )
    message = "generation: num_beams: is for model_type 'llm', which writes text\n"
    found = run("predict", trained, "--dataset", "people.csv", "--set", "generation.num_beams=2")
    assert found == (2, "", message)


def test_an_output_that_cannot_be_written_is_refused_first(run, inside):
    code, out, err = run("predict", "nowhere", "--dataset", "nothing.csv", "--output", "predictions.txt")
    assert (code, out) == (2, "")
    assert "Invalid value for --output: predictions.txt: no table format is named '.txt'" in err


def test_predict_does_not_overwrite_the_rows_that_it_reads(run, inside, trained):
    before = Path("people.csv").read_text()
    Path("link.csv").symlink_to("people.csv")
    Path("one.csv").write_text(before)
    for dataset, output in [("people.csv", "./people.csv"), ("people.csv", "link.csv"), ("o*.csv", "one.csv")]:
        code, out, err = run("predict", trained, "--dataset", dataset, "--output", output)
        assert (code, out) == (2, "")
        expected = f"{Path(output)} holds the rows that are read, which would be lost; name another file"
        assert f"Invalid value for --output: {expected}" in " ".join(err.split())
    assert Path("people.csv").read_text() == Path("one.csv").read_text() == before
    assert run("predict", trained, "--dataset", "people.csv", "--output", "one.csv")[0] == 0


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ("/proc/p.csv", "/proc: No such file or directory"),
        ("people.csv/p.csv", "people.csv: Not a directory"),
        ("/proc/new/p.csv", "/proc: No such file or directory"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_refused_first(run, inside, output, place):
    place = place if place.startswith("/") else f"{inside}/{place}"
    for verb in ("predict", "evaluate"):
        found = run(verb, "nowhere", "--dataset", "nothing.csv", "--output", output)
        assert found == (6, "", f"{output} cannot be written: {place}\n")


def test_rows_that_cannot_be_predicted_are_told_in_a_line(run, inside, trained):
    from declarlm.data.tables import read_table

    Path("new.csv").write_text("age,job\n30,clerk\nold,judge\n40,judge\n")
    reason = (
        "column 'age', row 1: 'old' is not a number; add \"old\" to preprocessing.missing_values or clean the column"
    )
    told = f"1 of 3 rows could not be predicted, the first one because {reason}\n"
    code, out, err = run("predict", trained, "--dataset", "new.csv", "--json")
    assert (code, err) == (0, told)
    assert [row["rich_error"] for row in json.loads(out)] == [None, reason, None]
    assert [row["rich_predictions"] is None for row in json.loads(out)] == [False, True, False]
    found = run("predict", trained, "--dataset", "new.csv", "--output", "new.parquet", "--quiet")
    assert found == (0, "", told)
    assert read_table("new.parquet")["rich_error"].isna().tolist() == [True, False, True]


def test_adapters_and_layers_of_a_base_are_listed(run):
    code, out, _ = run("list", "modules", "--base", "starter")
    assert code == 0
    assert re.search(r"^  \* q_proj +4 x 256 -> 256 +model\.layers\.0\.self_attn\.q_proj$", out, re.MULTILINE)
    assert re.search(r"^    lm_head +1 x 256 -> 4096 ", out, re.MULTILINE), "the head is not in target_modules: auto"
    code, out, _ = run("list", "adapters", "--base", "starter")
    assert code == 0
    assert re.search(r"^  lora +trains 286,720 of 4,090,112 weights \(7\.01%\), 1\.09 MiB$", out, re.MULTILINE)
    assert "bitfit           no: the base has no biases" in out
    code, out, _ = run("list", "adapters", "--base", "starter", "--json")
    assert json.loads(out)["adapters"]["ia3"] == {"trained": 3584, "total": 3806976, "bytes": 14336}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list", "modules"], "Invalid value for --base: is needed: declarlm list modules --base NAME"),
        (["list", "losses", "--base", "starter"], "write declarlm list adapters --base NAME, or list modules"),
        (["list", "modules", "--base", "no/such/folder"], "no/such/folder"),
    ],
)
def test_a_list_of_a_base_says_what_it_needs(run, arguments, told):
    code, _, err = run(*arguments)
    assert code == 2
    assert told in err
