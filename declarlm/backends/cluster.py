"""Ray, started so that nobody else can reach it, or a cluster of it that is there."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from declarlm.backbones.libraries import reason
from declarlm.core import ConfigError, Problem, RunError

CONNECT_SECONDS = 10.0
LOG = logging.getLogger("ray")
# Read by Ray when it is imported or started. A worker's threads follow from its CPUs.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
}


def import_ray(path: str, remedy: str) -> Any:
    """Return Ray, told to keep to itself.

    Args:
        path: Place in the config that asks for it.
        remedy: What to write there to do without.

    Raises:
        ConfigError: If it is not installed.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    has_token = (Path.home() / ".ray" / "auth_token").is_file() or "RAY_AUTH_TOKEN" in os.environ
    # A cluster asks for the token unless told otherwise. Ray reads the mode when it is imported, and what it starts
    # reads it again: set in between, the two would not let each other in.
    if has_token and "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
        import ray.tune
    except ImportError as error:
        problem = f'needs {error.name}: pip install "declarlm[tune]", or write {remedy}'
        raise ConfigError("config", [Problem(path, problem)]) from None
    return ray


def own_umask() -> int:
    """Return the rights that new files of this process lack."""
    os.umask(mask := os.umask(0o077))  # there is no other way to ask for it
    return mask


def _connect(ray: Any, address: str, settings: Mapping[str, Any]) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # Ray itself tries for minutes.
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        ray.init(address=address, **settings)
    except (OSError, ValueError, ray.exceptions.RayError) as error:
        remedy = "start one with: ray start --head, or leave address out"
        raise RunError(f"no Ray cluster lets us in at {address}: {reason(error)}; {remedy}") from None


@contextmanager
def started(ray: Any, address: str | None) -> Iterator[Path]:
    """Have Ray for the length of the block: a cluster's, or one on loopback that nobody else can reach or read.

    Gives a private folder for what Ray writes.
    """
    # Short, as paths of sockets have at most 107 letters, and with a folder in it, as Ray opens its own to everybody.
    private = Path(tempfile.mkdtemp(prefix="declarlm-"))
    before, level, running = os.umask(0o077), LOG.level, ray.is_initialized()
    constants = ray._private.ray_constants
    is_cluster = constants.ENABLE_RAY_CLUSTER
    LOG.setLevel(logging.ERROR)
    try:
        quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        if running:
            pass  # somebody's own session, which is used and left as it is
        elif address is not None:
            _connect(ray, address, quiet)
        else:
            # On Linux, Ray takes the machine's own address for 127.0.0.1, and then listens on every interface. This is
            # how it is told not to on Windows and macOS.
            constants.ENABLE_RAY_CLUSTER = False
            alone = {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "_temp_dir": str(private / "ray")}
            ray.init(address="local", **alone, **quiet)
        os.umask(before)
        yield private
    finally:
        os.umask(before)
        if not running:
            ray.shutdown()
        constants.ENABLE_RAY_CLUSTER = is_cluster
        LOG.setLevel(level)
        shutil.rmtree(private, ignore_errors=True)
