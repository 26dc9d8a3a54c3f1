"""Which training rows are shown to a row, and what of them is kept."""

import numpy as np
import pytest
from small_bases import save_tiny_bert

from declarlm.core import DataError, ModelError
from declarlm.data.retrieval import ExampleIndex
from declarlm.prompts.examples import Retrieval

TEXTS = ["good food", "the cat sat", "red wine", "white wine", "a bad film", "the red mat", "not bad food"]
EXAMPLES = [f"{text}!" for text in TEXTS]


def random_index(k=3, seed=1):
    return ExampleIndex(Retrieval(type="random", k=k), seed, TEXTS, EXAMPLES)


@pytest.fixture
def semantic(tmp_path):
    settings = Retrieval(type="semantic", k=3, model_name=save_tiny_bert(tmp_path / "bert"))
    return settings, ExampleIndex(settings, 1, TEXTS, EXAMPLES)


def test_a_draw_depends_on_row_and_seed_alone():
    queries = [f"query {place}" for place in range(200)]
    found = random_index().find(queries)
    assert random_index().find(queries[::-1]) == found[::-1]
    assert random_index(seed=2).find(queries) != found
    assert all(len(set(shown)) == 3 for shown in found)
    counts = [sum(example in shown for shown in found) for example in EXAMPLES]
    assert min(counts) > 200 * 3 / 7 / 2  # each of the seven is drawn about 86 times


@pytest.mark.parametrize("kind", ["random", "semantic"])
def test_a_row_is_never_shown_to_itself(kind, semantic):
    index = random_index() if kind == "random" else semantic[1]
    for text, shown in zip(TEXTS, index.find(TEXTS), strict=True):
        assert len(shown) == 3
        assert f"{text}!" not in shown


def test_the_nearest_rows_are_those_of_a_search_by_hand(semantic, tmp_path):
    import torch
    from transformers import AutoModel, AutoTokenizer

    settings, index = semantic
    tokenizer, model = (kind.from_pretrained(settings.model_name) for kind in (AutoTokenizer, AutoModel))
    queries = ["good wine", "the bad cat"]

    def directions(texts):
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = model.eval()(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)

    likeness = directions(queries) @ directions(TEXTS).T
    expected = [[EXAMPLES[place] for place in reversed(row)] for row in likeness.topk(3).indices.tolist()]
    assert index.find(queries) == expected
    assert [index.find([query])[0] for query in queries] == expected


def test_rows_with_the_same_inputs_are_one_example():
    index = ExampleIndex(Retrieval(type="random", k=1), 1, ["a", "a", "b"], ["first", "second", "third"])
    assert index.examples == ["first", "third"]
    assert index.find(["a"] * 20) == [["third"]] * 20


def test_a_saved_index_finds_the_same(semantic, tmp_path):
    settings, index = semantic
    index.save(tmp_path)
    loaded = ExampleIndex.load(settings, tmp_path)
    assert loaded.fingerprint == index.fingerprint
    assert np.array_equal(loaded.vectors, index.vectors)
    assert loaded.find([*TEXTS, "good wine"]) == index.find([*TEXTS, "good wine"])


def test_another_encoder_does_not_take_the_place_of_the_one_that_indexed(semantic, tmp_path):
    settings, index = semantic
    index.save(tmp_path)
    save_tiny_bert(tmp_path / "bert", dropout=0.2)
    with pytest.raises(ModelError, match="is not the encoder that examples were indexed with; its files have changed"):
        ExampleIndex.load(settings, tmp_path)


def test_too_few_rows_say_so():
    with pytest.raises(DataError) as error:
        random_index(k=7).check()
    assert str(error.value) == (
        "prompt.retrieval.k is 7, and the training split has 7 rows with different inputs; a row is never shown to "
        "itself, so write a smaller k or give more rows"
    )
    assert random_index(k=6).check().find(TEXTS[:1])


def test_what_decides_about_examples_is_in_the_fingerprint():
    found = {random_index().fingerprint, random_index(k=2).fingerprint, random_index(seed=2).fingerprint}
    found.add(ExampleIndex(Retrieval(type="random", k=3), 1, TEXTS, [*EXAMPLES[:-1], "other"]).fingerprint)
    assert len(found) == 4
