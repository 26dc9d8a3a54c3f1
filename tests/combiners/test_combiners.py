import pytest
import torch

from declarlm.combiners import combiners
from declarlm.core import ConfigError
from declarlm.layers.hidden import Hidden

U, V = torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([[2.0, 4.0], [4.0, 0.0]])


def comparator(**settings):
    return combiners["comparator"].Config.load({"entity_1": ["a"], "entity_2": ["b"], **settings})


def test_concat_lays_vectors_side_by_side():
    module = combiners["concat"].Config(num_fc_layers=0).build().build({"a": 2, "b": 2})
    assert module.width == 4
    assert module({"a": Hidden(U), "b": Hidden(V)}).tolist() == torch.cat([U, V], 1).tolist()


def test_concat_lets_several_inputs_act_on_each_other_by_default():
    alone = combiners["concat"].Config().build().build({"a": 2})
    several = combiners["concat"].Config().build().build({"a": 2, "b": 2})
    assert (alone.width, several.width) == (2, 256)
    assert sum(isinstance(part, torch.nn.Linear) for part in several.modules()) == 2


def test_comparator_compares_by_formula():
    module = comparator().build().build({"a": 2, "b": 2})
    compared = module({"a": Hidden(U), "b": Hidden(V)})
    u, v = (x / x.norm(dim=1, keepdim=True) for x in (U, V))
    cosine = torch.nn.functional.cosine_similarity(U, V, dim=1)[:, None]
    torch.testing.assert_close(compared, torch.cat([u, v, (u - v).abs(), u * v * 2**0.5, cosine], dim=1))
    assert module.width == compared.shape[1] == 9
    assert cosine.flatten().tolist() == pytest.approx([1, 0])


def test_comparator_projects_things_of_different_length():
    module = comparator(entity_2=["b", "c"], output_size=3).build().build({"a": 2, "b": 2, "c": 1})
    compared = module({"a": Hidden(U), "b": Hidden(V), "c": Hidden(torch.ones(2, 1))})
    assert compared.shape == (2, 13)


def test_comparator_takes_a_vector_of_zeros():
    zeros = torch.zeros(1, 2, requires_grad=True)
    comparator().build().build({"a": 2, "b": 2})({"a": Hidden(zeros), "b": Hidden(U[:1])}).sum().backward()
    assert zeros.grad.isfinite().all()


def test_an_input_cannot_be_on_both_sides():
    with pytest.raises(ConfigError, match="entity_2: has 'a', which is in entity_1 already"):
        comparator(entity_2=["a"])


def test_comparator_must_name_every_input_and_no_other():
    problems = list(map(str, comparator(entity_2=["bb"]).check_inputs(["a", "b"])))
    assert problems == [
        "entity_2[0]: no input feature is named 'bb' (did you mean 'b'?), choose from: a, b",
        "entity_2: 'b' is in neither entity_1 nor entity_2",
    ]
    assert list(comparator().check_inputs(["a", "b"])) == []
