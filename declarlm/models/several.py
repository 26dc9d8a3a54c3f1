"""One base under several trained adapters, of which each brings its own way to read a row, or takes the base's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from declarlm.adapters.base import adapters
from declarlm.adapters.combining import combine_adapters
from declarlm.adapters.named import BASE, NamedAdapter, find_adapter, open_adapter, run_folder
from declarlm.core import ConfigError, ModelError, Problem, RunError
from declarlm.core.errors import choose_from
from declarlm.core.files import atomic_folder, read_json
from declarlm.models.causal import build_causal
from declarlm.models.llm import GOLDEN, Llm
from declarlm.models.llm_weights import load_base
from declarlm.models.prompted import LlmSections
from declarlm.run import Run

if TYPE_CHECKING:
    import pandas as pd

ADAPTERS = "adapters"


@dataclass(frozen=True)
class Adapters:
    """What a config says of several adapters.

    Attributes:
        entries: Where each is, or of what it is merged, by name.
        active: The one that is in use at first; the base is read as it where the config has no features.
        read: Returns the sections of the run in a directory, and how it writes text.
    """

    entries: Mapping[str, NamedAdapter]
    active: str
    read: Callable[[Path], tuple[LlmSections, Any]]


class Several(Llm):
    """A base, read and answered as the config says, and the same weights under each of its adapters.

    An adapter that comes from a run is read and answered as in that run.

    Attributes:
        named: The adapters that were loaded, by name.
        settings: How the runs among them write text, by name; for who predicts.
    """

    def __init__(self, sections: LlmSections, adapters: Adapters) -> None:
        super().__init__(sections)
        self.adapters = adapters
        self.named: dict[str, Llm] = {}
        self.settings: dict[str, Any] = {}
        self._runs: dict[str, Path] = {}  # where the config and the States of an adapter are

    def choose(self, name: str) -> Llm:
        """Return the model under an adapter, or the base.

        Raises:
            ModelError: If no adapter has this name.
        """
        if name == BASE:
            return self
        if name not in self.named:
            raise ModelError(f"no adapter is named {choose_from(name, [*self.named, BASE])}")
        return self.named[name]

    def columns_read(self, table: pd.DataFrame) -> list[str]:
        return super().columns_read(table) if self.inputs else []

    def learn(self, train: pd.DataFrame, *held_out: pd.DataFrame) -> None:
        if not self.inputs:
            problem = "are those of the runs under adapters, and nothing is trained here; use predict or evaluate"
            raise ConfigError("config", [Problem("input_features", problem)])
        super().learn(train, *held_out)

    def zero_shot(self, columns: Sequence[str]) -> Self:
        if self.inputs:
            return super().zero_shot(columns)
        self.backbone = self.sections.open(str(self.sections.base_model))
        return self

    def build(self, *, total_steps: int, seed: int, device: str, shards: bool = False) -> Self:
        super().build(total_steps=total_steps, seed=seed, device=device, shards=shards)
        places = {}
        for name, entry in self.adapters.entries.items():
            if entry.pretrained_adapter_weights is not None:
                with _told(name):
                    folder = find_adapter(entry.pretrained_adapter_weights)
                    places[name] = run_folder(entry.pretrained_adapter_weights) or folder
        self._open_all(places, device)
        for name, entry in self.adapters.entries.items():
            if entry.sources:
                with _told(name):
                    self._combine(name, entry)
        self.named = {name: self.named[name] for name in self.adapters.entries}
        return self

    def _open_all(self, places: Mapping[str, Path], device: str) -> None:
        """Load adapters from run directories, then those from folders that hold nothing else, and may need a run."""
        for name in sorted(places, key=lambda name: run_folder(str(places[name])) is None):
            with _told(name):
                self._open(name, places[name], device)
        if not self.sections.inputs:
            with _told(self.adapters.active):
                first = self._active()
                self.read_as(first)
                self.importance = first.importance

    def _open(self, name: str, place: Path, device: str) -> None:
        """Load an adapter from a run directory, or from a folder that holds nothing else."""
        self._check_type(name, find_adapter(str(place)))
        if run_folder(str(place)) is None:
            reads = self if self.sections.inputs else self._active()
            self.named[name] = reads.with_adapter(place, self)
            return
        run = Run(place)
        run.verify()
        sections, self.settings[name] = self.adapters.read(place)
        other = Llm(sections)
        if read_json(run.model / GOLDEN)["base"] != self.backbone.fingerprint:
            raise ModelError(
                f"{place} was trained on {other.sections.base_model}, which is not the same as "
                f"{self.sections.base_model}; write that as base_model, and the adapters of one base together"
            )
        self.named[name] = other.restore(run.model, run.read("features"), device=device, beside=self)
        self._runs[name] = place

    def _check_type(self, name: str, folder: Path) -> None:
        wanted, found = self.adapters.entries[name].type, open_adapter(folder)
        if wanted is not None and adapters[wanted].peft_type != found.peft_type:
            kind = found.config.type
            raise ModelError(f"{folder} holds an adapter of type {kind}, not {wanted}; write type: {kind}")

    def _active(self) -> Llm:
        """Return the model of the active adapter, or of the first one that it is merged of."""
        name = self.adapters.active if self.adapters.active != BASE else next(iter(self.adapters.entries))
        name = next(iter(self.adapters.entries[name].sources), name)
        if name not in self._runs:
            raise ModelError(
                "it is no run, and the config has no input_features that say how a row is read; write them and "
                "output_features, or let active_adapter name a run, which brings its own"
            )
        return self.named[name]

    def _combine(self, name: str, entry: NamedAdapter) -> None:
        """Make an adapter of others; it is read and answered as the first of them."""
        first = entry.sources[0]
        with TemporaryDirectory() as folder:
            sources = [Path(folder) / "sources" / source for source in entry.sources]
            for source in sources:
                self.named[source.name].save_adapter(source)
            combine_adapters(self.module.backbone, sources, entry, Path(folder) / "merged")
            self.named[name] = self.named[first].with_adapter(Path(folder) / "merged", self)
        if first in self._runs:
            self._runs[name], self.settings[name] = self._runs[first], self.settings[first]

    def states(self) -> dict[str, Any]:
        return super().states() if self.sections.inputs else {}

    def save(self, folder: Path, digest: list[float] | None = None) -> None:
        if self.sections.inputs:
            super().save(folder, digest)
        for name, other in self.named.items():
            place = folder / ADAPTERS / name
            if name not in self._runs:
                other.save_adapter(place)
                continue
            run = Run(place)
            run.take_config(Run(self._runs[name]))
            run.write_features(other.states())
            with atomic_folder(run.model) as inner:
                other.save(inner)
            run.mark("finished")

    def restore(self, folder: Path, states: Mapping[str, Any], *, device: str, beside: Llm | None = None) -> Self:
        if self.sections.inputs:
            super().restore(folder, states, device=device)
        else:
            self.backbone = self.sections.open(str(self.sections.base_model))
            base = load_base(self.backbone, self.sections, None, trains=False, device=device)
            self.module = build_causal(base).eval()
        self._open_all({name: folder / ADAPTERS / name for name in self.adapters.entries}, device)
        self.named = {name: self.named[name] for name in self.adapters.entries}
        return self


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Say which adapter it is that something is wrong with."""
    try:
        yield
    except (ModelError, RunError) as error:
        raise type(error)(f"adapters.{name}: {error}") from error
