"""The documentation of the installed Python and of the libraries that Declarlm builds on, read without importing it."""

from __future__ import annotations

import ast
import importlib.metadata
import random
import re
import sysconfig
import zlib
from collections.abc import Iterator
from pathlib import Path

# Import names; their licences (PSF, BSD, MIT, Apache-2.0) are written beside the corpus by `sources`.
LIBRARIES = (
    *("accelerate", "click", "fsspec", "huggingface_hub", "jinja2", "joblib", "marshmallow", "mpmath", "narwhals"),
    *("networkx", "numpy", "packaging", "pandas", "peft", "pip", "pyarrow", "pygments", "rich", "safetensors"),
    *("scipy", "sklearn", "sympy", "tokenizers", "torch", "transformers", "typer", "yaml"),
)
SKIPPED_FOLDERS = {"tests", "test", "testing", "_vendor", "idle_test", "site-packages", "__pycache__", "lib2to3"}


def is_held_out(docstring: str) -> bool:
    """Tell whether the quickstart tests on this docstring of the standard library; the corpus leaves it out."""
    return zlib.crc32(docstring.encode()) % 10 == 0


def modules(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """Yield the dotted name and the syntax tree of each module below a folder, in the order of their paths."""
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root.parent)
        if SKIPPED_FOLDERS.isdisjoint(path.relative_to(root).parts):
            try:
                yield ".".join(inside.with_suffix("").parts), ast.parse(path.read_bytes())
            except SyntaxError:
                continue  # A template or a file that is broken on purpose.


def docstrings(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    """Yield heading and docstring of a module and of its classes and functions; long texts of `*_docs` too."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            if isinstance(node, ast.Module):
                yield module, text
            elif isinstance(node, ast.ClassDef):
                yield f"class {module.rsplit('.', 1)[-1]}.{node.name}", text
            else:
                yield f"{node.name}({ast.unparse(node.args)})", text
        elif module.endswith(("docs", "topics")) and (text := long_text(node)):
            yield "", text  # The documentation of C functions and of help() stands in such modules.


def long_text(node: ast.AST) -> str:
    """Return the text of a long string constant, nothing of any other node."""
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) and len(value) > 300 else ""


def documents(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield library and text of each documented thing, every paragraph once, three in four doctests left out."""
    seen: set[str] = set()
    for name in ["stdlib", *LIBRARIES]:
        root = Path(sysconfig.get_path("stdlib")) if name == "stdlib" else Path(sysconfig.get_path("purelib")) / name
        for module, tree in modules(root):
            for heading, text in docstrings(tree, module):
                if name == "stdlib" and is_held_out(text):
                    continue
                kept = []
                for paragraph in re.split(r"\n\s*\n", text):
                    plain = " ".join(paragraph.split())
                    is_example = plain.startswith((">>>", "..."))
                    if plain and plain not in seen and not (is_example and rng.random() < 0.75):
                        seen.add(plain)
                        kept.append(paragraph)
                if kept:
                    yield name, "\n".join([heading, "\n\n".join(kept)]).strip()


def sources() -> list[dict[str, str]]:
    """Return name, version and licence of each library."""
    owners = importlib.metadata.packages_distributions()
    rows = [{"name": "Python", "version": sysconfig.get_python_version(), "licence": "PSF-2.0"}]
    for library in LIBRARIES:
        meta = importlib.metadata.metadata(owners[library][0])
        classifiers = [c.rsplit(" :: ", 1)[-1] for c in meta.get_all("Classifier") or [] if c.startswith("License")]
        named = meta.get_all("License-Expression") or classifiers or meta.get_all("License") or ["see the library"]
        licence = ", ".join(named)
        rows.append({"name": meta["Name"], "version": meta["Version"], "licence": licence.splitlines()[0]})
    return rows
