"""Whole configs as Ludwig's users write them, one for each usual task, load unchanged."""

import pytest

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

FEW_SHOT = """
model_type: llm
base_model: facebook/opt-350m
generation: {temperature: 0.1, max_new_tokens: 64}
prompt:
  template: |
    Examples: {__context__}
    Classify the sample: {__sample__}
  retrieval: {type: semantic, k: 3, model_name: paraphrase-MiniLM-L3-v2}
input_features: [{name: review, type: text}]
output_features:
  - name: label
    type: category
    preprocessing: {fallback_label: neutral}
    decoder: {type: category_extractor, match: {neutral: {type: contains, value: neutral}}}
preprocessing: {split: {type: fixed}}
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


RENDERED = """
input_features:
  - name: t
    type: text
    column: t
    proc_column: t_abc
    active: true
    tied: null
    preprocessing: {tokenizer: space_punct, max_sequence_length: 256, sequence_length: null, most_common: 20000,
      padding: right, lowercase: false, padding_symbol: <PAD>, unknown_symbol: <UNK>, ngram_size: 2,
      compute_idf: false, cache_encoder_embeddings: false, missing_value_strategy: fill_with_const, fill_value: <UNK>,
      prompt: {template: null, task: null, retrieval: {type: null, index_name: null, model_name: null, k: 0}}}
  - name: n
    type: number
    encoder: {type: passthrough, skip: false}
    preprocessing: {missing_value_strategy: fill_with_const, fill_value: 0.0, normalization: zscore,
      outlier_strategy: null, outlier_threshold: 3.0, computed_fill_value: 0.0, computed_outlier_fill_value: 0.0}
output_features:
  - name: l
    type: category
    reduce_input: sum
    reduce_dependencies: sum
    dependencies: []
    input_size: null
    num_classes: null
    default_validation_metric: accuracy
    calibration: false
    top_k: 3
    preprocessing: {missing_value_strategy: drop_row, fill_value: <UNK>, lowercase: false, most_common: 10000,
      cache_encoder_embeddings: false}
    decoder: {type: classifier, fc_layers: null, num_fc_layers: 0, fc_output_size: 256, fc_use_bias: true,
      fc_weights_initializer: xavier_uniform, fc_bias_initializer: zeros, fc_norm: null, fc_norm_params: null,
      fc_activation: relu, fc_dropout: 0.0, input_size: null, num_classes: null, use_bias: true,
      weights_initializer: xavier_uniform, bias_initializer: zeros}
    loss: {type: softmax_cross_entropy, weight: 1.0, class_weights: null, robust_lambda: 0, confidence_penalty: 0,
      class_similarities: null, class_similarities_temperature: 0}
combiner: {type: concat, fc_layers: null, num_fc_layers: 0, output_size: 256, use_bias: true, norm_params: null,
  weights_initializer: xavier_uniform, bias_initializer: zeros, norm: null, activation: relu, dropout: 0.0,
  flatten_inputs: false, residual: false}
trainer: {learning_rate: 0.001, validation_metric: accuracy, validation_field: l, early_stop: 5, epochs: 100,
  skip_all_evaluation: false, enable_profiling: false, train_steps: null, eval_steps: null, steps_per_checkpoint: 0,
  profiler: {wait: 1, warmup: 1, active: 3, repeat: 5, skip_first: 0}, checkpoints_per_epoch: 0,
  learning_rate_scheduler: {decay: null, decay_rate: 0.96, decay_steps: 10000, staircase: false, reduce_on_plateau: 0,
    reduce_on_plateau_patience: 10, reduce_on_plateau_rate: 0.1, warmup_evaluations: 0, warmup_fraction: 0.0,
    reduce_eval_metric: loss, reduce_eval_split: training, t_0: null, t_mult: 1, eta_min: 0},
  eval_batch_size: null, should_shuffle: true, regularization_lambda: 0.0, regularization_type: l2,
  increase_batch_size_on_plateau: 0, increase_batch_size_on_plateau_patience: 5,
  increase_batch_size_on_plateau_rate: 2.0, increase_batch_size_eval_metric: loss,
  increase_batch_size_eval_split: training, gradient_clipping: {clipglobalnorm: 0.5, clipnorm: null, clipvalue: null},
  learning_rate_scaling: linear, bucketing_field: null, use_mixed_precision: false, compile: false,
  enable_gradient_checkpointing: false, effective_batch_size: auto, batch_size: auto, max_batch_size: 1099511627776,
  gradient_accumulation_steps: auto, layers_to_freeze_regex: null, base_learning_rate: 0.0,
  evaluate_training_set: false, optimizer: {type: adam, betas: [0.9, 0.999], eps: 1.0e-08, weight_decay: 0.0}}
preprocessing: {sample_ratio: 1.0, sample_size: null, oversample_minority: null, undersample_majority: null,
  global_max_sequence_length: null, split: {type: random, probabilities: [0.7, 0.1, 0.2]}}
backend: {type: local}
hyperopt: null
ludwig_version: 0.17.8
"""

RENDERED_LLM = """
model_type: llm
base_model: facebook/opt-350m
trust_remote_code: false
is_multimodal: false
model_parameters: {rope_scaling: {}, neftune_noise_alpha: 0}
prompt: {template: null, task: Continue., retrieval: {type: null, index_name: null, model_name: null, k: 0}}
input_features:
  - name: t
    type: text
    encoder: {type: passthrough, skip: false}
    preprocessing: {tokenizer: hf_tokenizer, pretrained_model_name_or_path: facebook/opt-350m, padding: left,
      max_sequence_length: null, cache_encoder_embeddings: false}
output_features:
  - name: o
    type: text
    decoder: {type: text_extractor, tokenizer: hf_tokenizer, input_size: null, max_new_tokens: null}
    preprocessing: {max_sequence_length: null, padding: left, tokenizer: hf_tokenizer}
adapter: {type: lora, r: 8, postprocessor: {merge_adapter_into_base_model: false, progressbar: false}}
adapters: null
quantization: {bits: 4, backend: bitsandbytes, mode: null, qat: false}
generation: {max_new_tokens: 32, max_length: 32, min_length: 0, min_new_tokens: null, do_sample: true,
  temperature: 0.1, use_cache: true, penalty_alpha: null, pad_token_id: null, early_stopping: false, typical_p: 1.0}
trainer: {type: finetune, epochs: 3}
"""


@pytest.mark.parametrize("text", [RENDERED, RENDERED_LLM])
def test_defaults_that_ludwig_writes_out_load(text):
    config = load_config(text)
    assert type(config).load(config.dump()) == config


def test_zero_shot_needs_no_trainer():
    assert load_config(ZERO_SHOT).trainer.type == "none"


def test_few_shot_needs_no_trainer_either():
    config = load_config(FEW_SHOT)
    assert (config.trainer.type, config.prompt.retrieval.type, config.prompt.retrieval.k) == ("none", "semantic", 3)


def test_columns_of_a_prompt_may_have_a_length_each():
    long = INSTRUCTIONS.replace("type: text}", "type: text, preprocessing: {max_sequence_length: 256}}")
    config = load_config(long)
    for feature in (*config.input_features, *config.output_features):
        assert feature.preprocessing.max_sequence_length == 256


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


HYPEROPT = """
model_type: llm
base_model: facebook/opt-350m
input_features: [{name: review, type: text}]
output_features: [{name: label, type: category}]
adapter: {type: lora}
trainer: {type: finetune, epochs: 3}
hyperopt:
  goal: maximize
  metric: accuracy
  output_feature: label
  split: validation
  eval_split: validation
  parameters:
    trainer.learning_rate: {space: loguniform, lower: 0.00001, upper: 0.001, base: 10}
    adapter.r: {space: choice, categories: [8, 16, 32]}
    adapter.alpha: {space: choice, categories: [16, 32]}
    adapter.dropout: {space: uniform, lower: 0, upper: 0.2}
  search_alg: {type: optuna}
  executor:
    num_samples: 8
    max_concurrent_trials: 2
    time_budget_s: 7200
    gpu_resources_per_trial: 1
    trial_driver_resources: {CPU: 1, GPU: 0}
    scheduler: {type: async_hyperband, time_attr: time_total_s, max_t: 3600, grace_period: 72, reduction_factor: 5}
"""


def test_a_search_of_ludwig_is_the_same_search():
    hyperopt = load_config(HYPEROPT).hyperopt
    assert (hyperopt.search_alg.type, hyperopt.executor.type, hyperopt.executor.num_samples) == ("tpe", "ray", 8)
    assert hyperopt.executor.gpu_resources_per_trial == 1
    scheduler = hyperopt.executor.scheduler
    assert (scheduler.type, scheduler.time_attr, scheduler.grace_period) == ("asha", "time_total_s", 72)
    assert list(hyperopt.parameters) == ["trainer.learning_rate", "adapter.r", "adapter.alpha", "adapter.dropout"]
