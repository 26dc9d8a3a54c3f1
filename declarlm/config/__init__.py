"""The whole config of a model: the sections, the rules between them, and how a file becomes one of them."""

from declarlm.config.base import ModelConfig
from declarlm.config.ecd import EcdConfig
from declarlm.config.llm import LlmConfig
from declarlm.config.reading import completed, load_config, read_config, read_written
from declarlm.config.schema import REGISTRIES, config_schema
from declarlm.config.trials import find_problems, trial_document, with_followers

__all__ = [
    "REGISTRIES",
    "EcdConfig",
    "LlmConfig",
    "ModelConfig",
    "completed",
    "config_schema",
    "find_problems",
    "load_config",
    "read_config",
    "read_written",
    "trial_document",
    "with_followers",
]
