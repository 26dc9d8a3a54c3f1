"""Write the reference pages from the code: one page per kind of plugin, one for the sections of a config.

python docs/make_reference.py docs/reference        (make docs)
"""

from __future__ import annotations

import sys
from pathlib import Path

from declarlm.config import REGISTRIES, EcdConfig, LlmConfig, ModelConfig
from declarlm.core.reference import parameters, reference


def pages() -> dict[str, str]:
    """Return the Markdown of each page by its file name."""
    plugins = {f"{kind}.md": f"# {_title(kind)}\n\n{reference(REGISTRIES[kind])}\n" for kind in REGISTRIES}
    return {"README.md": _index(), "config.md": _config(), **plugins}


def _title(kind: str) -> str:
    return kind.replace("_", " ").capitalize()


def _index() -> str:
    links = [
        f"- [{_title(kind)}]({kind}.md): {', '.join(f'`{name}`' for name in REGISTRIES[kind])}" for kind in REGISTRIES
    ]
    lines = [
        "# Reference",
        "",
        "Written from the code by `make docs`. `declarlm list` shows the same in a terminal.",
        "",
        "- [Config](config.md): the sections of a config, and their defaults",
        *links,
    ]
    return "\n".join(lines) + "\n"


def _config() -> str:
    """Return the page of the sections; what both kinds of model have comes first, once."""
    shared = parameters(ModelConfig).splitlines()
    parts = [
        "# Config",
        "A section is written as nested YAML: `prompt.task` is `task` under `prompt`. `model_type` may be left out: "
        "it is `llm` with a `base_model` or an `architecture`, else `ecd`.",
        "## Every model",
        "\n".join(shared),
    ]
    for name, section in {"llm": LlmConfig, "ecd": EcdConfig}.items():
        own = [line for line in parameters(section).splitlines() if line not in shared[2:]]
        parts += [f"## Only model_type {name}", "\n".join(own)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write every page into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
