"""Registries: finding plugins and naming them."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from declarlm.core import DeclarlmError, Registry, Section, registry


class Encoder:
    class Config(Section):
        pass

    def __init__(self, config: Config) -> None:
        self.config = config


def empty(kind: str = "encoder") -> Registry[Encoder]:
    return Registry(kind, package=__name__)


def plugin(name: str = "Dense", doc: str = "Encode.", **attributes: object) -> type:
    return type(name, (Encoder,), {"__doc__": doc, "__module__": __name__, **attributes})


def test_plugin_without_parameters_gets_a_config_of_its_own():
    encoders = empty()
    dense = encoders.register("dense")(plugin())
    sparse = encoders.register("sparse")(plugin("Sparse"))
    assert (dense.Config.type, sparse.Config.type, Encoder.Config.type) == ("dense", "sparse", None)
    assert type(dense.Config().build()) is dense


def test_names_are_sorted():
    encoders = empty()
    for name in ("sparse", "dense"):
        encoders.register(name)(plugin(name))
    assert list(encoders) == ["dense", "sparse"]


def test_view_is_live_and_takes_values_and_memberships():
    encoders = empty()
    texts, categories = encoders.where(accepts="text"), encoders.where(accepts="category")
    encoders.register("bert")(plugin("Bert", accepts="text"))
    encoders.register("embed")(plugin("Embed", accepts=frozenset({"text", "category"})))
    encoders.register("odd")(plugin("Odd"))
    assert (list(texts), list(categories)) == (["bert", "embed"], ["embed"])
    assert list(texts.where(trainable=True)) == []


def test_unknown_name_is_answered_with_the_nearest():
    encoders = empty()
    encoders.register("dense")(plugin())
    with pytest.raises(
        DeclarlmError, match=r"^no encoder is named 'dence' \(did you mean 'dense'\?\), choose from: dense$"
    ):
        encoders["dence"]


def test_plugin_that_does_not_fit_says_why():
    encoders = empty()
    encoders.register("bert")(plugin("Bert", accepts="text"))
    encoders.register("embed")(plugin("Embed", accepts=("category", "set")))
    expected = "encoder 'embed' does not fit here: its 'accepts' is category, set, not text, choose from: bert"
    with pytest.raises(DeclarlmError) as caught:
        encoders.where(accepts="text")["embed"]
    assert str(caught.value) == expected


def test_two_plugins_cannot_share_a_name():
    encoders = empty()
    encoders.register("dense")(plugin())
    with pytest.raises(DeclarlmError, match="two encoders are named 'dense'"):
        encoders.register("dense")(plugin("Other"))


def test_the_same_class_may_be_defined_again_as_notebooks_do():
    encoders = empty()
    encoders.register("dense")(plugin())
    second = encoders.register("dense")(plugin())
    assert encoders["dense"] is second


def test_plugin_without_a_docstring_is_refused():
    with pytest.raises(DeclarlmError, match="encoder 'dense' needs a docstring, it becomes its reference page"):
        empty().register("dense")(plugin(doc=""))


def test_modules_beside_the_base_class_are_found_on_first_use(tmp_path, monkeypatch):
    package = tmp_path / "found_kinds"
    package.mkdir()
    (package / "__init__.py").write_text("from found_kinds.base import kinds\n")
    (package / "base.py").write_text(
        "from declarlm.core import Registry, Section\n"
        "kinds = Registry('kind', package='found_kinds')\n"
        "class Kind:\n    class Config(Section):\n        pass\n"
    )
    (package / "one.py").write_text(
        "from found_kinds.base import Kind, kinds\n@kinds.register('one')\nclass One(Kind):\n    'Be one.'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from found_kinds import kinds  # type: ignore[import-not-found]

    assert "found_kinds.one" not in sys.modules
    assert list(kinds.where()) == list(kinds) == ["one"]


@pytest.mark.parametrize(
    ("kind", "group"),
    [("encoder", "declarlm.encoders"), ("loss", "declarlm.losses"), ("output feature", "declarlm.output_features")],
)
def test_plugins_of_other_packages_are_found_by_entry_point(kind, group, tmp_path, monkeypatch):
    (tmp_path / f"other_{group[9:]}.py").write_text("loaded = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_installed", lambda: [EntryPoint("mine", f"other_{group[9:]}", group)])
    list(empty(kind))
    assert f"other_{group[9:]}" in sys.modules


def test_broken_plugin_of_another_package_is_named(monkeypatch):
    broken = EntryPoint("mine", "no_such_package.encoder", "declarlm.encoders")
    monkeypatch.setattr(registry, "_installed", lambda: [broken])
    with pytest.raises(
        DeclarlmError,
        match=r"encoder 'mine' \(no_such_package.encoder\) is broken: No module named 'no_such_package'",
    ):
        list(empty())


def test_importing_the_core_loads_nothing_heavy():
    program = (
        "import sys, declarlm.core, declarlm.compat, declarlm.core.strict_yaml, declarlm.core.files\n"
        "heavy = {'torch', 'transformers', 'pandas', 'numpy', 'rich', 'jinja2', 'jsonschema', 'typer', 'fcntl'}\n"
        "print(*heavy & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "\n"
