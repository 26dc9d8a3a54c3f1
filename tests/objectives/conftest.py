"""A tiny base for preferences."""

import pytest

from tests.small_bases import save_tiny_llama


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny language model with random weights."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"), context_length=64)
