"""What the verbs print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from declarlm.api import Metrics
    from declarlm.api.comparing import Comparison


def say(text: str) -> None:
    """Print what is no result."""
    print(text, file=sys.stderr)


def print_json(data: Any) -> None:
    """Print a result for a machine."""
    from declarlm.core.files import finite

    print(json.dumps(finite(data), ensure_ascii=False, indent=2, allow_nan=False))


def print_plugins(kinds: Mapping[str, Mapping[str, str]]) -> None:
    """Print the summary of each plugin by kind and name, wrapped where somebody reads it in a terminal."""
    screen = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for number, (kind, plugins) in enumerate(kinds.items()):
        if number:
            print()
        typer.secho(kind, bold=True)
        width = max(map(len, plugins), default=0)
        for name, summary in plugins.items():
            start = f"  {name:<{width}}  "
            print(textwrap.fill(summary, screen, initial_indent=start, subsequent_indent=" " * len(start)))


def print_layers(base: str, layers: Sequence[Mapping[str, Any]]) -> None:
    """Print the linear layers of a base; those with a star are the ones that ``target_modules: auto`` means."""
    typer.secho(f"linear layers of {base} (* in target_modules: auto)", bold=True)
    width = max(len(str(layer["name"])) for layer in layers)
    for layer in layers:
        mark, name = "*" if layer["adapted"] else " ", layer["name"]
        sizes = f"{layer['inputs']} -> {layer['outputs']}"
        print(f"  {mark} {name:<{width}}  {layer['count']:>4} x {sizes:<14} {layer['example']}")


def print_metrics(metrics: Metrics) -> None:
    """Print metrics with one column for each split, grouped by output feature."""
    splits = list(metrics)
    features = dict.fromkeys(feature for split in splits for feature in metrics[split])
    rows = {
        feature: dict.fromkeys(name for split in splits for name in metrics[split].get(feature, {}))
        for feature in features
    }
    width = max((len(name) + 2 for feature in rows for name in (*rows[feature], feature)), default=0)
    typer.secho(f"{'':<{width}}" + "".join(f"{split:>13}" for split in splits), bold=True)
    for feature, names in rows.items():
        typer.secho(feature, bold=True)
        for name in names:
            values = [metrics[split].get(feature, {}).get(name) for split in splits]
            print(f"  {name:<{width - 2}}" + "".join(f"{_figure(value):>13}" for value in values))


def print_comparison(found: Comparison) -> None:
    """Print the metrics of base and tuned model side by side, what was forgotten, and answers of both."""
    print_metrics(found.metrics)
    for name, number in found.changed.items():
        print(f"{name}: {number} of {found.rows} answers differ")
    if found.forgetting is not None:
        print(found.forgetting.sentence)
    for sample in found.dump()["samples"]:
        print()
        width = max(map(len, sample))
        for name, value in sample.items():
            print(f"  {name:<{width}}  {_shortened(value)}")


def _shortened(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else f"{text[:199]}…"


def _figure(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10_000 else f"{value:.5g}"
