"""The config of a trial: what a search samples, laid over what was written, by the config's own rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from declarlm.completion import complete, merged
from declarlm.config.base import KINDS, ModelConfig, foreign_keys
from declarlm.core import ConfigError, Problem
from declarlm.core.document import Document
from declarlm.core.overrides import override
from declarlm.hyperopt.section import WHOLE, Hyperopt
from declarlm.hyperopt.spaces import Interval, Space

INTEGERS = "; for integers write randint, qrandint or choice"


def trial_document(written: Document, sample: Mapping[str, Any]) -> tuple[Document, dict[str, str]]:
    """Return the config of one trial, complete but not yet validated, and the path of each value in the sample.

    Args:
        written: The config before completion, so that what follows from other values, such as alpha from r, follows
            from those of the trial.
        sample: Values by path; the value of '.' is laid over the whole config first.
    """
    data = {key: value for key, value in written.data.items() if key != "hyperopt"}
    if WHOLE in sample:
        data = merged(data, sample[WHOLE])
    document = Document(data, source=written.source)
    keys = {*KINDS["llm"].schema().fields, *foreign_keys(KINDS["llm"])}
    places: dict[str, str] = {}
    for path, value in sample.items():
        if path != WHOLE:
            document = override(document, {path: value}, keys=keys)
            places |= {place: path for place in document.overrides if place not in places}
    return complete(document), places


def find_problems(written: Document, sample: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with the config of a trial, at the parameter that is to blame if one is."""
    document, places = trial_document(written, sample)
    found = []
    for problem in _problems(document):
        blamed = next((path for place, path in places.items() if _lies_in(problem.path, place)), None)
        if blamed is not None:
            found.append(Problem(f"hyperopt.parameters.{blamed}", problem.message))
        elif problem.path in sample:
            found.append(replace(problem, path=f"hyperopt.parameters.{problem.path}"))
        else:
            values = ", ".join(f"{path} {value!r}" for path, value in sample.items())
            found.append(Problem("hyperopt.parameters", f"with {values}: {problem.path}: {problem.message}"))
    return found


def probe(written: Document) -> list[Problem]:
    """Return what the config's own rules have against the values that a search may try, the ends of each space.

    Nothing, if the section itself is wrong, or if the config is without it.
    """
    given = written.data.get("hyperopt") if isinstance(written.data, dict) else None
    if given is None or list(_problems(complete(_without(written)))):
        return []
    try:
        section = Hyperopt.load(given)
    except ConfigError:
        return []
    spaces = section.build_spaces()
    found: dict[tuple[str, str], Problem] = {}
    for sample in probes(spaces):
        for problem in find_problems(written, sample):
            shape = getattr(spaces.get(problem.path.removeprefix("hyperopt.parameters.")), "shape", None)
            if isinstance(shape, Interval) and not shape.is_integer and "must be an integer" in problem.message:
                problem = replace(problem, message=problem.message + INTEGERS)
            found.setdefault((problem.path, problem.message.split(", got ")[0]), problem)
    return list(found.values())


def probes(spaces: Mapping[str, Space]) -> Iterator[dict[str, Any]]:
    """Yield as few samples as it takes for each probe of each space to be in one of them."""
    drawn = {path: space.probes() for path, space in spaces.items() if not space.follows}
    for number in range(max(map(len, drawn.values()), default=0)):
        yield with_followers({path: values[number % len(values)] for path, values in drawn.items()}, spaces)


def with_followers(sample: Mapping[str, Any], spaces: Mapping[str, Space]) -> dict[str, Any]:
    """Return a sample with the values that follow from others, in the order of the spaces."""
    return {path: space.derive(sample) if space.follows else sample[path] for path, space in spaces.items()}


def _without(written: Document) -> Document:
    return replace(written, data={key: value for key, value in written.data.items() if key != "hyperopt"})


def _problems(document: Document) -> Iterable[Problem]:
    try:
        ModelConfig.load(document.data, source=document, problems=document.problems)
    except ConfigError as error:
        yield from (replace(problem, line=None) for problem in error.problems)


def _lies_in(path: str, place: str) -> bool:
    return path == place or path.startswith((f"{place}.", f"{place}["))
