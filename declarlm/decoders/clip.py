"""Bounds of a predicted number, for every decoder that gives one."""

from __future__ import annotations

from declarlm.core import Problem, Section, param
from declarlm.core.section import Rules


class ClipConfig(Section):
    """The parameter ``clip``."""

    clip: list[float] | None = param(
        "Smallest and largest prediction, in the column's unit; one beyond is moved to the bound.", default=None
    )

    def check(self) -> Rules:
        yield from super().check()
        if self.clip is not None and (len(self.clip) != 2 or self.clip[0] >= self.clip[1]):
            yield Problem("clip", f"must be a smaller and a larger number, got {self.clip}")
