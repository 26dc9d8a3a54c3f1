import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from declarlm.backbones import open_backbone
from declarlm.core import ModelError, RefusedError

OWN_CODE = (
    "the model brings its own Python code, which is not run; read that code and then open it from Python with "
    "trust_remote_code=True, or choose another base"
)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"auto_map": {"AutoConfig": "own.Config"}}, f"sets 'auto_map': {OWN_CODE}"),
        ("config.json", {"trust_remote_code": True}, f"sets 'trust_remote_code': {OWN_CODE}"),
        ("tokenizer_config.json", {"auto_map": ["own.Tokenizer", None]}, f"sets 'auto_map': {OWN_CODE}"),
        (
            "config.json",
            {"attn_implementation": "someone/kernel"},
            "sets 'attn_implementation' to 'someone/kernel', which can load code; remove it from the file",
        ),
        (
            "config.json",
            {"text_config": {"_attn_implementation": "someone/kernel"}},
            "sets 'text_config._attn_implementation' to 'someone/kernel', which can load code; remove it from the file",
        ),
        (
            "config.json",
            {"num_hidden_layers": 10**9},
            "sets 'num_hidden_layers' to 1,000,000,000, more than any real model has (2,000)",
        ),
        (
            "config.json",
            {"vocab_size": 10**12},
            "sets 'vocab_size' to 1,000,000,000,000, more than any real model has (10,000,000)",
        ),
    ],
)
def test_files_that_choose_code_or_absurd_sizes_are_refused(file, changes, message, copied):
    folder = copied(changes, file)
    with pytest.raises(RefusedError) as caught:
        open_backbone(str(folder))
    assert str(caught.value) == f"{folder / file} {message}"
    assert caught.value.exit_code == 8


def test_a_leftover_flag_without_a_name_is_no_reason_to_refuse(copied):
    folder = copied({"_attn_implementation_autoset": True})
    assert open_backbone(str(folder)).folder == folder


def test_pickled_weights_are_never_opened(copied):
    folder = copied()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(RefusedError) as caught:
        open_backbone(str(folder))
    assert str(caught.value) == (
        f"{folder} has no model.safetensors, and pytorch_model.bin is not opened because it can run code; "
        "convert it to safetensors where you trust it"
    )


def test_weights_of_another_folder_are_refused(copied):
    folder = copied()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    with pytest.raises(RefusedError, match=r"names '\.\./other\.safetensors'; weights must be \.safetensors"):
        open_backbone(str(folder))


def test_a_missing_part_of_the_weights_is_named(copied):
    folder = copied()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-2.safetensors"}}))
    with pytest.raises(ModelError, match=r"lacks model-2.safetensors, a part of its weights; copy or download"):
        open_backbone(str(folder))


def test_a_damaged_file_is_named(copied):
    folder = copied()
    (folder / "tokenizer.json").write_text('{"version": ')
    with pytest.raises(ModelError, match=r"tokenizer.json is damaged: Expecting value"):
        open_backbone(str(folder))


def test_an_adapter_folder_is_answered_with_where_to_write_it(copied):
    folder = copied()
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError) as caught:
        open_backbone(str(folder))
    assert str(caught.value) == (
        f"{folder} holds an adapter; write it as adapter.pretrained_adapter_weights, and its base as base_model"
    )


def test_a_folder_of_something_else_is_no_model(tmp_path):
    with pytest.raises(ModelError) as caught:
        open_backbone(str(tmp_path))
    assert str(caught.value) == f"{tmp_path} is not a model folder: it has no config.json"


WATCHED = """
import sys
forbidden = {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"}
def watch(event, arguments):
    if event in forbidden:
        raise AssertionError(f"{event} {arguments}")
sys.addaudithook(watch)
from pathlib import Path
from declarlm.adapters import adapters
from declarlm.backbones import Quantization, open_backbone
base = open_backbone(sys.argv[1])
adapter = adapters["lora"].Config().build()
module = adapter.attach(base.load_causal(Quantization()), total_steps=10, seed=0)
adapter.save(module, Path(sys.argv[2]))
adapter.load(base.load_causal(Quantization(bits=8)), Path(sys.argv[2]))
base.load_encoder()
print("done")
"""


def test_opening_loading_and_saving_run_no_code_and_open_no_connection(stories, tmp_path):
    # A package of that name would be asked for native code from the Hub, by bitsandbytes at its import.
    (tmp_path / "kernels.py").write_text("def get_kernel(*names, **_): raise SystemExit(f'asked for {names}')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, stories, str(tmp_path / "adapter")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_a_file_that_no_library_reads_is_left_alone(stories, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(stories, folder)
    (folder / "data_config.json").write_text('[{"name": "pairs"}]')
    assert open_backbone(str(folder)).folder == folder
