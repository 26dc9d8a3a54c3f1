"""The verbs of the Python API for the shell.

Results go to stdout, everything else to stderr. An error that somebody can act on is one message and an exit code
of its own, never a traceback.
"""

from declarlm.cli.app import main

__all__ = ["main"]
