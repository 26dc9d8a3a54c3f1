import os

import pytest


@pytest.fixture(autouse=True)
def unhurried_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: only a power failure could tell the difference."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
