"""What a sweep leaves to read: tables for programs, a page for people."""

from declarlm.hyperopt.report.files import command, trial_table, write_report

__all__ = ["command", "trial_table", "write_report"]
