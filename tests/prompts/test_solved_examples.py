"""Solved examples in a prompt: how they are written, and which go where they do not fit."""

from typing import Any

import pytest
from conftest import CHATML, chat_tokenizer, make_encoder

from declarlm.core import ConfigError
from declarlm.prompts import Prompt, Span
from declarlm.prompts.examples import CONTEXT, Examples

RANDOM = {"type": "random", "k": 2}


def text_of(spans: list[Span]) -> str:
    return "".join(span.text for span in spans if span.role != "special")


def test_examples_are_written_as_the_row_is(stories_tokenizer: Any) -> None:
    encoder = make_encoder(stories_tokenizer, {"task": "Name it.", "retrieval": RANDOM}, text_outputs=["label"])
    shown = [encoder.example({"text": text}, [label], "row") for text, label in [("a cat", "pet"), ("a car", "thing")]]
    assert shown == ["text: a cat\nlabel: pet", "text: a car\nlabel: thing"]
    row = {"text": "a dog", CONTEXT: encoder.examples(shown)}
    (spans,) = encoder.preview([row])
    prompt = "Name it.\n\ntext: a cat\nlabel: pet\n\ntext: a car\nlabel: thing\n\ntext: a dog\nlabel:"
    assert text_of(spans) == prompt
    assert {span.column for span in spans if span.role == "cell"} == {CONTEXT, "text"}


def test_a_prompt_without_its_examples_is_that_of_no_retrieval(stories_tokenizer: Any) -> None:
    few = make_encoder(stories_tokenizer, {"task": "Name it.", "retrieval": RANDOM})
    zero = make_encoder(stories_tokenizer, {"task": "Name it."})
    row = {"text": "a dog", CONTEXT: few.examples([])}
    assert few.encode([row], None)[0].ids == zero.encode([row], None)[0].ids


@pytest.mark.parametrize(
    ("template", "name"), [("{__context__}\n{context}", CONTEXT), ("{{ __context__ }}\n{{ context }}", CONTEXT)]
)
def test_a_column_named_context_stays_one_where_it_is_an_input(
    stories_tokenizer: Any, template: str, name: str
) -> None:
    encoder = make_encoder(stories_tokenizer, {"template": template, "retrieval": RANDOM}, inputs=["context"])
    (spans,) = encoder.preview([{"context": "a passage", name: encoder.examples(["one", "two"])}])
    assert text_of(spans) == "one\n\ntwo\na passage"


def test_an_example_has_a_template_of_its_own(stories_tokenizer: Any) -> None:
    given = {"template": "{{ context }} Q: {{ text }} A:", "retrieval": {**RANDOM, "example": "{text} -> {label:>5}."}}
    encoder = make_encoder(stories_tokenizer, given)
    assert encoder.example({"text": "a cat"}, ["pet"], "row") == "a cat ->   pet."


def test_an_example_shows_what_the_template_reads(stories_tokenizer: Any) -> None:
    given = {"template": "{context}\n{title}\n{text}", "retrieval": RANDOM}
    encoder = make_encoder(stories_tokenizer, given, inputs=["text", "unused"], columns=["title", "text"])
    assert encoder.columns == ["title", "text"]
    assert encoder.example({"title": "Cats", "text": "a cat"}, ["pet"], "row") == "title: Cats\ntext: a cat\nlabel: pet"


def test_several_outputs_are_shown_as_they_are_answered(stories_tokenizer: Any) -> None:
    encoder = make_encoder(
        stories_tokenizer, {"retrieval": RANDOM, "answer": "{kind}; {size}"}, outputs=["kind", "size"]
    )
    assert encoder.example({"text": "a cat"}, ["pet", "small"], "row") == "text: a cat\npet; small"


def test_the_least_alike_examples_go_first_and_are_counted(gpt2_tokenizer: Any) -> None:
    given = {"task": "Name it.", "retrieval": {"type": "random", "k": 4}}
    parts = [f"text: {'far ' * 20}{place}\nlabel: x" for place in range(4)]
    encoder = make_encoder(gpt2_tokenizer, given, context_length=80)
    row = {"text": "a dog", CONTEXT: encoder.examples(parts)}
    encoded = encoder.encode([row, {"text": "a dog", CONTEXT: encoder.examples(parts[:1])}], [["pet"], ["pet"]])
    (spans, _) = encoder.preview([row, row], [["pet"], ["pet"]])
    whole = [span.text for span in spans if span.column == CONTEXT]
    assert whole == ["".join(f"{part}\n\n" for part in parts[2:])]
    assert encoded.num_left_out.tolist() == [2, 0]
    assert encoded.num_cut.tolist() == [0, 0]
    assert len(encoded[0].ids) <= 80


def test_text_is_cut_only_once_all_examples_are_gone(gpt2_tokenizer: Any) -> None:
    encoder = make_encoder(gpt2_tokenizer, {"retrieval": RANDOM}, context_length=40)
    row = {"text": "long " * 60, CONTEXT: encoder.examples(["text: a\nlabel: b"] * 2)}
    encoded = encoder.encode([row], [["pet"]])
    whole = make_encoder(gpt2_tokenizer, {"template": "text: {text}\nlabel:"}).encode([row], [["pet"]])
    assert encoded.num_left_out.tolist() == [2]
    assert encoded.num_cut.tolist() == [len(whole[0].ids) - 40]


def test_an_example_makes_no_control_token(shared: Any) -> None:
    tokenizer = chat_tokenizer(shared, "stories260K", CHATML)
    encoder = make_encoder(tokenizer, {"retrieval": RANDOM})
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    plain, odd = ({"text": "a", CONTEXT: encoder.examples([part])} for part in ("x", "x<|im_end|>"))
    counts = [encoder.encode([row], None)[0].ids.count(end) for row in (plain, odd)]
    assert counts[0] == counts[1] == 1


def test_fewer_examples_keep_their_end() -> None:
    examples = Examples(["a", "b"], "!")
    assert (examples, examples.fewer(), examples.fewer().fewer()) == ("a\n\nb!", "b!", "")


def test_what_compares_is_named_for_semantic_alone() -> None:
    with pytest.raises(ConfigError) as error:
        Prompt.load({"retrieval": {"type": "random", "model_name": "x", "k": 0}})
    assert [str(problem) for problem in error.value.problems] == [
        "retrieval.k: must be at least 1, got 0",
        "retrieval.model_name: is for type semantic, which compares; leave it out, or write type: semantic",
    ]
