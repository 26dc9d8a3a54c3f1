"""The page that shows how far probabilities can be believed, before and after they were calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from declarlm.evaluation.calibration import Tuned
from declarlm.metrics.calibration import Bin, expected_error

_SIZE, _LEFT, _BELOW, _ABOVE = 300.0, 44.0, 40.0, 12.0
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:720px;margin:2rem auto;padding:0 1rem;color:#1c2733}"
    "figure{display:inline-block;margin:0 1rem 1rem 0}figcaption{text-align:center}"
    "svg{width:320px;height:auto;display:block}text{font-size:11px;fill:#51606e}"
    ".grid{stroke:#e3e8ec}.ideal{stroke:#51606e;stroke-dasharray:4 3}"
    ".right{fill:#2b6cb0}.over{fill:#efb898}.under{fill:#9cc4e8}"
)


def page(tuned: Sequence[Tuned]) -> str:
    """Return one HTML page that loads nothing and runs nothing, with two diagrams for each output."""
    parts = [_section(one) for one in tuned]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>Reliability</title>'
        f"<style>{_STYLE}</style></head><body><h1>How far probabilities can be believed</h1>"
        "<p>Validation rows in bins by the probability of their most probable label. Blue, its light end included, is "
        "the share of rows in which that label is right; orange on top is what their mean probability promised beyond "
        "that, the light end what it promised too little. On the dashed line both are the same."
        f"</p>{''.join(parts)}</body></html>\n"
    )


def _section(tuned: Tuned) -> str:
    chosen = [f"temperature {tuned.temperature:.4g}"] if tuned.temperature is not None else []
    chosen += [f"threshold {tuned.threshold:.4g}"] if tuned.threshold is not None else []
    rows = sum(one.rows for one in tuned.before)
    figures = [("before", tuned.before)]
    figures += [("after", tuned.after)] if tuned.temperature is not None else []
    drawn = "".join(
        f"<figure>{diagram(bins, f'{tuned.name}, {when}')}"
        f"<figcaption>{when}: expected calibration error {expected_error(bins):.3f}</figcaption></figure>"
        for when, bins in figures
    )
    return f"<h2>{escape(tuned.name)}</h2><p>{', '.join(chosen)}, from {rows} rows</p>{drawn}"


def diagram(bins: Sequence[Bin], title: str) -> str:
    """Return a reliability diagram as SVG; every bar says on hover what it is."""
    right, bottom = _LEFT + _SIZE, _ABOVE + _SIZE

    def across(share: float) -> float:
        return _LEFT + share * _SIZE

    def down(share: float) -> float:
        return bottom - share * _SIZE

    marks = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        marks.append(f'<path class="grid" d="M{_LEFT} {down(tick):.1f}H{right}"/>')
        marks.append(f'<text x="{_LEFT - 6}" y="{down(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
        marks.append(f'<text x="{across(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for one in bins:
        if not one.rows:
            continue
        x, width = across(one.lower) + 1, across(one.upper) - across(one.lower) - 2
        low, high = sorted((one.accuracy, one.confidence))
        gap = "over" if one.confidence > one.accuracy else "under"
        told = (
            f"<title>{one.rows} rows, probability {one.lower:.2f} to {one.upper:.2f}\n"
            f"mean probability {one.confidence:.3f}, right {one.accuracy:.3f}</title>"
        )
        for kind, top, base in (("right", one.accuracy, 0.0), (gap, high, low)):
            height = max(down(base) - down(top), 0.5)
            place = f'x="{x:.1f}" y="{down(top):.1f}" width="{width:.1f}" height="{height:.1f}"'
            marks.append(f'<rect class="{kind}" {place}>{told}</rect>')
    marks.append(f'<path class="ideal" d="M{_LEFT} {bottom}L{right} {_ABOVE}"/>')
    marks.append(f'<text x="{across(0.5)}" y="{bottom + 34}" text-anchor="middle">probability</text>')
    marks.append(f'<text transform="translate(10 {down(0.5)}) rotate(-90)" text-anchor="middle">share right</text>')
    head = f'<svg viewBox="0 0 {right + 12:.0f} {bottom + _BELOW:.0f}" role="img" aria-label="{escape(title)}">'
    return f"{head}{''.join(marks)}</svg>"
