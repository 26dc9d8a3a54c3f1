"""Several adapters in the config of a language model: the rules, and the model that they make."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from declarlm.adapters.named import BASE, NamedAdapter, named
from declarlm.core import ModelError, Problem
from declarlm.core.errors import choose_from
from declarlm.run import NAME

if TYPE_CHECKING:
    from declarlm.config.llm import LlmConfig
    from declarlm.inference.generation import Generation
    from declarlm.models.prompted import LlmSections
    from declarlm.models.several import Several


def check_adapters(config: LlmConfig) -> Iterable[Problem]:
    """Yield what is wrong with ``adapters`` and the keys that choose one of them."""
    known = list(config.adapters)
    for key in ("active_adapter", "adapter_column") if not known else ():
        if getattr(config, key) is not None:
            yield Problem(key, "is for several adapters; name them under adapters, or leave it out")
    if not known:
        return
    if config.adapter is not None:
        yield Problem("adapters", "cannot stand beside adapter: adapters are trained already, adapter is to be trained")
    if config.architecture is not None:
        yield Problem("adapters", "are for the pretrained base_model that they were trained on, not for architecture")
    if config.objective.trains:
        remedy = "train each in a run of its own, under adapter, and leave trainer out here"
        yield Problem("trainer.type", f"must be none with adapters, which are trained already; {remedy}")
    if config.active_adapter not in (None, BASE, *known):
        yield Problem("active_adapter", f"no adapter is named {choose_from(config.active_adapter, [*known, BASE])}")
    for name, entry in config.adapters.items():
        if name == BASE:
            yield Problem(f"adapters.{name}", "is what the base without any adapter is called; choose another name")
        elif not NAME.fullmatch(name):
            found = "cannot be a name; use up to 64 of A-Z a-z 0-9 . _ - and no dot in front"
            yield Problem(f"adapters.{name}", found)
        if isinstance(entry, NamedAdapter):
            yield from _sources(name, entry, config)


def _sources(name: str, entry: NamedAdapter, config: LlmConfig) -> Iterable[Problem]:
    plain = [other for other, kind in config.adapters.items() if not named(kind).sources]
    for place, source in enumerate(entry.sources):
        if source not in plain:
            found = f"no trained adapter is named {choose_from(source, plain)}"
            yield Problem(f"adapters.{name}.sources[{place}]", found)


def several(config: LlmConfig) -> Several:
    """Return the model of a base with several adapters."""
    from declarlm.models.several import Adapters, Several

    entries = {name: named(entry) for name, entry in config.adapters.items()}
    return Several(config.sections(), Adapters(entries, config.active_adapter or next(iter(entries)), _read_run))


def _read_run(run: Path) -> tuple[LlmSections, Generation]:
    """Return the sections of a run, and how it writes text.

    Raises:
        ModelError: If it is no run of a language model.
    """
    from declarlm.config.llm import LlmConfig
    from declarlm.config.reading import load_config

    config = load_config(run / "config.resolved.yaml")
    if not isinstance(config, LlmConfig):
        raise ModelError(f"{run} is a run of encoders with heads; give one of a language model")
    return config.sections(), config.generation
