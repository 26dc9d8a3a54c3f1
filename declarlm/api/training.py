"""One training, from rows to a run directory: each line of ``fit`` is one arrow of the data flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import copyfile, copytree, rmtree
from typing import TYPE_CHECKING, Any

from declarlm.config import LlmConfig, ModelConfig
from declarlm.core.files import atomic_folder, write_text
from declarlm.data.parts import Parts
from declarlm.evaluation import Validation, check_tunable, predictions, tune, tuned_outputs
from declarlm.evaluation.reliability import page
from declarlm.models.base import Start
from declarlm.run import Card, Run
from declarlm.training import Trainer, plan_steps
from declarlm.training.group import Alone
from declarlm.training.progress import tell
from declarlm.training.weights import count_weights

if TYPE_CHECKING:
    import pandas as pd

    from declarlm.models.base import Model, Store
    from declarlm.objectives import Objective
    from declarlm.training.progress import Progress
    from declarlm.training.workload import Evaluation

START = "start"  # folder of a run that holds the model that it goes on from, until it has one of its own
Metrics = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True, eq=False)
class Work:
    """What a training is made of.

    Attributes:
        config: The config, valid and complete.
        model: The model of the config, which has seen no row yet.
        objective: What is learned; it may remember how the model was before.
        parts: Its rows.
        run: Where everything about it is kept.
        find_device: Returns where it runs; asked for only when the rows are known to be right, as it loads torch.
        predict: Returns what a model predicts for a table, for some of its outputs.
        progress: Where steps and evaluations are shown.
        origin: Directory of a run that a new one starts from.
        group: The processes that train together.
    """

    config: ModelConfig
    model: Model
    objective: Objective
    parts: Parts
    run: Run
    find_device: Callable[[], str]
    predict: Callable[[Model, pd.DataFrame, Any], Any]
    progress: Progress | None
    origin: Path | None = None
    group: Alone = field(default_factory=Alone)


def fit(work: Work) -> Iterator[Evaluation]:
    """Take the model from sections to trained weights, and yield after each evaluation."""
    config, model, tables, run, group = work.config.trainer, work.model, work.parts.tables, work.run, work.group
    is_new = group.same(run.status.state == "created")
    objective = work.objective
    check_tunable(model.outputs, tables.validation)
    model.start = start_of(run)
    model.learn(tables.train, *tables.held_out)
    objective.learn(model, tables.train, *tables.held_out)
    model.open(tables.train, seed=work.config.seed, folder=run.directory / "base")
    device = work.find_device()
    for table in (tables.validation, tables.test):
        model.check_rows(table)
    store = objective.store(model, tables.train)
    objective.learn_lengths(model, store)
    held_out = objective.store(model, tables.validation) if len(tables.validation) else store
    judge = Validation(
        model,
        held_out,
        tables.validation[objective.right(model, tables.validation)],
        config,
        work.predict,
        store,
        group,
        objective.measure,
    )
    steps = plan_steps(config, len(store)).total if objective.trains else 0
    model.build(total_steps=steps, seed=work.config.seed, device=device, shards=group.shards)
    model.prepare(store, seed=work.config.seed)
    remarks = _remarks(work, objective, store, judge)
    if is_new and group.is_first:
        run.write_environment(device)
        _record(work, remarks)
    if not objective.trains:
        return
    group.prepare(model.module)
    objective.begin(model, (store, held_out), group)
    trainer = Trainer(
        config,
        model.module,
        objective.workload(model, store),
        parameter_groups=model.parameter_groups(config.learning_rate),
        evaluate=judge if len(tables.validation) else None,
        goal=judge.goal,
        metric=judge.metric,
        directory=run.directory,
        seed=work.config.seed,
        device=device,
        hooks=model.hooks(),
        progress=work.progress,
        group=group,
    )
    if is_new:
        trainer.fire_drill(judge.rehearse if trainer.evaluate is not None else None)
    if is_new and work.origin is not None and group.is_first:
        run.adopt(Run(work.origin))
    begun = group.same(not is_new or bool(trainer.checkpoints.steps()))
    mark = partial(run.mark, "training") if group.is_first else None
    yield from trainer.fit(resume=begun, adopt=is_new and work.origin is not None, begun=mark)


def _record(work: Work, remarks: list[str]) -> None:
    """Write down what the run is made of, and say how much of it trains."""
    weights = count_weights(work.model.module)
    work.run.write_data({**work.parts.record(), "weights": weights.dump(), "remarks": remarks})
    work.run.write_features(work.model.states())
    if work.config.objective.trains and work.progress is not None:
        work.progress.about(weights.sentence)


def begin_from(run: Run, origin: Run) -> None:
    """Let a new run go on from the weights of a finished one, whatever becomes of that."""
    target = run.directory / START
    copytree(origin.model, target / "model", copy_function=_linked)
    copyfile(origin.directory / "features.json", target / "features.json")
    write_text(target / "NAME", origin.name)


def _linked(source: str, target: str) -> None:
    """Give a file a second name, or copy it where that is not possible; nothing writes into it."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        copyfile(source, target)


def start_of(run: Run) -> Start | None:
    """Return the model that a run goes on from, None if it begins with the base."""
    folder = run.directory / START
    if not folder.is_dir():
        return None
    return Start(folder / "model", Run(folder).read("features"), (folder / "NAME").read_text(encoding="utf-8"))


def _remarks(work: Work, objective: Objective, store: Store, judge: Validation) -> list[str]:
    """Return what a person should know before the first step, and show it."""
    model, tables = work.model, work.parts.tables
    overlong = objective.remarks(model, store, len(tables.train))
    if len(tables.validation):
        overlong += [
            f"validation: {remark}" for remark in objective.remarks(model, judge.store, len(tables.validation))
        ]
    if len(tables.test):
        tested = objective.store(model, tables.test)
        overlong += [f"test: {remark}" for remark in objective.remarks(model, tested, len(tables.test))]
    begun = [f"training goes on from the weights of {model.start.name}"] if model.start is not None else []
    remarks = [*begun, *work.parts.remarks(), *overlong, *model.remarks(), *judge.remarks]
    tell(remarks if work.progress is not None else overlong, work.progress)
    return remarks


def conclude(work: Work, measure: Callable[[pd.DataFrame], Mapping[str, Any]]) -> Metrics:
    """Save the model, judge it on the rows that it was not trained on, and write both down."""
    run, parts, model, group = work.run, work.parts, work.model, work.group
    digest = model.digest()
    _tune(work)
    with group.gathered(model.module):
        if group.is_first:
            with atomic_folder(run.model) as folder:
                model.save(folder, digest)
            if model.merged is not None:
                tell([model.merged.remark()], work.progress)
    tables = {"validation": parts.tables.validation, "test": parts.tables.test}
    with group.evaluating(model.module):
        metrics: Metrics = {split: dict(measure(table)) for split, table in tables.items() if len(table)}
        if (forgotten := work.objective.forgotten(model)) is not None:
            metrics["general"] = {"forgetting": forgotten.metrics()}
            tell([forgotten.sentence] * (work.progress is not None), work.progress)
    if group.is_first:
        for leftover in ("base", START):
            rmtree(run.directory / leftover, ignore_errors=True)
        run.write_results(metrics)
        run.write_card(_card(work, metrics))
        run.mark("finished")
    return metrics


def _tune(work: Work) -> None:
    """Choose on the validation rows what the outputs ask for, and write it down."""
    model, table, group = work.model, work.parts.tables.validation, work.group
    if not (outputs := tuned_outputs(model.outputs)):
        return
    with group.evaluating(model.module):
        raws = predictions(group, table, lambda part: work.predict(model, part, outputs))
    tuned = tune(model.outputs, table, raws)
    if group.is_first:
        work.run.write_features(model.states())
        work.run.write_reliability(page(tuned))
        if work.progress is not None:
            tell([one.remark for one in tuned], work.progress)


def _card(work: Work, metrics: Metrics) -> Card:
    config = work.config
    return Card(
        name=work.run.name,
        base_model=config.base_model if isinstance(config, LlmConfig) else None,
        inputs=[feature.name for feature in config.input_features],
        outputs=[feature.name for feature in config.output_features],
        rows=work.parts.record()["rows"],
        metrics=metrics,
    )
