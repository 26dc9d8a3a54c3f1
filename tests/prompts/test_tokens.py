"""Token ids against the plain tokenizer, over real rows and real tokenizers."""

from pathlib import Path
from typing import Any

import jinja2
import pytest
from conftest import TOKENIZERS, load_tokenizer, make_encoder, read_rows

from declarlm.core import DataError
from declarlm.prompts import ANSWER, PROMPT, STOP, Row

TEMPLATES = [
    "Customer: {text}\nIntent:",
    "{text}",
    "Say what the customer wants.\n\n{text}\n",
    "Customer: {{ text }}\n{% if text|length > 40 %}(long)\n{% endif %}Intent:",
    "{{ text | upper | trim }} ->",
]


def part(row: Row, role: int) -> list[int]:
    return [token for token, given in zip(row.ids, row.roles, strict=True) if given == role]


def plain_text(template: str, text: str) -> str:
    if "{{" not in template:
        return template.format(text=text)
    environment = jinja2.Environment(keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True)  # noqa: S701
    return environment.from_string(template).render(text=text)


@pytest.mark.parametrize("template", TEMPLATES)
def test_prompt_has_the_ids_that_the_plain_tokenizer_gives_the_rendered_text(
    tokenizer: Any, shared: Path, template: str
) -> None:
    rows = read_rows(shared / "data/banking77/train.csv", 300)
    encoder = make_encoder(tokenizer, {"template": template})
    encoded = encoder.encode([{"text": row["text"]} for row in rows], [[row["label"]] for row in rows])
    bos = [tokenizer.bos_token_id] if tokenizer.bos_token_id != tokenizer.eos_token_id else []
    for index, row in enumerate(rows):
        expected = tokenizer(plain_text(template, row["text"]), add_special_tokens=False).input_ids
        assert part(encoded[index], PROMPT) == bos + expected


def test_code_has_the_ids_that_the_plain_tokenizer_gives_it(tokenizer: Any, shared: Path) -> None:
    rows = read_rows(shared / "data/gpteacher_code/train.jsonl", 100)
    encoder = make_encoder(tokenizer, {"template": "{instruction}\n{output}"}, inputs=["instruction", "output"])
    encoded = encoder.encode(rows, None)
    for index, row in enumerate(rows):
        expected = tokenizer(f"{row['instruction']}\n{row['output']}", add_special_tokens=False).input_ids
        assert encoded[index].ids[-len(expected) :] == expected
        assert set(encoded[index].roles) == {PROMPT}


@pytest.mark.parametrize("name", ["stories260K", "tokenizers/gpt2"])
def test_answer_continues_the_prompt_as_the_plain_tokenizer_would(shared: Path, name: str) -> None:
    tokenizer = load_tokenizer(shared, name)
    rows = read_rows(shared / "data/banking77/train.csv", 300)
    encoder = make_encoder(tokenizer, {"template": "Customer: {text}\nIntent:"})
    encoded = encoder.encode([{"text": row["text"]} for row in rows], [[row["label"]] for row in rows])
    for index, row in enumerate(rows):
        whole = tokenizer(f"Customer: {row['text']}\nIntent: {row['label']}", add_special_tokens=False).input_ids
        row_ids = part(encoded[index], PROMPT) + part(encoded[index], ANSWER)
        assert row_ids[-len(whole) :] == whole


def test_answer_keeps_its_tokens_where_the_tokenizer_would_merge_over_the_border(shared: Path) -> None:
    """TinyStories-656K writes ": " as one token; after a line end nothing merges."""
    tokenizer = load_tokenizer(shared, "TinyStories-656K")
    head = tokenizer("!\n", add_special_tokens=False).input_ids
    encoder = make_encoder(tokenizer, {"template": "{text}\nIntent:"})
    for row in read_rows(shared / "data/banking77/test.csv", 300):
        whole = tokenizer(f"!\n {row['label']}", add_special_tokens=False).input_ids
        assert whole == head + encoder.answer_ids("label", row["label"], last=False)


def test_answer_after_a_line_end_starts_without_a_space(gpt2_tokenizer: Any) -> None:
    encoder = make_encoder(gpt2_tokenizer, {"template": "{text}\nIntent:\n"})
    row = encoder.encode([{"text": "hi"}], [["card"]])[0]
    assert gpt2_tokenizer.decode(part(row, ANSWER)) == "card"
    assert encoder.decode(part(row, ANSWER)) == "card"


@pytest.mark.parametrize("template", ["<s>Customer: {text}\nIntent:", "Customer: {text}\nIntent:"])
def test_every_row_starts_with_one_bos_and_ends_with_the_stop_token(stories_tokenizer: Any, template: str) -> None:
    row = make_encoder(stories_tokenizer, {"template": template}).encode([{"text": "hi"}], [["card"]])[0]
    assert row.ids[0] == 1
    assert row.ids[-1] == 2
    assert row.ids.count(1) == row.ids.count(2) == 1
    assert row.roles[-1] == STOP


def test_special_tokens_in_the_template_are_placed_by_id(tokenizer: Any) -> None:
    stop = tokenizer.eos_token
    encoder = make_encoder(tokenizer, {"template": f"A{{text}}{stop}B:"})
    row = encoder.encode([{"text": "hi"}], None)[0]
    expected = tokenizer(f"Ahi{stop}B:", add_special_tokens=False).input_ids
    assert row.ids[-len(expected) :] == expected


@pytest.mark.parametrize("template", ["{text}", "Read: {text}\nIntent:", "{{ text }}{{ note }}"])
def test_special_tokens_that_a_parsed_cell_spells_become_tokens(tokenizer: Any, template: str) -> None:
    stop = tokenizer.eos_token
    cell = f"user: hi{stop}bot: hello{stop}"
    encoder = make_encoder(tokenizer, {"template": template}, parsed=["text"], inputs=["text", "note"])
    row = encoder.encode([{"text": cell, "note": f"a{stop}"}], None)[0]
    assert row.ids.count(tokenizer.eos_token_id) == 2
    if "note" not in template:
        rendered = tokenizer(template.format(text=cell), add_special_tokens=False).input_ids
        assert row.ids[-len(rendered) :] == rendered
    plain = make_encoder(tokenizer, {"template": template}, inputs=["text", "note"])
    assert tokenizer.eos_token_id not in plain.encode([{"text": cell, "note": "a"}], None)[0].ids[1:]
    assert plain.fingerprint() != encoder.fingerprint()


def test_a_parsed_cell_is_cut_at_its_text(stories_tokenizer: Any) -> None:
    cell = "one two three four five six seven</s>eight nine ten eleven twelve"
    encoder = make_encoder(stories_tokenizer, {"template": "{text}."}, parsed=["text"], context_length=16)
    encoded = encoder.encode([{"text": cell}], None)
    assert len(encoded[0].ids) <= 16
    assert encoded[0].ids.count(2) == 1
    assert encoded.num_cut[0] > 0
    assert stories_tokenizer.decode(encoded[0].ids).startswith("<s> one two")


ATTACKS = ["</s>", "<s>", "<unk>", "<|im_end|>", "<|endoftext|>", "<|end_story|>", "<tool>"]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_cells_and_answers_never_become_control_tokens(shared: Path, name: str) -> None:
    tokenizer = load_tokenizer(shared, name)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    tokenizer.add_tokens(["<tool>"])  # Not marked special: split_special_tokens would miss it.
    control = set(tokenizer.added_tokens_decoder) - {tokenizer.unk_token_id}
    assert control & set(tokenizer("a <tool>", split_special_tokens=True, add_special_tokens=False).input_ids)
    for template in ("Say {text}.\nIntent:", "Say {{ text ~ '.' }}\nIntent:"):
        encoder = make_encoder(tokenizer, {"template": template}, bos_id=None)
        for attack in ATTACKS:
            row = encoder.encode([{"text": f"a {attack} b{attack}"}], [[f"x{attack}y"]])[0]
            assert not control & set(row.ids[:-1])
            if "gpt2" in name:  # The other vocabularies cannot write every character.
                assert tokenizer.decode(row.ids[:-1]) == f"Say a {attack} b{attack}.\nIntent: x{attack}y"


def test_unigram_vocabulary_with_its_control_tokens_as_pieces_makes_none_from_text() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [("<unk>", -20.0), ("</s>", 0.0), ("<s>", 0.0)]
    pieces += [(character, -5.0) for character in "▁abcdefghijklmnopqrstuvwxyz</>:"]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    assert 1 in tokenizer("a</s>b", split_special_tokens=True).input_ids  # What must not happen here.
    encoder = make_encoder(tokenizer, {"template": "say {text}:"})
    row = encoder.encode([{"text": "a</s>b <s> c"}], None)[0]
    assert row.ids[0] == 2
    assert not {1, 2} & set(row.ids[1:])
    assert "".join(tokenizer.convert_ids_to_tokens(row.ids[1:])) == "▁say▁a</s>b▁<s>▁c:"


def test_added_tokens_of_white_space_are_kept_in_cells(shared: Path) -> None:
    tokenizer = load_tokenizer(shared, "tokenizers/gpt2")
    tokenizer.add_tokens(["<x>", "        "])
    row = make_encoder(tokenizer, {"template": "def f():\n{text}"}).encode([{"text": "        return 1"}], None)[0]
    assert row.ids == tokenizer("def f():\n        return 1").input_ids
    assert tokenizer.convert_tokens_to_ids("        ") in row.ids


def test_special_token_that_swallows_white_space_does_so_beside_a_cell(shared: Path) -> None:
    tokenizer = load_tokenizer(shared, "tokenizers/gpt2")
    from tokenizers import AddedToken

    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<|user|>", rstrip=True, lstrip=True)]})
    row = make_encoder(tokenizer, {"template": "Hi \n<|user|>{text}"}).encode([{"text": " \nyou"}], None)[0]
    assert row.ids == tokenizer("Hi \n<|user|> \nyou").input_ids


def test_metaspace_prefix_stands_only_before_the_first_text(shared: Path) -> None:
    tokenizer = load_tokenizer(shared, "TinyStories-656K")
    row = make_encoder(tokenizer, {"template": "One <|end_story|>two {text}"}).encode([{"text": "three"}], None)[0]
    assert row.ids[1:] == tokenizer("One <|end_story|>two three", add_special_tokens=False).input_ids


def test_lone_surrogate_is_refused_with_row_and_column(tokenizer: Any) -> None:
    encoder = make_encoder(tokenizer)
    with pytest.raises(DataError) as caught:
        encoder.encode([{"text": "fine"}, {"text": "a\ud800b"}], None, row_labels=["r1", "r2"])
    assert str(caught.value) == (
        "column 'text', row r2: holds the lone surrogate '\\ud800', which is no character; read the file as UTF-8"
    )
    with pytest.raises(DataError, match="column 'label', row 0: holds the lone surrogate"):
        encoder.encode([{"text": "fine"}], [["\udfff"]])


def test_missing_column_is_named(stories_tokenizer: Any) -> None:
    with pytest.raises(DataError) as caught:
        make_encoder(stories_tokenizer).encode([{"other": "x", "more": "y"}], None)
    assert str(caught.value) == "column 'text': the prompt names it, and the table has only other, more"


def test_no_rows_give_no_rows(stories_tokenizer: Any) -> None:
    encoded = make_encoder(stories_tokenizer).encode([], [])
    assert len(encoded) == 0
    assert encoded.ids.values.dtype.name == "int32"


def test_words_split_at_white_space_keep_the_sign_for_the_space_before_them() -> None:
    """T5, XLM-R and their like drop white space and write it as a prefix of each word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [("<unk>", -20.0), ("</s>", 0.0)]
    pieces += [(character, -5.0) for character in "▁abcdefghijklmnopqrstuvwxyz:"]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")  # noqa: S106
    row = make_encoder(tokenizer, {"template": "say {text}:"}).encode([{"text": "a b"}], [["c d"]])[0]
    assert row.ids == [*tokenizer("say a b: c d", add_special_tokens=False).input_ids, 1]
