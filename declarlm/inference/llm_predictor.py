"""What a language model says about the rows of a table: labels by score, numbers and text by generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from declarlm.core.ragged import Ragged
from declarlm.features.base import OutputFeature, Raw
from declarlm.inference.generation import Generation, generate
from declarlm.inference.label_scores import score_labels

if TYPE_CHECKING:
    from declarlm.models.llm import Llm


def predict_llm(
    model: Llm,
    contexts: Ragged,
    generation: Generation,
    only: list[OutputFeature] | None = None,
    blanks: Mapping[str, Ragged] | None = None,
) -> dict[str, Raw]:
    """Return what the model says about each output after each prompt in ``contexts``.

    With several outputs the text between two answers is forced, and each answer is decoded by its own output, in
    turn, given the ones before. ``only`` leaves out the outputs after the last one that is wanted; ``blanks`` has the
    prompts without content of outputs that are scored against them.
    """
    wanted = {output.name for output in (model.outputs if only is None else only)}
    raws: dict[str, Raw] = {}
    answers: list[list[int]] = [[]] * len(contexts)
    for place, output in enumerate(model.outputs):
        if wanted <= raws.keys():
            break
        literal = list(model.encoder.literals[place])
        if place or literal:
            contexts = _extended(contexts, [answer + literal for answer in answers])
        if is_scored(output):
            blank = (blanks or {}).get(output.name)
            raws[output.name], answers = _score(model, place, output, contexts, blank)
        else:
            raws[output.name], answers = _write(model, place, output, contexts, generation)
    return {name: raw for name, raw in raws.items() if name in wanted}


def _extended(contexts: Ragged, more: Sequence[list[int]]) -> Ragged:
    """Return each context with more tokens behind it."""
    return Ragged.from_rows([*context.tolist(), *tokens] for context, tokens in zip(contexts, more, strict=True))


def is_scored(output: OutputFeature) -> bool:
    """Return whether every label gets a probability, instead of an answer being written."""
    decoder: Any = output.make_decoder("llm")
    return bool(output.labels) and not decoder.by_generation


def _score(
    model: Llm, place: int, output: OutputFeature, contexts: Ragged, blank: Ragged | None
) -> tuple[Raw, list[list[int]]]:
    """Return the probability of each label, and the tokens of the predicted one."""
    import numpy as np

    labelled: Any = output
    decoder: Any = output.make_decoder("llm")
    following = _following(model, place)
    answers = labelled.label_answers
    labels = [model.encoder.answer_ids(output.name, answer, last=following is None) for answer in answers]
    # A label that is not the last answer ends where the text between the answers begins.
    closed = labels if following is None else [[*label, following] for label in labels]
    scores = score_labels(model.module, contexts, closed)
    prior: Any = 0.0
    if blank is not None:
        told = _before(model, place, decoder.config.neutral)
        prior = score_labels(model.module, _extended(blank, [told] * len(blank)), closed)
    probabilities = decoder.probabilities(scores, np.array([len(label) for label in closed]), prior)
    best = [labels[index] for index in labelled.most_likely(labelled.calibrated(probabilities))]
    return Raw(probabilities=probabilities), best


def _before(model: Llm, place: int, neutral: str) -> list[int]:
    """Return what stands between prompt and output ``place`` where every answer before it is neutral."""
    tokens: list[int] = []
    for output, literal in zip(model.outputs[:place], model.encoder.literals, strict=False):
        tokens += [*literal, *model.encoder.answer_ids(output.name, neutral, last=False)]
    return [*tokens, *model.encoder.literals[place]]


def _write(
    model: Llm, place: int, output: OutputFeature, contexts: Ragged, generation: Generation
) -> tuple[Raw, list[list[int]]]:
    """Return the generated answers, and their tokens without the one that ended them."""
    following = _following(model, place)
    stop_ids = {*model.encoder.stop_ids, *([following] if following is not None else [])}
    written = generate(
        model.module,
        contexts,
        settings=generation,
        stop_ids=stop_ids,
        pad_id=model.backbone.pad_id,
        max_new_tokens=model.max_new_tokens(output, generation.max_new_tokens),
        context_length=model.context_for(place),
        constraint=output.constraint(model.backbone.tokenizer, stop_ids),
    )
    kept = [_until(ids, stop_ids) for ids in written]
    return Raw(texts=[model.encoder.decode(ids, output.name) for ids in kept]), kept


def _following(model: Llm, place: int) -> int | None:
    """Return the first token of the text that follows an answer, None after the last one."""
    literals = model.encoder.literals
    return int(literals[place + 1][0]) if place + 1 < len(literals) else None


def _until(ids: list[int], stop_ids: set[int]) -> list[int]:
    """Return the tokens before the first stop token."""
    end = next((index for index, token in enumerate(ids) if token in stop_ids), len(ids))
    return ids[:end]
