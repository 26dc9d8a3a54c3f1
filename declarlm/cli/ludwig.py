"""What people who come from Ludwig type, in Declarlm's words: arguments to arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from declarlm.core.errors import DeclarlmError

RENAMED = {
    "--training_set": "--dataset",
    "--validation_set": "--validation",
    "--test_set": "--test",
    "--random_seed": "--seed",
    "-rs": "--seed",
    "--base_model": "--base-model",
    "-b": "--backend",
}
RUNS = ("--model_path", "-m")  # Their value is an argument: --model_path RUN is RUN.
RESUMED = ("--model_resume_path", "-mrp")
NAMES = ("--experiment_name", "--model_name")
FOLDERS = ("--output_directory", "-od")
PREDICTING = ("predict", "evaluate")

_DEVICE = "write --device cpu, cuda or cuda:1"
_KEPT = "leave it out, a run always keeps it"
_PREDICTIONS = "leave it out, predictions are written where --output says"
_SPLITS = "give the rows of that part as --dataset"
_WEIGHTS = "go on with an interrupted run by declarlm resume RUN, or train a new one"
ABSENT = {
    **dict.fromkeys(("--config_str", "-cs"), "write the config into a file for --config, or change one with --set"),
    **dict.fromkeys(("--gpus", "-g"), _DEVICE),
    **dict.fromkeys(("--gpu_memory_limit", "-gml"), "leave it out, micro-batches shrink until they fit"),
    **dict.fromkeys(("--disable_parallel_threads", "-dpt"), "set the environment variable OMP_NUM_THREADS=1"),
    "--use_horovod": "write --backend ray",
    "--data_format": "leave it out, the ending of a file's name tells its format",
    **dict.fromkeys(("--split", "-sp"), _SPLITS),
    **dict.fromkeys(
        ("--batch_size", "-bs"), "leave it out, memory decides; for a training, --set trainer.batch_size=N"
    ),
    **dict.fromkeys(("--model_load_path", "-mlp"), _WEIGHTS),
    **dict.fromkeys(("--training_set_metadata", "--train_set_metadata"), "leave it out, a run holds what it learned"),
    **dict.fromkeys(("--skip_save_unprocessed_output", "-ssuo"), _PREDICTIONS),
    **dict.fromkeys(("--skip_save_predictions", "-ssp"), _PREDICTIONS),
    **dict.fromkeys(("--skip_save_eval_stats", "-sses"), "leave it out, metrics are printed"),
    **dict.fromkeys(("--skip_save_model", "-ssm"), _KEPT),
    **dict.fromkeys(("--skip_save_progress", "-sspr"), "leave it out, checkpoints make a run go on"),
    **dict.fromkeys(("--skip_save_log", "-ssl"), _KEPT),
    **dict.fromkeys(("--skip_save_processed_input", "-sspi"), "leave it out, DECLARLM_CACHE says where it is kept"),
    **dict.fromkeys(("--skip_save_training_description", "-sstd"), _KEPT),
    **dict.fromkeys(("--skip_save_training_statistics", "-ssts"), _KEPT),
    **dict.fromkeys(("--logging_level", "-l"), "write --quiet for nothing but results and errors"),
    **dict.fromkeys(("--skip_collect_predictions", "--skip_collect_overall_stats"), "leave it out"),
}


class UsageError(DeclarlmError):
    """A flag of Ludwig that there is not."""

    exit_code = 2


def translated(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with Ludwig's flags replaced.

    Raises:
        UsageError: If there is nothing to replace one with; the message says what to write instead.
    """
    resumes = arguments[:1] == ["train"] and any(argument.partition("=")[0] in RESUMED for argument in arguments)
    verb = "resume" if resumes else "".join(arguments[:1])
    found: list[str] = [verb] if arguments else []
    names: dict[str, str] = {}
    rest = iter(arguments[1:])
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag in ABSENT:
            raise UsageError(f"{flag}: a Ludwig flag that Declarlm does not have: {ABSENT[flag]}")
        if flag in (*RUNS, *RESUMED, *NAMES, *FOLDERS) and not equals:
            value = next(rest, "")
        if flag in NAMES:
            names[flag] = value
        elif flag in (*RUNS, *RESUMED):
            found.append(value)
        elif flag in FOLDERS and not resumes:  # A training goes on in its own directory.
            found += ["--output", str(Path(value) / "predictions.csv") if verb in PREDICTING else value]
        elif flag not in FOLDERS:
            found.append(RENAMED.get(flag, flag) + equals + value)
    if names and not resumes:
        found += ["--name", "_".join(names[name] for name in NAMES if name in names)]
    return found
