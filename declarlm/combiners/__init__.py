"""Combiners: from the hidden vectors of all inputs to one."""

from declarlm.combiners.base import Combiner, combiners

__all__ = ["Combiner", "combiners"]
