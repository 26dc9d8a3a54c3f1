"""The documentation of the running Python as rows: docstring, module family, summary."""

from __future__ import annotations

import ast
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

FAMILIES = {
    "concurrency": "asyncio threading multiprocessing concurrent queue subprocess selectors sched signal contextvars",
    "mail": "email mailbox smtplib imaplib poplib nntplib mimetypes quopri mailcap netrc",
    "web": "http urllib xmlrpc wsgiref ssl socket socketserver ftplib telnetlib ipaddress cgi webbrowser",
    "files": "pathlib os shutil tempfile tarfile zipfile bz2 gzip lzma _pyio glob ntpath posixpath fileinput",
    "formats": "json csv xml configparser plistlib pickle pickletools tomllib html sqlite3 dbm shelve base64 uuid",
    "text": "encodings codecs difflib re string textwrap locale gettext shlex pprint stringprep",
    "numbers and time": "_pydecimal statistics random fractions numbers datetime _pydatetime calendar zoneinfo",
    "language": "importlib inspect ast dis typing types symtable tokenize enum dataclasses functools contextlib",
    "debugging": "pdb bdb unittest doctest traceback trace pydoc timeit logging warnings tracemalloc pstats cProfile",
    "windows": "tkinter idlelib turtle turtledemo curses",
    "packaging": "distutils ensurepip venv site sysconfig zipapp platform zipimport runpy",
}
FAMILY_OF = {module: family for family, modules in FAMILIES.items() for module in modules.split()}
SKIPPED_FOLDERS = {"tests", "test", "idle_test", "site-packages", "_vendor", "__pycache__"}


def docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and docstring of a source file's module, classes and functions, read without running it."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return  # A template, or a file that is broken on purpose.
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield path.stem if isinstance(node, ast.Module) else node.name, text


def part_of(docstring: str) -> str:
    """Return the part a row belongs to. The starter base was made without the docstrings of the test part."""
    return {0: "test", 1: "validation"}.get(zlib.crc32(docstring.encode()) % 10, "train")


def collect() -> pd.DataFrame:
    """Return the rows ``name, family, text, summary, body, part``, each docstring once."""
    root = Path(sysconfig.get_path("stdlib"))
    rows: dict[str, dict[str, str]] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        family = FAMILY_OF.get(parts[0])
        if family is None or not SKIPPED_FOLDERS.isdisjoint(parts):
            continue
        for name, docstring in docstrings(path):
            summary, _, body = docstring.partition("\n\n")
            row = {
                "name": name,
                "family": family,
                "text": " ".join(docstring.split())[:400],
                "summary": " ".join(summary.split()),
                "body": " ".join(body.split())[:400],
                "part": part_of(docstring),
            }
            if len(row["text"]) >= 40:
                rows.setdefault(" ".join(docstring.split()), row)
    return pd.DataFrame(list(rows.values()))
