"""Applies the tables of known spellings to a config before it is validated."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from declarlm.compat import ludwig_hyperopt as of_hyperopt
from declarlm.compat.ludwig import (
    ABSENT,
    DECIDING,
    EFFECTLESS,
    IGNORED,
    OF_ENCODERS,
    OF_SCHEDULES,
    PRETRAINED,
    RENAMED,
    RETRIEVAL,
    VALUES,
    WORD_ENCODERS,
)
from declarlm.compat.ludwig_adapters import upgrade_adapters
from declarlm.compat.ludwig_names import named_by_type, unknown_names, unread_by_type
from declarlm.core.document import Document
from declarlm.core.errors import Problem
from declarlm.core.overrides import put, written

Steps = tuple[str | int, ...]


def upgrade(document: Document) -> Document:
    """Return the config in Declarlm's own words, with a note for each thing that was understood.

    A known key that Declarlm does not have becomes a problem of the document that says what to write instead, unless
    its value asks for nothing. Nothing else is judged here: what has the wrong type is left for the validation.
    """
    if not isinstance(document.data, dict):
        return document
    tree = _Tree(document)
    _gpus(tree)
    _retrieval(tree)
    upgrade_adapters(tree)
    for pattern, target in RENAMED.items():
        for steps in tree.find(pattern):
            tree.move(steps, target)
    _sweep(tree)
    for pattern, values in {**VALUES, **of_hyperopt.VALUES}.items():
        for steps in tree.find(pattern):
            tree.translate(steps, values)
    _stratify(tree)
    _warm_up(tree)
    _beams(tree)
    _adapted_encoders(tree)
    _force_split(tree)
    _decay(tree)
    _encoder_keys(tree)
    _words(tree)
    _tokenizers(tree)
    _padding(tree)
    _by_type(tree)
    _passed_through(tree)
    named_by_type(tree, _kind)
    unknown_names(tree)
    unread_by_type(tree, _kind)
    for pattern in IGNORED:
        for steps in tree.find(pattern):
            tree.pop(steps)
    for pattern, (reason, allowed) in EFFECTLESS.items():
        for steps in tree.find_all(pattern):
            value = tree.get(*steps)
            if isinstance(value, allowed) if isinstance(allowed, type) else _among(value, allowed):
                tree.drop(steps, reason)
    for pattern, (remedy, harmless) in {**ABSENT, **of_hyperopt.ABSENT}.items():
        for steps in tree.find_all(pattern):
            tree.refuse(steps, remedy, harmless)
    return tree.document()


def _sweep(tree: _Tree) -> None:
    """Drop an empty search, name the executor that a key implies, and refuse algorithms that there are not."""
    if tree.get("hyperopt") == {}:
        tree.drop(("hyperopt",), "it searches nothing")
    executor = tree.get("hyperopt", "executor")
    if isinstance(executor, dict) and "type" not in executor and any(key in executor for key in of_hyperopt.OF_RAY):
        executor["type"] = "ray"
    for pattern, (names, remedy) in of_hyperopt.UNKNOWN.items():
        for steps in tree.find(pattern):
            if tree.get(*steps) in names:
                tree.problem(steps, f"Declarlm does not have {tree.pop(steps)!r}: {remedy}")


def _gpus(tree: _Tree) -> None:
    """Drop that GPUs are used where it stands how many."""
    place = ("backend", "trainer")
    if tree.get(*place, "use_gpu") is True and tree.get(*place, "resources_per_worker", "GPU"):
        tree.pop((*place, "use_gpu"))


class _Tree:
    """The data of a config while it is rewritten, and what has to be said about that."""

    def __init__(self, document: Document) -> None:
        self.data = deepcopy(document.data)
        self._document = document
        self._notes: list[str] = []
        self._problems: list[Problem] = []
        self._moved: dict[str, str] = dict(document.moved)

    def document(self) -> Document:
        """Return the rewritten document."""
        problems = (*self._document.problems, *self._problems)
        notes = (*self._document.notes, *self._notes)
        return replace(self._document, data=self.data, problems=problems, moved=self._moved, notes=notes)

    def find(self, pattern: str) -> list[Steps]:
        """Return the places that a pattern names, found before any of them changes."""
        return list(_find(self.data, pattern.split("."), ()))

    def find_all(self, pattern: str) -> list[Steps]:
        """Return the places that a pattern names, and if it names places in features, those in their defaults."""
        side, _, rest = pattern.partition(".")
        return self.find(pattern) + (self.find(f"defaults.{rest}") if side.endswith("_features") else [])

    def get(self, *steps: str | int) -> Any:
        """Return a value, or ``None`` if there is none."""
        data = self.data
        for step in steps:
            try:
                data = data[step]
            except (KeyError, IndexError, TypeError):
                return None
        return data

    def pop(self, steps: Steps) -> Any:
        """Take a value out."""
        return self.get(*steps[:-1]).pop(steps[-1])

    def put(self, steps: Steps, value: Any, old: Steps) -> None:
        """Put in a value that was written at an old place."""
        origin = self._origin(old)
        try:
            path = put(self.data, list(steps), value)
        except ValueError:
            return  # the mapping it belongs to is none, which validation will say
        self._moved[path] = origin
        self._notes.append(f"{origin}: read as {path}")

    def move(self, steps: Steps, target: str) -> None:
        """Move a value to where it is expected today."""
        value, new = self.pop(steps), _target(steps, target)
        if self.get(*new) is None:
            self.put(new, value, steps)
        else:
            self.problem(steps, f"is an old spelling of {written(new)}, which is given too; remove one of them")

    def translate(self, steps: Steps, values: list[tuple[Any, Any]]) -> None:
        """Replace a value by what it is called today."""
        value = self.get(*steps)
        for old, new in values:
            if _among(value, (old,)):
                self.get(*steps[:-1])[steps[-1]] = new
                self._notes.append(f"{self._origin(steps)}: {old!r} is read as {new!r}")

    def drop(self, steps: Steps, reason: str) -> None:
        """Take out a value that has no effect here."""
        if self.pop(steps) is not None:
            self._notes.append(f"{self._origin(steps)}: left out, {reason}")

    def refuse(self, steps: Steps, remedy: str, harmless: tuple[Any, ...]) -> None:
        """Take out a value that Declarlm has no key for, which is a problem unless it asks for nothing."""
        if not _among(self.pop(steps), harmless):
            self.problem(steps, f"a Ludwig key that Declarlm does not have: {remedy}")

    def problem(self, steps: Steps, message: str) -> None:
        """Note what is wrong at a place."""
        self._problems.append(Problem(self._origin(steps), message))

    def _origin(self, steps: Steps) -> str:
        """Return the path at which the config itself has the value."""
        for end in range(len(steps), 0, -1):
            parent = written(steps[:end])
            if parent in self._moved:
                return self._moved[parent] + written(steps).removeprefix(parent)
        return written(steps)


def _stratify(tree: _Tree) -> None:
    """Ludwig once named the column of a stratified split beside the split."""
    for steps in tree.find("preprocessing.stratify"):
        column = tree.pop(steps)
        tree.put(("preprocessing", "split", "type"), "stratified", steps)
        tree.put(("preprocessing", "split", "column"), column, steps)


def _warm_up(tree: _Tree) -> None:
    """Ludwig counts the warm-up in epochs (or evaluations, one an epoch by default); here it is a share of all."""
    places = tree.find("trainer.learning_rate_warmup_epochs")
    for steps in places + tree.find("trainer.learning_rate_scheduler.warmup_evaluations"):
        warm_up, epochs = tree.pop(steps), tree.get("trainer", "epochs")
        if isinstance(warm_up, int | float) and isinstance(epochs, int | float) and 0 <= warm_up <= epochs != 0:
            share = round(warm_up / epochs, 6)
            tree.put(("trainer", "learning_rate_scheduler", "warmup_fraction"), share, steps)
        elif warm_up:
            tree.problem(
                steps, "a Ludwig key that Declarlm does not have: write learning_rate_scheduler.warmup_fraction"
            )


def _beams(tree: _Tree) -> None:
    """Ludwig draws beams at random unless told otherwise; here they find the most probable answer."""
    beams = tree.get("generation", "num_beams")
    if isinstance(beams, int) and beams > 1 and tree.get("generation", "do_sample") is None:
        for key in ("temperature", "top_k", "top_p"):
            for steps in tree.find(f"generation.{key}"):
                tree.drop(steps, "beams find the most probable answer")


def _retrieval(tree: _Tree) -> None:
    """Ludwig writes out a retrieval of nothing."""
    place = ("prompt", "retrieval")
    found = tree.get(*place)
    if isinstance(found, dict) and "type" in found and found["type"] is None:
        tree.refuse(place, "write prompt.retrieval.type: semantic, or random", (RETRIEVAL,))


def _adapted_encoders(tree: _Tree) -> None:
    """Ludwig asks for a trainable encoder even where only its adapter is trained."""
    for steps in tree.find("input_features.*.encoder.trainable") + tree.find("defaults.*.encoder.trainable"):
        if tree.get(*steps) is True and tree.get(*steps[:-1], "adapter"):
            tree.drop(steps, "the adapter is trained in place of the weights")


def _force_split(tree: _Tree) -> None:
    """Ludwig once took a column named split unless told otherwise; here rows are divided at random."""
    for steps in tree.find("preprocessing.force_split"):
        fixed = tree.get("preprocessing", "split", "type") == "fixed" or tree.get("preprocessing", "split") == "fixed"
        tree.refuse(steps, "leave it out, preprocessing.split says how rows are divided", (False, not fixed))


def _encoder_keys(tree: _Tree) -> None:
    """Say what an encoder lacks of Ludwig's encoder of that name."""
    for names, keys in OF_ENCODERS:
        for key, (remedy, harmless) in keys.items():
            for steps in tree.find_all(f"input_features.*.encoder.{key}"):
                if _encoder(tree, steps) in names:
                    tree.refuse(steps, remedy, harmless)


def _decay(tree: _Tree) -> None:
    """Ludwig writes out what only some schedules read."""
    schedule = tree.get("trainer", "learning_rate_scheduler")
    for name, keys in OF_SCHEDULES.items() if isinstance(schedule, dict) else ():
        for key, value in keys.items():
            if schedule.get("type") != name and key in schedule and _is(schedule[key], value):
                tree.pop(("trainer", "learning_rate_scheduler", key))


def _words(tree: _Tree) -> None:
    """Ludwig counts the words of a text column, here its encoder does."""
    for steps in tree.find_all("input_features.*.preprocessing.most_common"):
        if _kind(tree, steps) != "text" or tree.get(*steps[:2], "tied"):
            continue
        if _is_llm(tree) or _encoder(tree, steps) in PRETRAINED:
            tree.refuse(steps, "leave it out, the model has its own words", (20000,))
        else:
            tree.move(steps, "../encoder.most_common")


def _tokenizers(tree: _Tree) -> None:
    """Drop the name of what cuts texts into words where the model or the encoder does just that."""
    for steps in tree.find_all("*_features.*.preprocessing.tokenizer"):
        own = _is_llm(tree) or all(name in PRETRAINED for name in _encoders(tree, steps))
        words = all(name in (*WORD_ENCODERS, *PRETRAINED, "tf_idf") for name in _encoders(tree, steps))
        # Ludwig, too, cuts by the pretrained model's own tokenizer, whatever is written.
        harmless = ("hf_tokenizer", "space_punct") if own else ("space_punct",) if words else ()
        remedy = (
            "leave it out, the model's own tokenizer is used"
            if own
            else "leave it out, texts are cut into words and punctuation marks, or write encoder: auto_transformer"
        )
        tree.refuse(steps, remedy, harmless)
    for steps in tree.find_all("*_features.*.preprocessing.pretrained_model_name_or_path"):
        models = (tree.get("base_model"), tree.get(*steps[:2], "encoder", "pretrained_model_name_or_path"))
        tree.refuse(steps, "write encoder.pretrained_model_name_or_path", (None, *models))


def _padding(tree: _Tree) -> None:
    """Ludwig pads on the left for a language model, on the right else; here padding is never seen."""
    side = "left" if _is_llm(tree) else "right"
    for steps in tree.find_all("*_features.*.preprocessing.padding"):
        tree.refuse(steps, "leave it out, padding is never seen", (side,))


def _by_type(tree: _Tree) -> None:
    """Drop what is the default of a feature of some type only."""
    for steps in tree.find_all("output_features.*.default_validation_metric"):
        default = DECIDING.get(str(_kind(tree, steps)))
        tree.refuse(steps, "write trainer.validation_metric", (None, default))
    for steps in tree.find_all("*_features.*.preprocessing.cache_encoder_embeddings"):
        if steps[0] == "output_features" or _kind(tree, steps) != "text":
            tree.refuse(steps, "leave it out, only vectors of texts are kept", (False,))


def _passed_through(tree: _Tree) -> None:
    """Ludwig calls it an encoder that a language model has none."""
    for steps in tree.find("input_features.*.encoder") + tree.find("defaults.text.encoder"):
        encoder = tree.get(*steps)
        named = encoder if isinstance(encoder, dict) else {"type": encoder}
        if _is_llm(tree) and named.get("type") == "passthrough" and not set(named) - {"type", "skip"}:
            tree.pop(steps)


def _is_llm(tree: _Tree) -> bool:
    kind = tree.get("model_type")
    return kind == "llm" or (kind is None and bool(tree.get("base_model") or tree.get("architecture")))


def _kind(tree: _Tree, steps: Steps) -> Any:
    """Return the type of the feature, or of the features with the default, that a place belongs to."""
    return steps[1] if steps[0] == "defaults" else tree.get(*steps[:2], "type")


def _encoders(tree: _Tree, steps: Steps) -> list[Any]:
    """Return the names of the encoders of all features that a place is for."""
    inputs = tree.get("input_features")
    places = range(len(inputs) if isinstance(inputs, list) and steps[0] == "defaults" else 0)
    features: list[Steps] = [("input_features", index) for index in places]
    return [_encoder(tree, place) for place in features if _kind(tree, place) == steps[1]] or [_encoder(tree, steps)]


def _encoder(tree: _Tree, steps: Steps) -> Any:
    """Return the name of the encoder of the feature, or of the type's default, that a place belongs to."""
    place: Steps = steps[:2]
    kind = _kind(tree, steps)
    for found in (tree.get(*place, "encoder"), tree.get("defaults", str(kind), "encoder")):
        name = found.get("type") if isinstance(found, dict) else found
        if name is not None:
            return name
    return {"text": "tf_idf", "category": "dense"}.get(str(kind))


def _find(data: Any, pattern: list[str], steps: Steps) -> Iterator[Steps]:
    if not pattern:
        yield steps
    elif isinstance(data, dict):
        for key in data:
            if fnmatchcase(str(key), pattern[0]):
                yield from _find(data[key], pattern[1:], (*steps, key))
    elif isinstance(data, list) and pattern[0] == "*":
        for index, item in enumerate(data):
            yield from _find(item, pattern[1:], (*steps, index))


def _target(steps: Steps, target: str) -> Steps:
    """Return where ``target`` leads, seen from the value at ``steps``."""
    if target.startswith("/"):
        return tuple(target[1:].split("."))
    if target.startswith("../"):
        return _target(steps[:-1], target[3:])
    return (*steps[:-1], *target.split("."))


def _among(value: Any, options: tuple[Any, ...]) -> bool:
    """Return whether a value is one of the options, or a part of a mapping among them, with 0 and False told apart."""
    return any(_is(value, option) for option in options)


def _is(value: Any, option: Any) -> bool:
    if isinstance(value, dict) and isinstance(option, dict):
        return all(key in option and (_is(inner, option[key]) or inner is None) for key, inner in value.items())
    same: bool = value == option and isinstance(value, bool) == isinstance(option, bool)
    return same
