"""Where the files of a model are: a folder, this package, the cache of the Hugging Face Hub, or the Hub itself."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from declarlm.core import ModelError

STARTER = Path(__file__).parent / "starter"
BASE_FILES = (
    *("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.*", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "chat_template*"),
    *("model.safetensors", "model-*.safetensors", "model.safetensors.index.json"),
)
CODE_FILES = ("*.py",)
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_HUB_NAME = re.compile(r"(?P<repository>[\w-][\w.-]*(/[\w-][\w.-]*)?)(@(?P<revision>[\w./-]+))?")


def find_folder(name: str, files: Sequence[str] = BASE_FILES) -> Path:
    """Return the folder of a model, after a download if nothing on this machine has that name.

    Args:
        name: A folder, ``starter``, or a name on the Hugging Face Hub, with ``@revision`` to pin it.
        files: Patterns of the files to download.

    Raises:
        ModelError: If there is no such model, or it would have to be downloaded and that is not allowed.
    """
    if name == "starter":
        return _starter()
    local = Path(name).expanduser()
    if not name.strip():
        raise ModelError("no model is named; write a folder, starter, or a name on the Hugging Face Hub")
    if local.is_dir():
        return local.resolve()
    if local.is_file():
        raise ModelError(f"{name!r} is a file; write the folder that holds it and its config.json")
    hub_name = _HUB_NAME.fullmatch(name)
    if hub_name is None:
        raise ModelError(f"there is no folder {name!r}{_hint(local)}")
    return _from_hub(name, hub_name["repository"], hub_name["revision"], files, _hint(local))


def is_offline() -> bool:
    """Return whether the environment forbids downloads, as ``--offline`` does."""
    switches = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(switch.upper() in {"1", "ON", "YES", "TRUE"} for switch in switches)


def _starter() -> Path:
    if not (STARTER / "config.json").is_file():
        raise ModelError(
            "the starter base is missing from this installation; install declarlm again, or write another base_model"
        )
    return STARTER


def _hint(missing: Path) -> str:
    """Return which folder beside the missing one has nearly its name, or whether the starter is meant."""
    beside = missing.parent
    folders = [path.name for path in beside.iterdir() if path.is_dir()] if beside.is_dir() else []
    names = {name: str(beside / name) for name in folders}
    if len(missing.parts) == 1:
        names["starter"] = "starter"
    close = get_close_matches(missing.name, names, n=1)
    return f" (did you mean {names[close[0]]!r}?)" if close else ""


def _from_hub(name: str, repository: str, revision: str | None, files: Sequence[str], hint: str) -> Path:
    """Return the folder of a Hub model: the cached one, so that what was used once needs no network."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    patterns = list(files)
    try:
        cached = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, local_files_only=True))
        if is_offline() or _has_all_weights(cached):
            return cached
    except (LocalEntryNotFoundError, HFValidationError):
        if is_offline():
            raise ModelError(
                f"there is no folder {name!r}{hint} and it is not in the cache ({constants.HF_HUB_CACHE}); "
                "write the path of a local folder, or allow downloads: without --offline and HF_HUB_OFFLINE"
            ) from None
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except GatedRepoError:
        raise ModelError(
            f"{name!r} is only open to those who accepted its terms: do so on https://huggingface.co/{repository}, "
            "then run: hf auth login"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(f"{name!r} is neither a folder{hint} nor a model on the Hugging Face Hub") from None
    except RevisionNotFoundError:
        raise ModelError(f"{repository!r} has no revision {revision!r} on the Hugging Face Hub") from None
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().removeprefix("Got: ").partition("\n")[0]
        raise ModelError(
            f"there is no folder {name!r}{hint} and it cannot be downloaded from the Hugging Face Hub ({reason}); "
            "write the path of a local folder or connect to the network"
        ) from error


def _has_all_weights(folder: Path) -> bool:
    """Return whether an earlier download was complete."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return any(folder.glob("*.safetensors"))
    parts = set(json.loads(index.read_bytes()).get("weight_map", {}).values())
    return all((folder / part).is_file() for part in parts)
