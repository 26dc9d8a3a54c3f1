"""Spaces: the values that a search may give to a parameter."""

from declarlm.hyperopt.spaces.base import Interval, Options, Space, spaces

__all__ = ["Interval", "Options", "Space", "spaces"]
