"""Trained adapters by name, of which one base can have several: where they are, and how some become a new one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeAlias

from declarlm.adapters.base import Adapter, adapters
from declarlm.backbones.find import ADAPTER_FILES, find_folder
from declarlm.backbones.trust import check_adapter_config
from declarlm.core import ModelError, Problem, Section, param
from declarlm.core.errors import choose_from

Combination: TypeAlias = Literal[
    "cat", "linear", "svd", "ties", "ties_svd", "dare_linear", "dare_linear_svd", "dare_ties", "dare_ties_svd"
]
BASE = "base"  # what stands for no adapter, so no adapter can have this name


class Merge(Section):
    """How adapters become a new one."""

    weights: list[float] = param("Weight of each source, negative to take it away; empty is equal shares.", default=[])
    combination_type: Combination = param(
        "What is added: the updates themselves (cat, exact, with the sum of the ranks; svd, cut to a rank again), "
        "their factors (linear, rough: cross terms remain), or the entries that ties or dare leave of either.",
        default="cat",
    )
    density: float = param("Share of the entries that ties and dare keep.", default=0.5, above=0, max=1)
    svd_rank: int | None = param("Rank of what svd makes; null is the largest of the sources.", default=None, min=1)
    seed: int = param("Seed of the entries that dare drops.", default=42, min=0, max=2**63 - 1)

    def check(self) -> Iterable[Problem]:
        usual = type(self)()
        unread = [
            ("density", self.combination_type.startswith(("ties", "dare")), "ties or dare"),
            ("svd_rank", self.combination_type.endswith("svd"), "svd"),
            ("seed", self.combination_type.startswith("dare"), "dare"),
        ]
        for key, is_read, kinds in unread:
            if not is_read and getattr(self, key) != getattr(usual, key):
                yield Problem(key, f"has no effect with {self.combination_type!r}; leave it out, or choose {kinds}")

    def check_weights(self, number: int) -> Iterable[Problem]:
        """Yield what is wrong with the weights of that many sources."""
        if self.weights and len(self.weights) != number:
            yield Problem("weights", f"must be one for each of {number} adapters, got {len(self.weights)}")

    def shares(self, number: int) -> list[float]:
        """Return the weight of each of that many sources."""
        return list(self.weights) or [1 / number] * number


class NamedAdapter(Merge):
    """A trained adapter, or one that is merged of others."""

    type: str | None = param("Kind of the adapter; null is what its files say.", default=None)  # type: ignore[misc]
    pretrained_adapter_weights: str | None = param(
        "Run directory, or folder or Hub name of a trained adapter.", default=None
    )
    sources: list[str] = param("Names of the adapters that this one is merged of.", default=[])

    def check(self) -> Iterable[Problem]:
        yield from super().check()
        if self.type is not None and self.type not in adapters:
            yield Problem("type", f"no adapter is named {choose_from(self.type, adapters)}")
        if self.type is not None and self.sources:
            yield Problem("type", "is that of the sources; leave it out")
        if (self.pretrained_adapter_weights is None) == (not self.sources):
            yield Problem("", "needs pretrained_adapter_weights, or sources (to merge others), and not both")
        elif self.sources:
            yield from self.check_weights(len(self.sources))
            if len(self.sources) < 2:
                yield Problem("sources", "must name at least two adapters to merge")
        else:
            usual = Merge()
            for key in Merge.schema().fields:
                if getattr(self, key) != getattr(usual, key):
                    yield Problem(key, "is for an adapter that is merged of others; name them under sources")


def named(entry: str | NamedAdapter) -> NamedAdapter:
    """Return what a config says of an adapter, of which the place alone is enough."""
    return NamedAdapter(pretrained_adapter_weights=entry) if isinstance(entry, str) else entry


def run_folder(name: str) -> Path | None:
    """Return the run directory that is meant, None if it is something else."""
    folder = Path(name).expanduser()
    return folder if (folder / "STATUS").is_file() else None


def find_adapter(name: str) -> Path:
    """Return the folder of a trained adapter, after a download if nothing on this machine has that name.

    Args:
        name: Run directory, folder, or name on the Hugging Face Hub.

    Raises:
        ModelError: If there is none, or it is a run that trained no adapter.
    """
    run = run_folder(name)
    if run is None:
        return find_folder(name, ADAPTER_FILES)
    folder = run / "model" / "adapter"
    if not folder.is_dir():
        raise ModelError(f"{run} is a run without an adapter; give one that trained an adapter on this base")
    return folder


def open_adapter(folder: Path) -> Adapter:
    """Return what loads the adapter in a folder, by the kind that its own config says.

    Raises:
        ModelError: If the folder holds no adapter, or one of an unknown kind.
        RefusedError: If it is unsafe to open.
    """
    kind = str(check_adapter_config(folder).get("peft_type"))
    fitting = list(adapters.where(peft_type=kind))
    if not fitting:
        raise ModelError(f"{folder} holds an adapter of type {kind.lower()}, which Declarlm does not know")
    plugin = adapters[kind.lower() if kind.lower() in fitting else fitting[0]]
    return plugin.Config(pretrained_adapter_weights=str(folder)).build()  # type: ignore[no-any-return]
