"""What Ludwig writes in its section ``hyperopt``, in Declarlm's words."""

from __future__ import annotations

from typing import Any

_LEAVE = "leave it out"
_SEARCHERS = ("ax", "bayesopt", "blendsearch", "bohb", "cfo", "dragonfly", "hebo", "nevergrad", "skopt", "zoopt")

VALUES: dict[str, list[tuple[Any, Any]]] = {
    "hyperopt.search_alg.type": [("variant_generator", "random"), ("optuna", "tpe"), ("hyperopt", "tpe")],
    "hyperopt.search_alg": [("variant_generator", "random"), ("optuna", "tpe"), ("hyperopt", "tpe")],
    "hyperopt.executor.scheduler.type": [
        *(("async_hyperband", "asha"), ("asynchyperband", "asha"), ("medianstopping", "median_stopping_rule")),
    ],
    "hyperopt.executor.scheduler": [("async_hyperband", "asha"), ("medianstopping", "median_stopping_rule")],
    "hyperopt.output_feature": [("combined", None)],
}
ABSENT: dict[str, tuple[str, tuple[Any, ...]]] = {
    "hyperopt.eval_split": ("write split", ("validation",)),
    "hyperopt.sampler": ("write search_alg", (None,)),
    "hyperopt.executor.trial_driver_resources": (f"{_LEAVE}, a trial is one process", (None, {"CPU": 1, "GPU": 0})),
    "hyperopt.executor.kubernetes_namespace": ("write executor.address", (None,)),
    "hyperopt.executor.scheduler.brackets": ("write scheduler.type: hyperband", (1,)),
    "hyperopt.executor.scheduler.hard_stop": (f"{_LEAVE}, a trial that is stopped can be resumed", (True,)),
}
# Search algorithms and schedulers that Declarlm does not have, with what to write instead.
UNKNOWN: dict[str, tuple[tuple[str, ...], str]] = {
    "hyperopt.search_alg.type": (_SEARCHERS, "write random, grid, tpe or cmaes"),
    "hyperopt.executor.scheduler.type": (
        ("pb2", "hb_bohb", "pbt_replay", "resource_changing"),
        "write fifo, asha, hyperband, median_stopping_rule or pbt",
    ),
}
# Keys that only trials in processes of their own have; Ludwig runs no others.
OF_RAY = ("cpu_resources_per_trial", "gpu_resources_per_trial", "max_concurrent_trials")
