"""Configs of other tools are written anew, and what has no counterpart is said."""

import pytest
import yaml

from declarlm.cli import main
from declarlm.compat.importing import import_config
from declarlm.config import load_config
from declarlm.core import ConfigError
from declarlm.core.strict_yaml import parse_yaml

AXOLOTL = """\
base_model: NousResearch/Llama-3.2-1B
load_in_4bit: true
strict: false
datasets:
  - path: teknium/GPT4-LLM-Cleaned
    type: alpaca
val_set_size: 0.1
output_dir: ./outputs/lora-out
adapter: qlora
sequence_len: 2048
sample_packing: true
lora_r: 16
lora_alpha: 32
lora_dropout: 0.05
lora_target_modules: [q_proj, v_proj]
gradient_accumulation_steps: 2
micro_batch_size: 2
num_epochs: 1
optimizer: adamw_8bit
lr_scheduler: cosine
learning_rate: 0.0002
weight_decay: 0.01
warmup_ratio: 0.1
bf16: auto
gradient_checkpointing: true
flash_attention: true
wandb_project: mine
special_tokens: {pad_token: "<|end_of_text|>"}
my_key: 3
"""
FACTORY = """\
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: identity,alpaca_en_demo
template: llama3
cutoff_len: 2048
max_samples: 1000
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
val_size: 0.1
save_steps: 500
"""
LUDWIG = """\
model_type: llm
base_model: meta-llama/Llama-2-7b-hf
quantization: {bits: 4}
adapter: {type: lora}
input_features: [{name: instruction, type: text}]
output_features: [{name: output, type: text}]
training: {epochs: 3, learning_rate: 0.0001}
"""


def imported(text):
    found = import_config(parse_yaml(text))
    return found, load_config(found.data)


def value_at(dumped, path):
    for key in path.split("."):
        dumped = dumped[key]
    return dumped


def test_an_axolotl_config_trains_the_same():
    found, config = imported(AXOLOTL)
    assert found.tool == "Axolotl"
    assert (config.base_model, config.adapter.type, config.adapter.r) == ("NousResearch/Llama-3.2-1B", "qlora", 16)
    assert config.adapter.target_modules == ["q_proj", "v_proj"]
    trainer = config.trainer
    assert (trainer.epochs, trainer.batch_size, trainer.gradient_accumulation_steps) == (1, 2, 2)
    assert (trainer.optimizer.type, trainer.optimizer.weight_decay) == ("adamw_8bit", 0.01)
    assert trainer.learning_rate_scheduler.warmup_fraction == 0.1
    assert (trainer.precision, trainer.enable_gradient_checkpointing) == ("bf16", True)
    assert config.preprocessing.split.probabilities == [0.9, 0.1, 0.0]
    assert config.preprocessing.global_max_sequence_length == 2048
    assert [feature.name for feature in config.input_features] == ["instruction", "input"]
    notes = "\n".join(found.notes)
    assert "datasets: its rows go on the command line: --dataset hf://teknium/GPT4-LLM-Cleaned" in notes
    assert "special_tokens: left out, tokenizers stay as they come" in notes
    assert "my_key: left out, a key of Axolotl that has no counterpart" in notes
    assert "strict" not in notes, "false asks for nothing"


def test_a_llama_factory_config_trains_the_same():
    found, config = imported(FACTORY)
    assert found.tool == "LLaMA-Factory"
    assert (config.adapter.type, config.adapter.r, config.adapter.target_modules) == ("lora", 8, "auto")
    trainer = config.trainer
    assert (trainer.type, trainer.epochs, trainer.gradient_accumulation_steps) == ("finetune", 3, 8)
    assert (config.preprocessing.sample_size, trainer.steps_per_checkpoint) == (1000, 500)
    assert any(note.startswith("dataset: the rows of identity,alpaca_en_demo go on") for note in found.notes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"stage": "dpo", "pref_beta": 0.2}, {"trainer.type": "dpo", "trainer.beta": 0.2}),
        ({"stage": "dpo", "pref_loss": "orpo"}, {"trainer.type": "orpo"}),
        ({"stage": "kto"}, {"trainer.type": "kto", "trainer.label_column": "kto_tag"}),
        ({"stage": "pt"}, {"trainer.type": "pretrain"}),
        ({"finetuning_type": "freeze", "freeze_trainable_layers": 3}, {"adapter.type": "last_layers", "adapter.k": 3}),
        ({"finetuning_type": "full"}, {"adapter": None}),
        ({"quantization_bit": 4}, {"adapter.type": "qlora"}),
        ({"lora_target": "q_proj,v_proj"}, {"adapter.target_modules": ["q_proj", "v_proj"]}),
    ],
)
def test_the_methods_of_llama_factory_are_found(changes, expected):
    _, config = imported(yaml.safe_dump({**yaml.safe_load(FACTORY), **changes}))
    assert {path: value_at(config.dump(), path) for path in expected} == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rl": "dpo", "rl_beta": 0.3}, {"trainer.type": "dpo", "trainer.beta": 0.3}),
        ({"datasets": [{"path": "a.txt", "type": "completion", "field": "story"}]}, {"trainer.type": "pretrain"}),
        ({"adapter": "lora", "load_in_4bit": False, "load_in_8bit": True}, {"quantization.bits": 8}),
        (
            {"datasets": [{"path": "x.csv", "type": {"field_instruction": "q", "field_output": "a"}}]},
            {"prompt.template": "### Instruction:\n{{ q }}\n\n### Response:\n"},
        ),
        ({"max_steps": 200, "warmup_ratio": None, "warmup_steps": 20}, {"trainer.train_steps": 200}),
    ],
)
def test_the_methods_of_axolotl_are_found(changes, expected):
    _, config = imported(yaml.safe_dump({**yaml.safe_load(AXOLOTL), **changes}))
    assert {path: value_at(config.dump(), path) for path in expected} == expected


def test_ludwigs_words_are_replaced():
    found, config = imported(LUDWIG)
    assert found.data["trainer"] == {"epochs": 3, "learning_rate": 0.0001}
    assert config.trainer.epochs == 3
    assert "training.epochs" in "\n".join(found.notes) or "training: read as trainer" in "\n".join(found.notes)


def test_what_is_no_config_of_a_known_tool_is_refused():
    with pytest.raises(ConfigError, match=r"is no config of a tool that is known: it has none of input_features"):
        import_config(parse_yaml("services: {web: {image: nginx}}"))


def test_the_command_writes_a_file_that_validates(tmp_path, capfd):
    (tmp_path / "axolotl.yml").write_text(AXOLOTL)

    def run(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        return left.value.code, capfd.readouterr()

    written = tmp_path / "config.yaml"
    code, said = run("import", tmp_path / "axolotl.yml", "--output", written)
    assert (code, said.out) == (0, "")
    assert "my_key: left out" in said.err
    assert written.read_text().startswith("# From axolotl.yml, a config of Axolotl.\n")
    assert run("validate", "-c", written)[0] == 0
    assert run("import", tmp_path / "axolotl.yml", "--output", written)[0] == 2, "a file is never written over"
    (tmp_path / "odd.yml").write_text(AXOLOTL.replace("adamw_8bit", "galore_adamw"))
    code, said = run("import", tmp_path / "odd.yml")
    assert code == 2
    assert "trainer.optimizer.type: no optimizer is named 'galore_adamw'" in said.err
    assert "galore_adamw" in said.out, "it is written all the same, to be mended"


@pytest.mark.parametrize(
    ("dataset", "column", "notes"),
    [
        ("{path: a.jsonl, type: chat_template}", "messages", ""),
        ("{path: a.jsonl, type: chat_template, field_messages: talk, roles_to_train: [assistant]}", "talk", ""),
        ("{path: a.jsonl, type: sharegpt}", "conversations", ""),
        (
            "{path: a.jsonl, type: chat_template, message_property_mappings: {role: from, content: value}}",
            "messages",
            "",
        ),
        (
            "{path: a.jsonl, type: chat_template, message_property_mappings: {role: who, content: said}}",
            "messages",
            "turns must have the keys role and content, or from and value",
        ),
        ("{path: a.jsonl, type: chat_template, roles_to_train: [user]}", "messages", "roles_to_train: ['user'] has no"),
        ("{path: a.jsonl, type: chat_template, roles_to_train: 5}", "messages", "roles_to_train: 5 has no counterpart"),
        ("{path: a.jsonl, type: chat_template, roles_to_train: gpt}", "messages", ""),
        ("{path: a.jsonl, type: chat_template, message_field_training: mask}", "messages", "rename 'mask' of turns to"),
    ],
)
def test_axolotl_rows_of_turns_become_conversations(dataset, column, notes):
    found, config = imported(f"base_model: a/b\ndatasets: [{dataset}]\ndefault_system_message: Be kind.\n")
    assert config.is_chat
    assert [feature.source for feature in (*config.input_features, *config.output_features)] == [column, column]
    assert config.prompt.system == "Be kind."
    assert notes in "\n".join(found.notes)
    assert ("turns" in "".join(found.notes)) == bool(notes)


def test_a_system_message_without_conversations_is_told():
    found, config = imported("base_model: a/b\ndatasets: [{path: a, type: alpaca}]\ndefault_system_message: Be kind.\n")
    assert config.prompt.system is None
    assert "default_system_message: left out, it is for conversations; write prompt.system" in found.notes


def test_llama_factory_rows_of_turns_are_told_what_to_write():
    found, _ = imported(FACTORY)
    (note,) = [note for note in found.notes if "sharegpt" in note]
    features = note.partition(" write ")[2].partition(" and no ")[0].replace("], output", "]\noutput")
    assert load_config({"base_model": "a/b", **yaml.safe_load(features)}).is_chat
