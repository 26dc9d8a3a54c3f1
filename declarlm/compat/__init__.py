"""Old and foreign spellings of a config, translated before it is validated: plain data to plain data."""

from declarlm.compat.upgrade import upgrade

__all__ = ["upgrade"]
