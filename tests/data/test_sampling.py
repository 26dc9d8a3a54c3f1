"""Sampling before the split, and more even labels in training."""

import pandas as pd
import pytest

from declarlm.core import ConfigError
from declarlm.data.preprocessing import Preprocessing
from declarlm.data.sampling import resample, subsample


def table_of(**counts):
    return pd.DataFrame({"label": [label for label, count in counts.items() for _ in range(count)]})


def resampled(table, **options):
    return resample(table, "label", Preprocessing(**options), seed=0)


def test_a_sample_keeps_the_order_and_the_seed():
    table = table_of(a=100)
    sample = subsample(table, Preprocessing(sample_ratio=0.25), seed=3)
    assert len(sample) == 25
    assert sample.index.is_monotonic_increasing
    assert sample.index.tolist() == subsample(table, Preprocessing(sample_ratio=0.25), seed=3).index.tolist()
    assert sample.index.tolist() != subsample(table, Preprocessing(sample_ratio=0.25), seed=4).index.tolist()
    assert len(subsample(table, Preprocessing(sample_size=7), seed=3)) == 7
    assert len(subsample(table, Preprocessing(sample_size=700), seed=3)) == 100
    assert len(subsample(table, Preprocessing(sample_ratio=0.001), seed=3)) == 1
    assert subsample(table, Preprocessing(), seed=3) is table


def test_oversampling_repeats_the_rare_label_evenly():
    table = resampled(table_of(ham=100, spam=15), oversample_minority=0.5)
    assert table["label"].value_counts().to_dict() == {"ham": 100, "spam": 50}
    repeats = table.index.value_counts()
    assert set(repeats[repeats.index < 100]) == {1}
    assert sorted(set(repeats[repeats.index >= 100])) == [3, 4]


def test_undersampling_leaves_out_rows_of_the_frequent_label():
    table = resampled(table_of(ham=100, spam=15), undersample_majority=0.5)
    assert table["label"].value_counts().to_dict() == {"ham": 30, "spam": 15}
    assert table.index.is_unique


def test_labels_that_are_even_enough_stay():
    for options in ({"oversample_minority": 0.5}, {"undersample_majority": 0.5}, {}):
        assert len(resampled(table_of(a=10, b=8), **options)) == 18
        assert len(resampled(table_of(a=10), **options)) == 10


def test_several_labels_are_evened_out_against_the_extreme_one():
    counts = resampled(table_of(a=100, b=60, c=10), oversample_minority=0.5)["label"].value_counts().to_dict()
    assert counts == {"a": 100, "b": 60, "c": 50}
    counts = resampled(table_of(a=100, b=60, c=10), undersample_majority=0.5)["label"].value_counts().to_dict()
    assert counts == {"a": 20, "b": 20, "c": 10}


def test_rows_without_a_label_stay():
    table = pd.DataFrame({"label": ["a", "a", "a", None, "b"]})
    assert resampled(table, oversample_minority=1.0)["label"].isna().sum() == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"sample_ratio": 0.5, "sample_size": 10},
            "sample_size: cannot be given together with sample_ratio, remove one of them",
        ),
        (
            {"oversample_minority": 0.5, "undersample_majority": 0.5},
            "undersample_majority: cannot be given together with oversample_minority, remove one of them",
        ),
    ],
)
def test_what_excludes_each_other_is_a_problem(data, message):
    with pytest.raises(ConfigError) as caught:
        Preprocessing.load(data)
    assert str(caught.value) == f"config: {message}"


def test_the_section_survives_dump_and_load():
    section = Preprocessing.load(
        {"split": {"type": "stratified", "column": "label", "probabilities": [0.9, 0.1, 0]}, "missing_values": ["?"]}
    )
    assert Preprocessing.load(section.dump()) == section
    assert Preprocessing.load({"global_max_sequence_length": 512}).global_max_sequence_length == 512
    assert Preprocessing.load({"global_max_sequence_length": None}).global_max_sequence_length is None
    assert Preprocessing.load({"split": "random"}).split.probabilities == [0.7, 0.1, 0.2]
