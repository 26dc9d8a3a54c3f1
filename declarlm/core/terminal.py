"""What a person sees: one console, and no chatter of other libraries."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_ENVIRONMENT = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_LIBRARIES = "transformers|peft|bitsandbytes|accelerate|huggingface_hub"


@cache
def console() -> Console:
    """Return the console for everything but results: it writes to stderr.

    Square brackets are printed as they are, so that text from configs and tables needs no escaping; give styles
    by argument: ``console().print("done", style="green")``.
    """
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False, highlight=False)


def quiet_libraries() -> None:
    """Silence what other libraries print, and turn their telemetry off; call it before they are imported.

    What a user set in the environment, or with ``python -W``, stays. Downloads keep their progress bars if
    somebody is watching.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # At import it asks for a kernel package that training does not need; at every 8-bit layer it tells of a cast.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=rf"({_LIBRARIES})(\.|$)")

    import huggingface_hub.utils
    import transformers.utils.logging

    transformers.utils.logging.disable_progress_bar()  # "Loading weights", gone in a blink
    if "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ:
        huggingface_hub.utils.enable_progress_bars()  # the line before hides downloads as well
