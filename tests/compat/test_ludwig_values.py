"""A key of Ludwig's that Declarlm lacks is dropped at a value that asks for nothing, and refused at any other."""

import pytest

from declarlm.compat import upgrade
from declarlm.compat.ludwig import ABSENT
from declarlm.core.document import Document
from declarlm.core.strict_yaml import parse_yaml


@pytest.mark.parametrize(
    "written",
    [
        "trainer: {increase_batch_size_on_plateau: 2}",
        "trainer: {increase_batch_size_on_plateau_patience: 2}",
        "trainer: {learning_rate_scheduler: {reduce_on_plateau: 10}}",
        "trainer: {learning_rate_scheduler: {t_0: 1}}",
        "trainer: {reduce_learning_rate_on_plateau: 5}",
        "trainer: {model_soup: 5}",
        "trainer: {loss_balancing_alpha: 1.5}",
        "trainer: {contrastive_pretrain: true}",
        "trainer: {regularization_type: l1}",
        "generation: {typical_p: 0}",
        "generation: {pad_token_id: 0}",
        "generation: {penalty_alpha: 1}",
        "generation: {guidance_scale: 1}",
        "generation: {max_time: 1}",
        "generation: {early_stopping: 0}",
        "adapter: {type: adalora, total_step: 100}",
        "preprocessing: {force_split: true, split: {type: fixed}}",
        "preprocessing: {force_split: 1}",
        "prompt: {retrieval: {type: random, index_name: mine}}",
        "prompt: {retrieval: {type: null, seed: 3}}",
        "input_features: [{name: a, preprocessing: {prompt: {template: x}}}]",
        "input_features: [{name: a, type: text, preprocessing: {tokenizer: space}}]",
        "input_features: [{name: a, type: text, preprocessing: {tokenizer: hf_tokenizer}}]",
        "input_features: [{name: a, type: text, encoder: embed, preprocessing: {tokenizer: hf_tokenizer}}]",
        "input_features: [{name: a, type: text, encoder: bert, preprocessing: {tokenizer: space}}]",
        "{base_model: b, output_features: [{name: a, type: text, preprocessing: {tokenizer: characters}}]}",
        "input_features: [{name: a, type: text, preprocessing: {padding: left}}]",
        "{base_model: b, input_features: [{name: a, type: text, preprocessing: {padding: right}}]}",
        "defaults: {text: {preprocessing: {padding_symbol: x}}}",
        "preprocessing: {text: {unknown_symbol: x}}",
        "output_features: [{name: a, reduce_input: max}]",
        "output_features: [{name: a, type: binary, default_validation_metric: accuracy}]",
        "output_features: [{name: a, type: category, preprocessing: {cache_encoder_embeddings: true}}]",
        "input_features: [{name: a, type: text, encoder: bert, preprocessing: {most_common: 9}}]",
        "{base_model: b, input_features: [{name: a, preprocessing: {pretrained_model_name_or_path: c}}]}",
        "{defaults: {text: {preprocessing: {tokenizer: hf_tokenizer}}}, "
        "input_features: [{type: text, encoder: bert}, {type: text, encoder: embed}]}",
        "output_features: [{name: a, loss: {class_similarities_temperature: 1}}]",
    ],
)
def test_a_value_that_asks_for_something_is_never_dropped(written):
    (problem,) = upgrade(parse_yaml(written)).problems
    assert problem.path
    assert ": a Ludwig key that Declarlm does not have: " in str(problem)


@pytest.mark.parametrize("place", ABSENT)
def test_an_absent_key_is_dropped_at_a_harmless_value_only(place):
    remedy, harmless = ABSENT[place]
    keys = place.replace("*_features", "input_features").split(".")
    for value in [*harmless, "odd"]:
        data: object = value
        for key in reversed(keys):
            data = [data] if key == "*" else {key.replace("*", "x"): data}
        problems = upgrade(Document(data)).problems
        assert [problem.message.partition(": ")[2] for problem in problems] == [remedy] * (value == "odd")


@pytest.mark.parametrize(
    ("part", "remedy"),
    [
        ("type: text, encoder: {type: parallel_cnn, num_fc_layers: 2}", "write combiner.num_fc_layers"),
        ("type: text, encoder: {type: bert, output_size: 9}", "write combiner.output_size"),
        ("type: text, encoder: {type: transformer, hidden_size: 9}", "write embedding_size"),
        ("type: text, encoder: {type: parallel_cnn, filter_size: 9}", "write filter_sizes, such as [2, 3]"),
        ("type: text, num_fc_layers: 2", "write combiner.num_fc_layers"),
        ("type: number, encoder: {type: dense, num_layers: 2}", "write num_fc_layers"),
        ("type: category, encoder: {type: dense, fc_layers: [{}]}", "write num_fc_layers and output_size"),
        (
            "type: category, encoder: {type: dense, bias_initializer: ones}",
            "leave it out, it follows from the kind of layer",
        ),
        ("type: category, fc_dropout: .5", "write dropout"),
    ],
)
def test_a_key_that_an_encoder_lacks_is_answered_with_its_own(part, remedy):
    (problem,) = upgrade(parse_yaml(f"input_features: [{{name: a, {part}}}]")).problems
    assert problem.message == f"a Ludwig key that Declarlm does not have: {remedy}"


def test_defaults_of_ludwigs_layers_are_dropped():
    text = """
    input_features:
      - name: a
        type: text
        encoder: {type: parallel_cnn, use_bias: true, weights_initializer: xavier_uniform, bias_initializer: zeros,
          conv_layers: null, num_conv_layers: null, filter_size: 3, pool_function: max, pool_size: null,
          fc_layers: null, num_fc_layers: null, output_size: 256, activation: relu, norm: null, norm_params: null,
          embeddings_on_cpu: false, embeddings_trainable: true, pretrained_embeddings: null, representation: dense}
    output_features:
      - name: b
        type: category
        decoder: {type: classifier, use_bias: true, fc_layers: null, fc_use_bias: true, input_size: null,
          fc_weights_initializer: xavier_uniform, fc_bias_initializer: zeros, fc_norm_params: null}
    combiner: {type: concat, use_bias: true, weights_initializer: xavier_uniform, fc_layers: null, residual: false}
    """
    document = upgrade(parse_yaml(text))
    assert not document.problems
    assert document.data == {
        "input_features": [{"name": "a", "type": "text", "encoder": {"type": "parallel_cnn"}}],
        "output_features": [{"name": "b", "type": "category", "decoder": {"type": "classifier"}}],
        "combiner": {"type": "concat"},
    }


def test_what_has_no_effect_is_dropped_with_a_note():
    document = upgrade(
        parse_yaml("input_features: [{name: a, proc_column: a_x}]\ntrainer: {learning_rate_scaling: sqrt}")
    )
    assert document.notes == (
        "input_features[0].proc_column: left out, a column is not stored under another name",
        "trainer.learning_rate_scaling: left out, there is one process",
    )
