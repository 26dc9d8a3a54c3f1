"""Checkpoints: a fault at every file operation, damage, and another run's."""

import errno
import os
import resource
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_run import Notes, Running, assert_same, make_model, make_trainer, weights_of
from torch import nn

from declarlm.core import RunError
from declarlm.core.errors import DiskError
from declarlm.core.files import verify_folder
from declarlm.training.checkpoints import trained_tensors


def trained(directory: Path, steps: int, **arguments: Any):
    """A trainer after so many steps, with a checkpoint at each."""
    trainer = make_trainer(directory, {"epochs": 2, "eval_steps": 1, "early_stop": -1}, **arguments)
    fit = trainer.fit()
    for _ in range(steps):
        next(fit)
    return trainer


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "checkpoints").iterdir())


def test_only_what_trains_is_kept():
    model = nn.Sequential(make_model(), Running(), nn.BatchNorm1d(3), nn.BatchNorm1d(5))
    for frozen in (model[0][2], model[3]):
        frozen.requires_grad_(False)
    kept = trained_tensors(model)
    assert "0.2.weight" not in kept
    assert not any(name.startswith("3.") for name in kept)
    assert {"0.0.weight", "1.mean", "2.weight", "2.running_mean", "2.num_batches_tracked"} <= kept.keys()


def test_the_newest_two_and_the_best_stay(tmp_path):
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0])
    trained(tmp_path, 5, evaluate=lambda: {"loss": next(losses)})
    assert names(tmp_path) == ["step-00000002", "step-00000004", "step-00000005"]


def test_weights_come_back_in_their_own_type(tmp_path):
    model = make_model()
    model.register_buffer("table", torch.ones(3, dtype=torch.bfloat16))
    trainer = trained(tmp_path, 1, module=model)
    saved = load_file(trainer.checkpoints.path(1) / "weights.safetensors")
    assert saved["table"].dtype == torch.bfloat16
    assert torch.equal(saved["2.weight"], model[2].weight)


def test_a_fault_at_any_file_operation_leaves_a_checkpoint_to_go_on_from(tmp_path, monkeypatch):
    trainer = trained(tmp_path / "run", 3)
    expected = {3: weights_of(trainer.module)}
    trainer._train_step()
    expected[4] = weights_of(trainer.module)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    num_operations = save(monkeypatch, trainer, None, 0)
    assert num_operations > 15
    for failing in range(num_operations):
        shutil.rmtree(tmp_path / "run")
        shutil.copytree(tmp_path / "copy", tmp_path / "run")
        with suppress(DiskError):
            save(monkeypatch, trainer, failing, [errno.ENOSPC, errno.EIO][failing % 2])
        fresh = make_trainer(tmp_path / "run", {"epochs": 2, "eval_steps": 1, "early_stop": -1})
        state, _ = fresh.checkpoints.load_newest(fresh.optimizer)
        assert_same(weights_of(fresh.module), expected[state.step])
        assert not [name for name in names(tmp_path / "run") if name.startswith(".")]


def save(monkeypatch, trainer, failing: int | None, number: int) -> int:
    """Save once, with file operation number ``failing`` broken; return how many operations were made."""
    made: list[str] = []

    def breaking(name: str, original: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            if len(made) - 1 == failing:
                raise OSError(number, os.strerror(number))
            return original(*args, **kwargs)

        return run

    with monkeypatch.context() as patch:
        for name in ("fsync", "replace", "mkdir"):
            patch.setattr(os, name, breaking(name, getattr(os, name)))
        for name in ("rename", "open"):
            patch.setattr(Path, name, breaking(name, getattr(Path, name)))
        trainer._save()
    return len(made)


def test_a_full_disk_is_reported_as_one(tmp_path):
    trainer = trained(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(DiskError, match=r"weights\.safetensors cannot be written: .*File too large"):
            trainer._save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["step-00000000", "step-00000001"]


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, name):
    trained(tmp_path, 3)
    damaged = tmp_path / "checkpoints" / "step-00000003"
    with (damaged / name).open("r+b") as file:
        file.truncate(40)
    notes = Notes()
    trainer = make_trainer(tmp_path, {"epochs": 2, "eval_steps": 1, "early_stop": -1}, progress=notes)
    list(trainer.fit(resume=True))
    assert notes.notes == [f"checkpoint {damaged} is damaged and was passed over; an older one is tried"]
    whole = trained(tmp_path / "whole", 10)
    assert_same(weights_of(trainer.module), weights_of(whole.module))


def test_training_writes_a_damaged_checkpoint_again(tmp_path):
    trained(tmp_path, 3)
    damaged = tmp_path / "checkpoints" / "step-00000003"
    (damaged / "manifest.json").unlink()
    trainer = make_trainer(tmp_path, {"epochs": 2, "eval_steps": 1, "early_stop": -1}, progress=Notes())
    next(trainer.fit(resume=True))
    assert names(tmp_path)[-2:] == ["step-00000002", "step-00000003"]
    assert verify_folder(damaged)


def test_without_a_whole_checkpoint_nothing_starts(tmp_path):
    trained(tmp_path, 2)
    for name in names(tmp_path):
        (tmp_path / "checkpoints" / name / "weights.safetensors").unlink()
    trainer = make_trainer(tmp_path, {"epochs": 2, "eval_steps": 1, "early_stop": -1})
    with pytest.raises(RunError) as caught:
        list(trainer.fit(resume=True))
    where = tmp_path / "checkpoints"
    expected = f"{where} cannot be resumed: none of its 2 checkpoints is whole; train again under a new name"
    assert str(caught.value) == expected
    with pytest.raises(RunError) as caught:
        list(make_trainer(tmp_path / "new").fit(resume=True))
    where = tmp_path / "new" / "checkpoints"
    expected = f"{where} cannot be resumed: it has no checkpoint; train again under a new name"
    assert str(caught.value) == expected


def test_a_fresh_start_on_old_checkpoints_is_refused(tmp_path):
    trained(tmp_path, 1)
    with pytest.raises(RunError) as caught:
        list(make_trainer(tmp_path).fit())
    assert str(caught.value) == f"{tmp_path} holds checkpoints already; resume it, or train under a new name"


def test_another_config_cannot_go_on_from_a_checkpoint(tmp_path):
    trained(tmp_path, 1)
    config = {"epochs": 2, "eval_steps": 1, "early_stop": -1, "learning_rate": 0.02, "optimizer": {"weight_decay": 0.5}}
    with pytest.raises(RunError) as caught:
        list(make_trainer(tmp_path, config, seed=7).fit(resume=True))
    assert str(caught.value) == (
        f"{tmp_path / 'checkpoints' / 'step-00000001'} cannot be resumed by another run: "
        "learning_rates was [0.01, 0.01], is [0.02, 0.02]; seed was 42, is 7; "
        "trainer.learning_rate was 0.01, is 0.02; trainer.optimizer.weight_decay was 0.01, is 0.5"
    )
