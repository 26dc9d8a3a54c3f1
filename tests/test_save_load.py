"""A model that was saved predicts what the one in memory predicts, for every kind of model there is."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plugins import plugin
from small_bases import save_tiny_bert, save_tiny_llama

from declarlm import DeclarLM
from declarlm.config import REGISTRIES

pytestmark = pytest.mark.filterwarnings("ignore::declarlm.DeclarlmWarning")

COLORS, ANIMALS = ["red", "white", "brown"], ["dog", "pig", "fox", "cow"]
ROWS = pd.DataFrame(
    [
        {
            "note": f"the {color} {animal} sat" + " on the mat" * (row % 3),
            "other": f"a {animal} was {color}",
            "style": f"s{row % 5}",
            "size": 1.5 * (row % 7) - 2,
            "fresh": ["yes", "no"][row % 2],
            "color": color,
            "animal": animal,
            "sold": ["sold", "kept"][row % 3 > 0],
            "price": 10 * (row % 4) + 5,
        }
        for row, (color, animal) in enumerate([(color, animal) for color in COLORS for animal in ANIMALS] * 2)
    ]
)
SEEN = ["note", "other", "style", "size", "fresh"]
OUTPUTS: dict[str, dict[str, Any]] = {
    "text": {"name": "color", "type": "text"},
    "category": {"name": "animal", "type": "category"},
    "binary": {"name": "sold", "type": "binary"},
    "number": {"name": "price", "type": "number"},
}
# Small sizes of what is large by default, by parameter.
SMALL: dict[str, Any] = {
    **{"embedding_size": 16, "num_filters": 4, "transformer_output_size": 16, "num_heads": 2, "num_layers": 1},
    **{"most_common": 200, "output_size": 8},
}


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bases")
    return {"LLAMA": save_tiny_llama(folder / "llama"), "BERT": save_tiny_bert(folder / "bert")}


def llm(*outputs: str, **changes: Any) -> dict[str, Any]:
    return {
        "base_model": "LLAMA",
        "input_features": [{"name": "note", "type": "text"}, {"name": "size", "type": "number"}],
        "output_features": [OUTPUTS[output] for output in outputs or ("text",)],
        "prompt": {"template": "{{ note }} ({{ size }}). What?"},
        "adapter": {"type": "lora", "r": 4},
        "trainer": {"train_steps": 3, "batch_size": 4, "learning_rate": 0.01},
        "generation": {"max_new_tokens": 5},
        **changes,
    }


def ecd(*inputs: Any, outputs: tuple[str, ...] = ("category",), **changes: Any) -> dict[str, Any]:
    return {
        "model_type": "ecd",
        "input_features": list(inputs),
        "output_features": [OUTPUTS[output] for output in outputs],
        "trainer": {"train_steps": 3, "batch_size": 4, "learning_rate": 0.01},
        **changes,
    }


def note(encoder: Any, **changes: Any) -> dict[str, Any]:
    return {"name": "note", "type": "text", "encoder": encoder, **changes}


def bert(**changes: Any) -> dict[str, Any]:
    return {"type": "bert", "pretrained_model_name_or_path": "BERT", **changes}


def small(name: str) -> dict[str, Any]:
    """The section of an encoder, with small sizes; a pretrained one is the tiny BERT."""
    known = plugin("encoders", name).Config.schema().fields
    sizes = {key: value for key, value in SMALL.items() if key in known}
    places = {"pretrained_model_name_or_path": "BERT"} if "pretrained_model_name_or_path" in known else {}
    return {"type": name, **sizes, **places}


TABULAR = [
    {"name": "style", "type": "category"},
    {"name": "size", "type": "number"},
    {"name": "fresh", "type": "binary"},
]
PAIR = [note("tf_idf"), {"name": "other", "type": "text", "tied": "note"}]
SCRATCH = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "context_length": 64, "tokenizer": {"vocab_size": 280}}
COMPARATOR = {"type": "comparator", "entity_1": ["note"], "entity_2": ["other"]}
OWN_TEXT_ENCODERS = [
    name
    for name in REGISTRIES["encoders"].where(accepts="text")
    if name == "auto_transformer" or not issubclass(plugin("encoders", name), plugin("encoders", "auto_transformer"))
]
SMALL_ADAPTERS: dict[str, dict[str, Any]] = {
    **{key: {} for key in ("ia3", "vera", "oft", "ln_tuning", "bottleneck", "adaption_prompt")},
    "last_layers": {"k": 1},
    **{key: {"num_virtual_tokens": 4} for key in ("prompt_tuning", "prefix_tuning", "p_tuning")},
}
MODELS: dict[str, dict[str, Any]] = {
    **{f"llm-{output}": llm(output) for output in OUTPUTS},
    "llm-several": llm("category", "number", "text", "binary"),
    "llm-template": llm("category", "text", prompt={"template": "{note}", "answer": "It is {animal}, and {color}!"}),
    "llm-generated-labels": llm(
        output_features=[
            {
                **OUTPUTS["category"],
                "decoder": {"type": "category_extractor", "match": {"cow": {"type": "regex", "value": "c"}}},
            }
        ]
    ),
    "llm-qlora": llm(adapter={"type": "qlora", "r": 4}),
    "llm-8-bit": llm("category", quantization={"bits": 8}),
    "llm-4-bit": llm("category", quantization={"bits": 4}),
    "llm-adalora": llm(adapter={"type": "adalora", "r": 2}),
    "llm-dora": llm("category", adapter={"type": "dora", "r": 4}),
    **{f"llm-{name}": llm("category", adapter={"type": name, **SMALL_ADAPTERS[name]}) for name in SMALL_ADAPTERS},
    "ecd-bitfit": ecd(note(bert(adapter={"type": "bitfit"}))),
    "llm-all-weights": llm("category", adapter=None),
    "llm-from-scratch": llm("category", base_model=None, architecture=SCRATCH, adapter=None),
    "llm-untrained": llm(adapter=None, trainer={"type": "none"}),
    **{f"ecd-{name}": ecd(note(small(name))) for name in OWN_TEXT_ENCODERS},
    "ecd-trainable": ecd(note(bert(trainable=True, reduce_output="cls_pooled"))),
    "ecd-adapter": ecd(note(bert(adapter={"type": "lora", "r": 2}))),
    "ecd-random-body": ecd(note(bert(trainable=True, use_pretrained=False))),
    "ecd-uncached": ecd(note(bert(), preprocessing={"cache_encoder_embeddings": False})),
    "ecd-set": ecd({"name": "words", "column": "other", "type": "set", "encoder": small("label_embedding")}),
    "ecd-tied": ecd(*PAIR, combiner=COMPARATOR, outputs=("number",)),
    "ecd-tied-bert": ecd(note(bert(trainable=True)), PAIR[1], combiner=COMPARATOR, outputs=("number",)),
    "ecd-table": ecd(*TABULAR, outputs=("category", "binary", "number")),
    "ecd-everything": ecd(note("embed"), *TABULAR, outputs=("number", "category", "binary")),
    "ecd-layer-norm": ecd(*TABULAR, combiner={"type": "concat", "num_fc_layers": 1, "norm": "layer"}),
}
for number in REGISTRIES["encoders"].where(accepts="number"):
    MODELS[f"ecd-number-{number}"] = ecd({"name": "size", "type": "number", "encoder": small(number)})
for category in REGISTRIES["encoders"].where(accepts="category"):
    MODELS[f"ecd-category-{category}"] = ecd({"name": "style", "type": "category", "encoder": small(category)})


def placed(config: Any, places: dict[str, str]) -> Any:
    """The config with the folders of the bases in it."""
    if isinstance(config, dict):
        return {key: placed(value, places) for key, value in config.items()}
    if isinstance(config, list):
        return [placed(value, places) for value in config]
    return places.get(config, config) if isinstance(config, str) else config


@pytest.fixture(scope="module")
def trained(places, tmp_path_factory):
    """Trains each model once for all tests."""
    runs: dict[str, Any] = {}

    def train(name: str) -> Any:
        if name not in runs:
            model = DeclarLM(placed(MODELS[name], places))
            runs[name] = model.train(ROWS, output=tmp_path_factory.mktemp("runs"), name="run")
        return runs[name]

    return train


def assert_same_table(left: pd.DataFrame, right: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(left, right, check_exact=True)


def close(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """The same texts and labels, and the same numbers to 1e-5."""
    assert list(left.columns) == list(right.columns)
    for column in left:
        for one, other in zip(left[column], right[column], strict=True):
            if isinstance(one, str) or one is None:
                assert one == other
            else:
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_predicts_the_same_to_the_last_bit(trained, name, tmp_path):
    result = trained(name)
    new = ROWS[SEEN].iloc[[5, 0, 5, 23, 11]].set_axis(["a", "b", "b", "c", "a"])
    here = result.model.predict(new)
    assert list(here.index) == ["a", "b", "b", "c", "a"]
    assert len(here.columns) >= len(result.model.config.output_features)
    loaded = DeclarLM.load(result.directory)
    assert_same_table(here, loaded.predict(new))
    close(here.iloc[[0]], here.iloc[[2]].set_axis(["a"]))
    loaded.save(tmp_path / "copy")
    assert_same_table(here, DeclarLM.load(tmp_path / "copy").predict(new))


@pytest.mark.parametrize("name", MODELS)
def test_a_row_gets_the_same_prediction_alone_and_in_any_order(trained, name):
    model = trained(name).model
    together = model.predict(ROWS[SEEN])
    assert len(together) == len(ROWS)
    close(model.predict(ROWS[SEEN].iloc[::-1]).iloc[::-1], together)
    for row in (0, 7, 23):
        close(model.predict(ROWS[SEEN].iloc[[row]]), together.iloc[[row]])


@pytest.mark.parametrize("name", ["llm-several", "ecd-everything"])
def test_any_index_comes_back_with_its_names(trained, name):
    model = trained(name).model
    days = pd.date_range("2026-01-01", periods=4, tz="UTC", name="day")
    indexes = [
        pd.MultiIndex.from_tuples([("x", 1), ("x", 1), ("y", 2), ("x", 3)], names=["letter", "number"]),
        pd.Index([None, "a", "a", float("nan")], name="mixed"),
        pd.Index([7, 3, 3, 0]),
        days,
    ]
    expected = model.predict(ROWS[SEEN].head(4)).reset_index(drop=True)
    for index in indexes:
        found = model.predict(ROWS[SEEN].head(4).set_axis(index))
        pd.testing.assert_index_equal(found.index, index)
        assert_same_table(found.reset_index(drop=True), expected)
        assert len(model.evaluate(ROWS.head(4).set_axis(index)).predictions) == 4


@pytest.mark.parametrize("name", ["llm-text", "llm-all-weights", "ecd-adapter", "ecd-everything"])
def test_a_run_can_be_moved_and_needs_nothing_but_its_model(trained, name, tmp_path):
    result = trained(name)
    new = ROWS[SEEN].head(3)
    needed = ["config.resolved.yaml", "features.json", "STATUS", "model"]
    for part in needed:
        source = result.directory / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        Path(tmp_path / "elsewhere").mkdir(exist_ok=True)
        copy(source, tmp_path / "elsewhere" / part)
    assert_same_table(DeclarLM.load(tmp_path / "elsewhere").predict(new), result.model.predict(new))


@pytest.mark.parametrize("name", ["llm-category", "ecd-everything"])
def test_every_kind_of_dataset_gives_the_same_predictions(trained, name, tmp_path):
    import pyarrow as pa

    model, new = trained(name).model, ROWS[SEEN].head(5)
    new.to_csv(tmp_path / "new.csv", index=False)
    new.to_json(tmp_path / "new.jsonl", orient="records", lines=True)
    new.to_parquet(tmp_path / "new.parquet")
    expected = model.predict(new)
    datasets = [new.to_dict("list"), new.to_dict("records"), pa.Table.from_pandas(new), new.astype(object)]
    for dataset in [*datasets, *(tmp_path / f"new.{kind}" for kind in ("csv", "jsonl", "parquet"))]:
        assert_same_table(model.predict(dataset), expected)


def test_every_adapter_and_every_encoder_is_among_the_models():
    written = str(MODELS)
    assert all(f"'{name}'" in written for name in REGISTRIES["adapters"])
    for name in REGISTRIES["encoders"]:
        base = plugin("encoders", "auto_transformer")
        assert f"'{name}'" in written or issubclass(plugin("encoders", name), base)
