"""This process."""

from __future__ import annotations

from declarlm.backends.base import Backend, backends


@backends.register("local")
class Local(Backend):
    """Train and predict in this process, on one device."""

    is_here = True
