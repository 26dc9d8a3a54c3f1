"""New runs of trained adapters: merged into their base, or with one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declarlm.adapters.named import Merge
from declarlm.api.model import DeclarLM
from declarlm.config import EcdConfig, LlmConfig, load_config
from declarlm.core import ConfigError, ModelError
from declarlm.core.files import atomic_folder, read_json
from declarlm.models.llm import MERGED
from declarlm.models.several import Several
from declarlm.run import Run, open_run

if TYPE_CHECKING:
    from declarlm.adapters.into_base import Merged, Precision


def merge_into_base(
    directory: str | Path, output: str | Path, *, precision: Precision = "auto", device: str | None = None
) -> Merged:
    """Write a run whose base holds the adapter of another run in its weights.

    ``model/weights`` (of an ecd model ``model/encoders/*/body``) in it opens in plain transformers.

    Args:
        directory: Run directory of the adapter.
        output: Directory of the new run.
        precision: Type of the merged weights; auto is that of the base's files.
        device: As for ``DeclarLM``.

    Returns:
        What merging changed.

    Raises:
        ModelError: If the run has no adapter, or one that cannot be merged.
        RunError: If the directory is no run, or ``output`` is something else.
    """
    model, run = DeclarLM.load(directory, device=device), Run(Path(output))
    built = model._ready()
    if (Path(directory) / "model" / MERGED).is_file():
        raise ModelError(f"the adapter of {directory} is merged already: {Path(directory) / 'model' / 'weights'}")
    with atomic_folder(run.model) as folder:
        merged = built.save_merged(folder, precision)
    _write(run, _without_adapter(model.config.dump()), built.states())
    return merged


def merge_adapters(runs: Sequence[str | Path], output: str | Path, settings: Merge, device: str | None = None) -> None:
    """Write a run whose adapter is the weighted sum of those of several runs on one base.

    Prompt and features are those of the first.

    Args:
        runs: Their run directories.
        output: Directory of the new run.
        settings: How they are added up.
        device: As for ``DeclarLM``.

    Raises:
        ConfigError: If the settings do not fit the runs.
        ModelError: If the adapters cannot be added up in this way.
        RunError: If a directory is no run, or ``output`` is something else.
    """
    if problems := list(settings.check_weights(len(runs))):
        raise ConfigError("merge", problems)
    configs = [load_config(open_run(Path(run)).directory / "config.resolved.yaml") for run in runs]
    for run, config in zip(runs, configs, strict=True):
        if isinstance(config, EcdConfig):
            raise ModelError(f"{run} is a run of encoders with heads; only adapters of language models are merged")
    first: Any = configs[0]
    names = [f"source{place}" for place in range(len(runs))]
    data = {
        "base_model": first.base_model,
        "quantization": first.quantization and first.quantization.dump(),
        "adapters": {
            **dict(zip(names, map(str, runs), strict=True)),
            "merged": {"sources": names, **settings.dump()},
        },
    }
    several: Any = DeclarLM(data, device=device)._ready()
    _write_adapter(several, Run(Path(output)), first)


def _write_adapter(several: Several, run: Run, config: LlmConfig) -> None:
    merged = several.choose("merged")
    with atomic_folder(run.model) as folder:
        merged.save(folder)
    found = read_json(run.model / "adapter" / "adapter_config.json")
    data = config.dump()
    shape = {"r": found["r"], "alpha": float(found["lora_alpha"])} if "lora_alpha" in found else {}
    done = {"merge_adapter_into_base_model": False, "progressbar": False}
    data["adapter"] = {**data["adapter"], **shape, "pretrained_adapter_weights": None, "postprocessor": done}
    _write(run, data, merged.states())


def _write(run: Run, config: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    run.write_config(config, config)
    run.write_features(states)
    run.mark("finished")


def _without_adapter(data: dict[str, Any]) -> dict[str, Any]:
    """Return the config of a model whose weights are all its own."""
    if data["model_type"] == "llm":
        return {**data, "adapter": None, "quantization": None}
    inputs = []
    for feature in data["input_features"]:
        encoder = feature.get("encoder")
        if isinstance(encoder, dict) and encoder.get("adapter") is not None:
            feature = {**feature, "encoder": {**encoder, "adapter": None, "trainable": True}}
        inputs.append(feature)
    return {**data, "input_features": inputs}
