import shutil
from pathlib import Path

import pytest

from declarlm.backbones import find, open_backbone
from declarlm.core import ModelError

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the Hub, and no way to the Hub itself."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


def test_a_folder_is_found_as_it_is(stories):
    assert find.find_folder(stories) == Path(stories)


def test_a_name_that_was_downloaded_before_needs_no_network(cache, stories):
    repository = cache / "models--someone--stories"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    shutil.copytree(stories, repository / "snapshots" / REVISION)
    for name in ("someone/stories", f"someone/stories@{REVISION}"):
        assert open_backbone(name).folder == repository / "snapshots" / REVISION


def test_an_unknown_name_without_network_tells_both_ways_out(cache):
    with pytest.raises(ModelError) as caught:
        find.find_folder("someone/stories")
    assert str(caught.value) == (
        f"there is no folder 'someone/stories' and it is not in the cache ({cache}); "
        "write the path of a local folder, or allow downloads: without --offline and HF_HUB_OFFLINE"
    )


@pytest.mark.parametrize("name", ["{}/llama-tyni", "{}/llama-tiny-2"])
def test_a_misspelled_folder_is_answered_with_the_nearest(name, tmp_path):
    (tmp_path / "llama-tiny").mkdir()
    missing = name.format(tmp_path)
    with pytest.raises(ModelError) as caught:
        find.find_folder(missing)
    assert str(caught.value) == f"there is no folder {missing!r} (did you mean '{tmp_path}/llama-tiny'?)"


def test_a_relative_name_that_could_be_on_the_hub_gets_the_same_hint(cache, tmp_path, monkeypatch):
    (tmp_path / "models" / "stories260K").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"no folder 'models/stories26K' \(did you mean 'models/stories260K'\?\)"):
        find.find_folder("models/stories26K")


def test_a_file_is_answered_with_its_folder(stories):
    path = f"{stories}/model.safetensors"
    with pytest.raises(ModelError) as caught:
        find.find_folder(path)
    assert str(caught.value) == f"{path!r} is a file; write the folder that holds it and its config.json"


def test_an_empty_name_is_no_folder():
    with pytest.raises(ModelError, match="no model is named; write a folder, starter, or a name on the Hugging Face"):
        find.find_folder("")


def test_a_missing_starter_is_a_damaged_installation(tmp_path, monkeypatch):
    monkeypatch.setattr(find, "STARTER", tmp_path)
    with pytest.raises(ModelError) as caught:
        open_backbone("starter")
    assert str(caught.value) == (
        "the starter base is missing from this installation; install declarlm again, or write another base_model"
    )


def test_half_a_download_is_not_taken_for_a_whole_one(tmp_path):
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    )
    assert not find._has_all_weights(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").touch()
    assert find._has_all_weights(tmp_path)
