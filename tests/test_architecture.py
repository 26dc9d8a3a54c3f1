"""Which room may import which (only the ones further down), and what importing costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "declarlm"
ROOMS = [
    *(
        "cli",
        "serving",
        "api",
        "config",
        "completion",
        "hyperopt",
        "export",
        "planning",
        "objectives",
        "rewards",
        "evaluation",
    ),
    *("inference", "backends", "training", "models", "data", "features", "decoders", "metrics", "losses", "combiners"),
    *("encoders", "adapters", "backbones", "prompts", "run", "compat", "layers", "core"),
]
HEAVY = {"torch", "transformers", "peft", "pandas", "sklearn", "bitsandbytes", "accelerate", "pyarrow", "scipy"}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def named(path: Path) -> str:
    parts = ("declarlm", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, tree: ast.AST) -> list[str]:
    """Every module that a file imports, anywhere in it, with relative names resolved."""
    found = []
    package = named(path).split(".") if path.name == "__init__.py" else named(path).split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [f"{module}.{alias.name}" if module == "declarlm" else module for alias in node.names]
    return found


def module_level(tree: ast.Module) -> list[ast.stmt]:
    """The statements that run on import, without what only a type checker sees."""
    return [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_point_down(path):
    own = ROOMS.index(named(path).split(".")[1])
    for module in imports(path, ast.parse(path.read_text())):
        if module.startswith("declarlm."):
            assert ROOMS.index(module.split(".")[1]) >= own, f"{named(path)} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_layers_import_heavy_packages_at_module_level(path):
    if "layers" in path.parts:
        return
    tree = ast.Module(body=module_level(ast.parse(path.read_text())), type_ignores=[])
    on_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    heavy = {module.split(".")[0] for module in imports(path, ast.Module(body=on_import, type_ignores=[]))} & HEAVY
    assert not heavy, f"{named(path)} imports {heavy} at module level"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_fit_on_a_screen(path):
    source = path.read_text()
    assert source.count("\n") <= 400, f"{path} has more than 400 lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{path}: {node.name} is longer than 60 lines"


def test_a_resolved_relative_import_is_seen():
    tree = ast.parse("from ..encoders import base\nfrom . import x\nimport declarlm.cli as c")
    found = imports(ROOT / "core" / "section.py", tree)
    assert found == ["declarlm.encoders", "declarlm.core", "declarlm.cli"]


def test_validation_loads_no_heavy_package():
    config = {"model_type": "llm", "base_model": "x", "adapter": "lora"}
    config["input_features"] = [{"name": "a", "type": "text"}]
    config["output_features"] = [{"name": "b", "type": "text"}]
    code = f"import sys, declarlm; declarlm.load_config({config!r}); print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
