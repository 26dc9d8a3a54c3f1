"""What tests in every folder share: where the real data and models lie."""

import os
from pathlib import Path

import hypothesis
import pytest

# The same examples everywhere, so that a test that fails on one machine fails on all.
hypothesis.settings.register_profile("same everywhere", derandomize=True)
hypothesis.settings.load_profile("same everywhere")

# One thread, for this process and those that tests start: sums are then made in one order, so runs can be compared
# to the last bit, and tests do not slow down when other programs use the processors.
os.environ["OMP_NUM_THREADS"] = "1"

SHARED = Path(os.environ.get("DECLARLM_SHARED", Path(__file__).parents[2] / "shared")).resolve()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data (``data/``) and small real models (``models/``)."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no shared data and models in {SHARED}; set DECLARLM_SHARED")
    return SHARED


@pytest.fixture(scope="session")
def stories(shared: Path) -> str:
    """The folder of a real Llama with 260,032 weights, trained on TinyStories."""
    return str(shared / "models" / "stories260K")


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test's cache away from the user's."""
    monkeypatch.setenv("DECLARLM_CACHE", str(tmp_path_factory.mktemp("cache")))
