"""The pictures of a sweep, as SVG that stands in a page: no script, and every mark says on hover what it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from declarlm.hyperopt.report.scales import Scale, scale_of, shown
from declarlm.hyperopt.spaces import Interval, Options
from declarlm.hyperopt.trial import Trial

WIDTH = 720.0


@dataclass(frozen=True)
class Frame:
    """A drawing area: an axis below, an axis on the left, both of a scale.

    Attributes:
        x: Scale from left to right.
        y: Scale from bottom to top.
        width: Width of the picture.
        height: Height of the picture.
        left: Room for the ticks of the left axis.
        bottom: Room for the ticks below.
    """

    x: Scale
    y: Scale
    width: float
    height: float
    left: float = 56.0
    bottom: float = 40.0

    def at(self, x: Any, y: Any) -> tuple[float, float]:
        """Return where a point lies in the picture."""
        return self.across(self.x.place(x)), self.down(self.y.place(y))

    def across(self, share: float) -> float:
        """Return the horizontal place of a share of the axis."""
        return self.left + share * (self.width - self.left - 12)

    def down(self, share: float) -> float:
        """Return the vertical place of a share of the axis."""
        return self.height - self.bottom - share * (self.height - self.bottom - 12)

    def draw(self, marks: Sequence[str], title: str, below: str = "") -> str:
        """Return the picture with its axes."""
        lines = []
        for share, text in self.y.ticks():
            at = self.down(share)
            lines.append(f'<path class="grid" d="M{self.left:.1f} {at:.1f}H{self.width - 12:.1f}"/>')
            lines.append(_text(self.left - 6, at + 4, text, "tick", "end"))
        for share, text in self.x.ticks():
            at = self.across(share)
            lines.append(_text(at, self.height - self.bottom + 16, text, "tick", "middle"))
        if below:
            lines.append(_text((self.left + self.width - 12) / 2, self.height - 4, below, "axis", "middle"))
        return _svg(self.width, self.height, [*lines, *marks], title)


def best_so_far(trials: Sequence[Trial], sign: int, metric: str) -> str:
    """Return each trial's metric in order, and the best one up to there."""
    scored = [trial for trial in trials if trial.value is not None]
    frame = Frame(_counting(len(trials)), _padded([trial.value for trial in scored]), WIDTH, 260)
    path, best = "", -math.inf
    for trial in scored:
        x, y = frame.at(trial.number, trial.value)
        if sign * _number(trial.value) > best:
            best = sign * _number(trial.value)
            path += f"H{x:.1f}V{y:.1f}" if path else f"M{x:.1f} {y:.1f}"
    end = f"H{frame.at(max(len(trials) - 1, 0), 0)[0]:.1f}" if path else ""
    line = f'<path class="best" d="{path}{end}"/>'
    dots = [_dot(*frame.at(trial.number, trial.value), trial, metric) for trial in scored]
    return frame.draw([line, *dots], f"{metric} of each trial, and the best so far", "trial")


def against(trials: Sequence[Trial], path: str, shape: Options | Interval | None, metric: str) -> str:
    """Return the metric of each trial against its value of one parameter."""
    scored = [trial for trial in trials if trial.value is not None]
    x = scale_of([trial.values[path] for trial in scored], shape)
    frame = Frame(x, _padded([trial.value for trial in scored]), 348, 220)
    dots = [_dot(*frame.at(trial.values[path], trial.value), trial, metric) for trial in scored]
    return frame.draw(dots, f"{metric} against {path}", path)


def parallel(trials: Sequence[Trial], shapes: Mapping[str, Options | Interval | None], sign: int, metric: str) -> str:
    """Return an axis for each parameter and one for the metric, and a line through them for each trial."""
    scored = sorted(
        (trial for trial in trials if trial.value is not None), key=lambda trial: sign * _number(trial.value)
    )
    scales = {path: scale_of([trial.values[path] for trial in scored], shape) for path, shape in shapes.items()}
    scales[metric] = _padded([trial.value for trial in scored])
    height, top, bottom = 300.0, 44.0, 284.0
    step = (WIDTH - 120) / max(1, len(scales) - 1)
    places = {path: 60 + index * step for index, path in enumerate(scales)}

    def at(path: str, share: float) -> str:
        return f"{places[path]:.1f} {bottom - share * (bottom - top):.1f}"

    marks = []
    for place, trial in enumerate(scored):
        values = {**trial.values, metric: trial.value}
        line = "L".join(at(path, scale.place(values[path])) for path, scale in scales.items())
        rank = 1.0 if len(scored) == 1 else place / (len(scored) - 1)
        style = f'stroke="{_colour(rank)}" stroke-opacity="{0.35 + 0.65 * rank:.2f}"'
        marks.append(f'<path class="line" {style} d="M{line}"><title>{_told(trial, metric)}</title></path>')
    for index, (path, scale) in enumerate(scales.items()):
        x = places[path]
        marks.append(f'<path class="upright" d="M{x:.1f} {top}V{bottom}"/>')
        raised = 14 if index % 2 == 0 else 30
        marks.append(_text(x, raised, path, "axis", "middle"))
        for share, text in scale.ticks():
            y = bottom - share * (bottom - top)
            marks.append(_text(x + 5, y + 4, text, "tick halo"))
    return _svg(WIDTH, height, marks, "All trials: a line through the values of each, the best in the strongest colour")


def bars(shares: Mapping[str, float]) -> str:
    """Return a bar for each share."""
    room = 16 + 7.2 * max(map(len, shares))
    marks = []
    for index, (path, share) in enumerate(shares.items()):
        y = 8 + 28 * index
        width = share * (WIDTH - room - 60)
        marks.append(_text(room - 8, y + 15, path, "axis", "end"))
        marks.append(f'<rect class="bar" x="{room:.1f}" y="{y}" width="{max(width, 1):.1f}" height="20" rx="3"/>')
        marks.append(_text(room + width + 6, y + 14, f"{share:.0%}", "tick"))
    return _svg(WIDTH, 8 + 28 * len(shares), marks, "How much of the metric depends on each parameter")


def _svg(width: float, height: float, marks: Sequence[str], title: str) -> str:
    head = f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">'
    return f"{head}{''.join(marks)}</svg>"


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _dot(x: float, y: float, trial: Trial, metric: str) -> str:
    told = f"<title>{_told(trial, metric)}</title>"
    return f'<circle class="{trial.state}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">{told}</circle>'


def _told(trial: Trial, metric: str) -> str:
    values = "\n".join(f"{path}: {shown(value)}" for path, value in trial.values.items())
    return escape(f"trial {trial.number}, {trial.state}\n{metric}: {shown(trial.value)}\n{values}")


def _padded(values: Sequence[float | None]) -> Scale:
    """Return a scale with some room above and below the values."""
    numbers = [_number(value) for value in values] or [0.0, 1.0]
    room = (max(numbers) - min(numbers)) * 0.06 or abs(max(numbers)) * 0.05 or 0.5
    return Scale(min(numbers) - room, max(numbers) + room)


def _counting(count: int) -> Scale:
    return Scale(-0.5, max(count - 0.5, 0.5))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _colour(rank: float) -> str:
    """Return a colour from grey, the worst, to blue, the best."""
    worst, best = (150, 158, 168), (31, 95, 191)
    red, green, blue = (round(low + rank * (high - low)) for low, high in zip(worst, best, strict=True))
    return f"rgb({red},{green},{blue})"
