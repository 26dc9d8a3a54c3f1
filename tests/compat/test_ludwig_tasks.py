"""Whole configs as Ludwig's users write them, one for each usual task, load unchanged."""

import pytest

from declarlm import ConfigError
from declarlm.config import load_config

ZERO_SHOT = """
model_type: llm
base_model: facebook/opt-350m
generation: {temperature: 0.1, top_p: 0.75, top_k: 40, num_beams: 4, max_new_tokens: 64}
prompt:
  task: "Classify the sample input as either negative, neutral, or positive."
input_features: [{name: review, type: text}]
output_features:
  - name: label
    type: category
    preprocessing: {fallback_label: neutral}
    decoder:
      type: category_extractor
      match:
        negative: {type: contains, value: negative}
        neutral: {type: contains, value: neutral}
        positive: {type: regex, value: "pos(itive)?"}
"""

INSTRUCTIONS = """
model_type: llm
base_model: meta-llama/Llama-2-7b-hf
quantization: {bits: 4}
adapter:
  type: lora
  r: 8
  alpha: 16
  dropout: 0.05
  target_modules: [q_proj, v_proj]
  postprocessor: {merge_adapter_into_base_model: false, progressbar: false}
prompt:
  template: |
    ### Instruction: {instruction}
    ### Input: {input}
    ### Response:
input_features: [{name: prompt, type: text}]
output_features: [{name: output, type: text}]
trainer:
  type: finetune
  epochs: 3
  batch_size: 1
  eval_batch_size: 2
  gradient_accumulation_steps: 16
  learning_rate: 1e-4
  optimizer: {type: paged_adam}
  learning_rate_scheduler: {decay: cosine, warmup_fraction: 0.03}
  enable_gradient_checkpointing: true
generation: {temperature: 0.1, max_new_tokens: 512}
preprocessing:
  global_max_sequence_length: 512
  split: {type: random, probabilities: [0.9, 0.1, 0]}
  sample_ratio: 0.5
backend: {type: local}
"""

BERT = """
input_features:
  - name: text
    type: text
    encoder: {type: bert, pretrained_model_name_or_path: bert-base-uncased, trainable: true, adapter: lora}
    preprocessing: {max_sequence_length: 128, lowercase: true, cache_encoder_embeddings: false}
output_features: [{name: label, type: category}]
trainer: {epochs: 3, learning_rate: 1.0e-5, batch_size: 16, early_stop: 3}
"""

OLD_BERT = """
input_features:
  - {name: text, type: text, encoder: bert, reduce_output: cls_pooled, trainable: false}
output_features: [{name: label, type: binary}]
training: {epochs: 3, learning_rate: auto, eval_batch_size: 0}
"""

SEVERAL_COLUMNS = """
ludwig_version: "0.10"
defaults:
  text: {encoder: {type: distilbert, trainable: false}}
  number: {preprocessing: {normalization: minmax, missing_value_strategy: fill_with_mean}}
input_features:
  - {name: title, type: text}
  - {name: city, type: category, encoder: {type: onehot}}
  - {name: age, type: numerical}
  - {name: member, type: binary}
output_features:
  - {name: price, type: number, loss: {type: mean_absolute_error, weight: 0.5}}
  - {name: sold, type: binary}
combiner: {type: concat, num_fc_layers: 2, output_size: 128, dropout: 0.1}
preprocessing: {split: {type: stratify, column: city}, oversample_minority: 0.5}
trainer: {epochs: 10, validation_field: price, validation_metric: mean_absolute_error}
"""


@pytest.mark.parametrize("text", [ZERO_SHOT, INSTRUCTIONS, BERT, OLD_BERT, SEVERAL_COLUMNS])
def test_config_of_a_usual_task_loads(text):
    config = load_config(text)
    assert type(config).load(config.dump()) == config


def test_zero_shot_needs_no_trainer():
    assert load_config(ZERO_SHOT).trainer.type == "none"


def test_a_length_of_one_column_of_a_prompt_is_refused_with_what_to_write():
    long = INSTRUCTIONS.replace("type: text}", "type: text, preprocessing: {max_sequence_length: 256}}")
    with pytest.raises(ConfigError) as error:
        load_config(long)
    assert str(error.value).split("\n") == [
        "config:17: input_features[0].preprocessing.max_sequence_length: has no effect on model_type 'llm'; write "
        "preprocessing.global_max_sequence_length at the top of the config",
        "config:18: output_features[0].preprocessing.max_sequence_length: has no effect on model_type 'llm'; write "
        "generation.max_new_tokens at the top of the config",
    ]


def test_scheduler_and_optimizer_keep_their_meaning():
    trainer = load_config(INSTRUCTIONS).trainer
    assert (trainer.learning_rate_scheduler.type, trainer.learning_rate_scheduler.warmup_fraction) == ("cosine", 0.03)
    assert (trainer.optimizer.type, trainer.learning_rate) == ("paged_adam", 1e-4)


def test_features_take_the_defaults_of_their_type():
    title, _, age, _ = load_config(SEVERAL_COLUMNS).input_features
    assert (title.encoder.type, age.preprocessing.normalization) == ("distilbert", "minmax")


def test_old_encoder_keeps_its_parameters():
    encoder = load_config(OLD_BERT).input_features[0].encoder
    assert (encoder.type, encoder.reduce_output, encoder.trainable) == ("bert", "cls_pooled", False)
