"""What a wrong config gets: one line for each mistake, with its place and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from declarlm import ConfigError, load_config
from declarlm.adapters.base import adapters
from declarlm.cli import main
from declarlm.config import EcdConfig, LlmConfig
from declarlm.encoders.base import encoders
from declarlm.metrics import metrics
from declarlm.objectives import objectives
from declarlm.training.config import TrainerConfig
from declarlm.training.optimizers import optimizers

LLM = """\
base_model: starter
input_features:
  - {name: text, type: text}
output_features:
  - {name: label, type: category}
adapter: {type: lora, r: 8}
trainer: {epochs: 3}
"""
ECD = """\
input_features:
  - {name: text, type: text}
output_features:
  - {name: label, type: category}
"""
TYPES = "binary, category, conversation, date, number, set, text, vector"


def among(options: Any) -> str:
    return f"choose from: {', '.join(sorted(set(options)))}"


FEATURE = among(["column", "encoder", "name", "preprocessing", "tied"])
TRAINER = among(TrainerConfig.schema().fields)
LLM_KEYS, ECD_KEYS = among(LlmConfig.schema().fields), among(EcdConfig.schema().fields)
CATEGORY = [name for name in metrics if "category" in metrics[name].accepts]
LORA = among(adapters["lora"].Config.schema().fields)


MISTAKES = {
    "a misspelled key": (
        LLM.replace("epochs", "epohcs"),
        f"7: trainer.epohcs: no parameter is named 'epohcs' (did you mean 'epochs'?), {TRAINER}",
    ),
    "a misspelled section": (
        LLM.replace("trainer", "trainr"),
        f"7: trainr: no parameter is named 'trainr' (did you mean 'trainer'?), {LLM_KEYS}",
    ),
    "a key that another tool has": (
        LLM.replace("r: 8", "rank: 8"),
        f"6: adapter.rank: no parameter is named 'rank' (did you mean 'r'?), {LORA}",
    ),
    "a wrong type": (
        LLM.replace("3", "three"),
        "7: trainer.epochs: must be an integer at least 1, got 'three'",
    ),
    "a number in quotes": (
        LLM.replace("3", '"3"'),
        "7: trainer.epochs: must be an integer at least 1, got '3'; remove the quotes",
    ),
    "yes for true": (
        LLM.replace("epochs: 3", "should_shuffle: yes"),
        "7: trainer.should_shuffle: must be true or false, got 'yes'; write true",
    ),
    "an unknown encoder": (
        ECD.replace("type: text", "type: text, encoder: brt"),
        "2: input_features[0].encoder: no encoder is named 'brt' (did you mean 'bert'?), "
        + among(encoders.where(accepts="text")),
    ),
    "an unknown encoder by type": (
        ECD.replace("type: text", "type: text, encoder: {type: brt}"),
        "2: input_features[0].encoder.type: no encoder is named 'brt' (did you mean 'bert'?), "
        + among(encoders.where(accepts="text")),
    ),
    "an encoder for another type": (
        ECD.replace("type: text", "type: number, encoder: bert"),
        "2: input_features[0].encoder: encoder 'bert' does not fit here: its 'accepts' is text, not number, "
        + among(encoders.where(accepts="number")),
    ),
    "a rank of zero": (LLM.replace("8", "0"), "6: adapter.r: must be at least 1, got 0"),
    "three bits": (LLM + "quantization: {bits: 3}\n", "8: quantization.bits: cannot be 3, choose from: 4, 8"),
    "a misspelled type": (
        ECD.replace("type: text", "type: texts"),
        f"2: input_features[0].type: no input feature is named 'texts' (did you mean 'text'?), choose from: {TYPES}",
    ),
    "a type that there is not": (
        ECD.replace("type: text", "type: image"),
        f"2: input_features[0].type: no input feature is named 'image', choose from: {TYPES}",
    ),
    "no type": (ECD.replace(", type: text", ""), f"2: input_features[0].type: is required, choose from: {TYPES}"),
    "no name": (ECD.replace("name: text, ", ""), "2: input_features[0].name: is required"),
    "an unknown optimizer": (
        LLM.replace("epochs: 3", "optimizer: adamm"),
        f"7: trainer.optimizer: no optimizer is named 'adamm' (did you mean 'adam'?), {among(optimizers)}",
    ),
    "an unknown objective": (
        LLM.replace("{epochs: 3}", "finetuning"),
        f"7: trainer.type: no objective is named 'finetuning' (did you mean 'finetune'?), {among(objectives)}",
    ),
    "a capital letter": (
        LLM.replace("{type: lora, r: 8}", "Lora"),
        f"6: adapter: no adapter is named 'Lora' (did you mean 'lora'?), {among(adapters)}",
    ),
    "a tab": (
        ECD.replace("  - {name: text", "\t- {name: text"),
        "2: is not YAML: found character that cannot start any token, at column 1; indent with spaces, not with tabs",
    ),
    "a key too far to the right": (
        "input_features:\n  - name: text\n     type: text\n",
        "3: is not YAML: mapping values are not allowed in this context, at column 10; "
        "check the indentation here and on the line before; quote text that holds ': '",
    ),
    "a key too far to the left": (
        "input_features:\n  - name: text\n type: text\n",
        "3: is not YAML: did not find expected key, at column 2, in what starts on line 1; "
        "check the indentation: keys of one mapping start in the same column",
    ),
    "a bracket left open": (
        ECD.replace("text}", "text"),
        "3: is not YAML: did not find expected ',' or '}', at column 16, in what starts on line 2; "
        "a bracket is not closed, or a comma is missing",
    ),
    "a key given twice": (LLM + "trainer: {epochs: 4}\n", "8: trainer: is given twice, first on line 7"),
    "two features of one name": (
        ECD.replace("label", "text"),
        "4: output_features[0].name: is 'text' a second time, first at input_features[0].name",
    ),
    "an output that is an input": (
        ECD.replace("name: label", "name: label, column: text"),
        "4: output_features[0].column: column 'text' is also that of input 'text': the model would be shown the answer",
    ),
    "a key of the other kind": (
        ECD + "prompt: {task: x}\n",
        "5: prompt: belongs to model_type 'llm', not to 'ecd'",
    ),
    "a combiner for a language model": (
        LLM + "combiner: concat\n",
        "8: combiner: belongs to model_type 'ecd', not to 'llm'",
    ),
    "an encoder in a language model": (
        LLM.replace("type: text", "type: text, encoder: bert"),
        "3: input_features[0].encoder: belongs to model_type 'ecd'; a language model reads the column as text",
    ),
    "a decoder of the other kind": (
        LLM.replace("type: category", "type: category, decoder: classifier"),
        "5: output_features[0].decoder: 'classifier' is no decoder for model_type 'llm'",
    ),
    "a loss of the other kind": (
        LLM.replace("type: category", "type: category, loss: softmax_cross_entropy"),
        "5: output_features[0].loss: 'softmax_cross_entropy' is no loss for model_type 'llm'",
    ),
    "free text from a head": (
        ECD.replace("type: category", "type: text"),
        "4: output_features[0].type: 'text' can be predicted by model_type 'llm' only",
    ),
    "a decoder in an input": (
        ECD.replace("type: text", "type: text, decoder: classifier"),
        f"2: input_features[0].decoder: no parameter is named 'decoder' (did you mean 'encoder'?), {FEATURE}",
    ),
    "quantized weights that should train": (
        LLM.replace("adapter: {type: lora, r: 8}", "quantization: {bits: 4}"),
        "6: quantization: quantized weights cannot be trained; add adapter: lora",
    ),
    "no input": (
        ECD.replace("\n  - {name: text, type: text}", " []"),
        "1: input_features: must name at least one column",
    ),
    "no output": (
        "input_features:\n  - {name: text, type: text}\n",
        "1: output_features: must name at least one column for trainer.type 'finetune'",
    ),
    "a mapping for a list": (
        ECD.replace("- {name: text, type: text}", "{name: text, type: text}"),
        "1: input_features: must be a list of input features, got {'name': 'text', 'type': 'text'}",
    ),
    "an unknown metric": (
        LLM.replace("epochs: 3", "validation_metric: acuracy"),
        "7: trainer.validation_metric: no category metric is named 'acuracy' (did you mean 'accuracy'?), "
        + among([*CATEGORY, "loss"]),
    ),
    "a metric of an output that there is not": (
        LLM.replace("epochs: 3", "validation_field: labels"),
        "7: trainer.validation_field: no output feature is named 'labels' (did you mean 'label'?), choose from: label",
    ),
    "an unknown metric of an output": (
        ECD.replace("type: category", "type: category, metrics: [acuracy]"),
        "4: output_features[0].metrics[0]: no category metric is named 'acuracy' (did you mean 'accuracy'?), "
        + among([*CATEGORY, "loss"]),
    ),
    "an input tied to nothing": (
        ECD.replace("type: text", "type: text, tied: title"),
        "2: input_features[0].tied: no other input is named 'title'",
    ),
    "a key of Ludwig alone": (
        ECD + "trainer: {bucketing_field: text}\n",
        "5: trainer.bucketing_field: a Ludwig key that Declarlm does not have: "
        "leave it out, rows of like length are batched anyway",
    ),
    "defaults of no type": (
        ECD + "defaults: {txt: {encoder: bert}}\n",
        f"5: defaults.txt: no feature type is named 'txt' (did you mean 'text'?), choose from: {TYPES}",
    ),
    "a misspelled default": (
        ECD + "defaults:\n  text:\n    encodr: bert\n",
        f"7: input_features[0].encodr: no parameter is named 'encodr' (did you mean 'encoder'?), {FEATURE}",
    ),
    "shares that are too large": (
        ECD + "preprocessing: {split: {type: random, probabilities: [0.8, 0.2, 0.1]}}\n",
        "5: preprocessing.split.probabilities: must sum to 1, got 1.1",
    ),
    "an unknown kind of model": (
        "model_type: LLM\n" + LLM,
        "1: model_type: cannot be 'LLM' (did you mean 'llm'?), choose from: ecd, llm",
    ),
    "no base model": (
        "model_type: llm\n" + LLM.replace("base_model: starter\n", ""),
        "1: base_model: write either base_model or architecture (to start from scratch)",
    ),
    "a template that shows the answer": (
        LLM + 'prompt: {template: "{{ text }}: {{ label }}"}\n',
        "8: prompt.template: names the output 'label': the model would be shown the answer",
    ),
}


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_config_is_one_line(mistake, inside, capsys):
    text, message = MISTAKES[mistake]
    Path("my.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config("my.yaml")
    assert str(caught.value) == f"my.yaml:{message}"
    with pytest.raises(SystemExit) as left:
        main(["train", "-c", "my.yaml", "--dataset", "rows.csv"])
    assert left.value.code == 2
    assert capsys.readouterr() == ("", f"my.yaml:{message}\n")
    assert [path.name for path in inside.iterdir()] == ["my.yaml"]


def test_ten_mistakes_are_ten_lines_in_the_order_of_the_file(inside, capsys):
    Path("my.yaml").write_text("""\
model_type: llm
base_model: 7
input_features:
  - {name: text, type: texts}
  - {nam: title, type: text}
output_features:
  - name: label
    type: category
    decoder: {type: category_extractor, mtach: {}}
adapter:
  type: lora
  r: 0
  droput: 0.1
quantization: {bits: 3}
trainer:
  epochs: many
  optimizer: adamm
""")
    with pytest.raises(SystemExit):
        main(["validate", "-c", "my.yaml"])
    lines = capsys.readouterr().err.splitlines()
    places = [line.split(": ")[:2] for line in lines]
    assert places == [
        ["my.yaml:2", "base_model"],
        ["my.yaml:4", "input_features[0].type"],
        ["my.yaml:5", "input_features[1].name"],
        ["my.yaml:5", "input_features[1].nam"],
        ["my.yaml:9", "output_features[0].decoder.mtach"],
        ["my.yaml:12", "adapter.r"],
        ["my.yaml:13", "adapter.droput"],
        ["my.yaml:14", "quantization.bits"],
        ["my.yaml:16", "trainer.epochs"],
        ["my.yaml:17", "trainer.optimizer"],
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "adaptr.r=8",
            "adaptr.r: no section or feature is named 'adaptr' (did you mean 'adapter'?), "
            + among([*LlmConfig.schema().fields, *EcdConfig.schema().fields, "text", "label"]),
        ),
        ("adapter.r=0", "adapter.r: must be at least 1, got 0"),
        ("adapter.r", "adapter.r: must be path=value"),
        ("trainer.epochs='3'", "trainer.epochs: must be an integer at least 1, got '3'; remove the quotes"),
        ("base_model.r=3", None),
    ],
)
def test_a_mistake_on_the_command_line_names_the_option(change, message, inside, capsys):
    Path("my.yaml").write_text(LLM)
    with pytest.raises(SystemExit) as left:
        main(["validate", "-c", "my.yaml", "--set", change])
    assert left.value.code == 2
    if message is not None:
        assert capsys.readouterr().err == f"--set {change}: {message}\n"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("mine.yaml", "mine.yaml: cannot be read: No such file or directory (did you mean mi.yml?)"),
        ("no/my.yaml", "no/my.yaml: cannot be read: No such file or directory; there is no folder no"),
        (".", ".: cannot be read: Is a directory; write the path of a config file in it"),
        (Path("empty.yaml"), "empty.yaml: is empty; it needs at least input_features and output_features"),
        ({}, "config: is empty; it needs at least input_features and output_features"),
        ([1], "config: must be a path, YAML text or a mapping, got [1]"),
        (None, "config: must be a path, YAML text or a mapping, got None"),
    ],
)
def test_what_is_no_config_is_refused(config, message, inside):
    Path("empty.yaml").write_text("# nothing yet\n")
    Path("mi.yml").write_text("# nothing yet\n")
    with pytest.raises(ConfigError) as caught:
        load_config(config)
    assert str(caught.value) == message
