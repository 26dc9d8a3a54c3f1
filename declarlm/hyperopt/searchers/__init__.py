"""Searchers: what is tried next."""

from declarlm.hyperopt.searchers.base import Outcome, Searcher, searchers

__all__ = ["Outcome", "Searcher", "searchers"]
