"""Free text: the ``generation`` section, and answers to many prompts in few batches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from declarlm.core import Problem, Section, param
from declarlm.core.batching import in_batches
from declarlm.core.ragged import Ragged

if TYPE_CHECKING:
    import numpy as np

    from declarlm.decoders.constraints import Constraint
    from declarlm.layers.causal_model import CausalModel

_SAMPLING = ("temperature", "top_k", "top_p")


class Generation(Section):
    """How an answer is written, token by token."""

    max_new_tokens: int | Literal["auto"] = param(
        "Most tokens of an answer; auto is a little more than the longest answer in training.", default="auto", min=1
    )
    min_new_tokens: int = param("Tokens that an answer has before it may end.", default=0, min=0)
    do_sample: bool | Literal["auto"] = param(
        "Draw tokens at random instead of taking the most probable; auto does if temperature, top_k or top_p is set.",
        default="auto",
    )
    temperature: float | None = param(
        "Divisor of the logits before drawing; null is 1, and 0 takes the most probable token.", default=None, min=0
    )
    top_k: int | None = param("Draw from the k most probable tokens; null or 0 is all.", default=None, min=0)
    top_p: float | None = param(
        "Draw from the fewest tokens that together have this probability; null is all.", default=None, above=0, max=1
    )
    num_beams: int = param("Answers that are continued side by side to find the most probable one.", default=1, min=1)
    length_penalty: float = param("Exponent of the length that divides a beam's score.", default=1.0)
    repetition_penalty: float = param("Factor against tokens that occurred before, 1 for none.", default=1.0, above=0)
    no_repeat_ngram_size: int = param("Length of token runs that may occur only once, 0 for none.", default=0, min=0)
    seed: int = param("Start of the random numbers; each row has its own, whatever its batch.", default=0, min=0)

    def check(self) -> Iterable[Problem]:
        given = [name for name in _SAMPLING if getattr(self, name) is not None]
        if self.do_sample is False:
            for name in given:
                yield Problem(name, "has no effect with do_sample: false; remove one of the two")
        if self.num_beams > 1 and self.samples:
            yield Problem("num_beams", f"must be 1 when tokens are drawn at random, got {self.num_beams}")
        if isinstance(self.max_new_tokens, int) and self.min_new_tokens > self.max_new_tokens:
            yield Problem(
                "min_new_tokens", f"must be at most max_new_tokens ({self.max_new_tokens}), got {self.min_new_tokens}"
            )

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn at random."""
        given = any(getattr(self, name) is not None for name in _SAMPLING)
        return self.temperature != 0 and (given if self.do_sample == "auto" else self.do_sample)


def generate(
    model: CausalModel,
    prompts: Ragged | Sequence[Sequence[int] | np.ndarray[Any, Any]],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int,
    settings: Generation | None = None,
    pad_id: int | None = None,
    context_length: int | None = None,
    constraint: Constraint | None = None,
    token_budget: int | None = None,
) -> list[list[int]]:
    """Return the tokens that the model writes after each prompt, in the order of the prompts.

    An answer that came to its end has its stop token as last token; one without was cut, by ``max_new_tokens`` or
    because the context was full. A row's answer does not depend on the rows beside it.

    Args:
        model: The wrapped language model.
        prompts: Token ids of each prompt; an empty one has an empty answer.
        stop_ids: Tokens that end an answer.
        max_new_tokens: Most tokens of an answer; ``settings.max_new_tokens`` may be auto and is not read here.
        settings: How tokens are chosen, by default the most probable one.
        pad_id: What fills shorter rows; it is never seen.
        context_length: Most tokens of prompt and answer together; by default what the model's config says.
        constraint: Which tokens may come next.
        token_budget: Tokens that are processed side by side, with padding and answers.

    Raises:
        OutOfMemoryError: If not even one row fits into memory.
    """
    import numpy as np

    from declarlm.inference.decoding import decode, decode_by_transformers, shared_head
    from declarlm.layers.causal_model import evaluating

    settings = settings or Generation()
    rows = prompts if isinstance(prompts, Ragged) else Ragged.from_rows(prompts)
    begun, context = model.begun(rows), context_length or getattr(model.config, "max_position_embeddings", None)
    lengths: list[int] = begun.lengths.tolist()
    limits = [max_new_tokens if context is None else min(max_new_tokens, context - length) for length in lengths]
    answers: dict[int, list[int]] = {}
    open_rows = np.flatnonzero((np.array(limits) > 0) & (rows.lengths > 0))
    with evaluating(model):
        head = shared_head(model, rows, open_rows, max_new_tokens)

        def run(batch: np.ndarray[Any, Any]) -> None:
            for some in _alike(model, open_rows[batch].tolist(), lengths):
                most = {index: limits[index] for index in some}
                full = {index: rows[index].tolist() for index in some}
                if settings.num_beams > 1 or not model.has_plain_cache:
                    written = decode_by_transformers(model, full, most, settings, set(stop_ids), pad_id, constraint)
                else:
                    known, start = {index: begun[index].tolist() for index in some}, head.length if head else 0
                    cache = head.expand(len(some)) if head else model.new_cache(list(full.values()))
                    written = decode(model, known, most, cache, start, settings, set(stop_ids), constraint)
                answers.update(written)

        in_batches((rows.lengths + limits)[open_rows], model.device, run, token_budget)
    return [answers.get(index, []) for index in range(len(limits))]


def _alike(model: CausalModel, rows: Sequence[int], lengths: Sequence[int]) -> Iterable[list[int]]:
    """Return rows in groups that may be padded to one another.

    Virtual tokens come before the padding, whose places then count, as they do where a decoder counts places itself.
    """
    if not (model.adds_tokens or model.reads_apart):
        return [list(rows)]
    return [[row for row in rows if lengths[row] == length] for length in sorted({lengths[row] for row in rows})]
