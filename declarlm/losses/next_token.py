"""Loss of every output of a language model."""

from __future__ import annotations

from declarlm.losses.base import Loss, losses


@losses.register("next_token_softmax_cross_entropy")
class NextTokenSoftmaxCrossEntropy(Loss):
    """Negative log-probability of each token of the answer and of its stop token, in nats.

    A language model computes it on its own hidden states, see ``models.causal``; here it has its name and weight.
    """

    accepts = frozenset({"text", "category", "binary", "number", "json"})
    model_types = frozenset({"llm"})
