"""The run directory: everything about one training, self-contained and relocatable."""

from declarlm.run.card import Card
from declarlm.run.directory import NAME, Run, Status, create_run, make_folder, open_run, resume_run

__all__ = ["NAME", "Card", "Run", "Status", "create_run", "make_folder", "open_run", "resume_run"]
