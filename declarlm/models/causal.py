"""Decoder-only language models: what is supervised, and how a micro-batch is laid out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from declarlm.core.ragged import Ragged
    from declarlm.layers.causal_batch import CausalBatch
    from declarlm.layers.causal_model import CausalModel

Layout = Literal["auto", "padded", "packed"]
# Tokens that sharing must save before it pays for a second pass through the layers: measured on a CPU, estimated
# for a GPU, where that pass reads (and with 4 bits unpacks) all weights once more.
_LEAST_SAVED_ON_CPU, _LEAST_SAVED_ON_GPU = 96, 4096


def build_causal(backbone: nn.Module, *, noise_alpha: float | None = None) -> CausalModel:
    """Wrap a Hugging Face decoder or encoder-decoder, with its adapter attached, for training and scoring.

    Args:
        backbone: The wrapped module.
        noise_alpha: Size of the noise on what is read in training, see ``EmbeddingNoise``; null or 0 is none.

    Raises:
        ModelError: If the model has no output head, or does something unknown to its logits.
    """
    from declarlm.layers.causal_head import causal_part
    from declarlm.layers.causal_model import CausalModel
    from declarlm.layers.seq2seq_model import Seq2SeqModel

    reads_apart = getattr(causal_part(backbone).config, "is_encoder_decoder", False)
    return (Seq2SeqModel if reads_apart else CausalModel)(backbone, noise_alpha)


def count_supervised(roles: Ragged) -> np.ndarray[Any, Any]:
    """Return how many tokens of each row are learned, ``int64 (rows,)``; nothing predicts a row's first token."""
    import numpy as np

    supervised = np.asarray(roles.values) != 0
    ends = np.concatenate([[0], np.cumsum(supervised)])[roles.offsets]
    starts = roles.offsets[:-1][roles.lengths > 0]
    counts: np.ndarray[Any, Any] = np.diff(ends)
    counts[roles.lengths > 0] -= supervised[starts]
    return counts


def collate(
    model: CausalModel, ids: Ragged, roles: Ragged, fields: Ragged | None = None, *, layout: Layout = "auto"
) -> CausalBatch:
    """Return the rows of one micro-batch as tensors; every token whose role is not 0 (prompt) is supervised.

    ``auto`` takes the cheaper layout. A model that cannot keep packed rows apart gets them padded. The prompt
    tokens with which all rows begin, such as the description of the task, are computed once for all of them, where
    that is cheaper: loss and gradients are the same, and dropout there is drawn once.
    """
    from declarlm.core.ragged import Ragged

    longest = int(ids.lengths.max(initial=0))
    packed = layout == "packed" or (layout == "auto" and _packing_pays(model, ids, longest))
    packed = packed and model.can_pack(longest)
    supervised = Ragged(roles.values != 0, roles.offsets)
    shared = 0 if model.runs_alike or model.is_noisy else _shared(ids, supervised)
    if shared and not packed:
        least = _LEAST_SAVED_ON_CPU if model.device.type == "cpu" else _LEAST_SAVED_ON_GPU
        pays = (len(ids) - 1) * shared >= least
        shared = shared if pays and model.can_branch(longest) and not model.recomputes else 0
    return model.make_batch(ids, supervised, fields, packed=packed, shared=shared)


def _shared(ids: Ragged, supervised: Ragged) -> int:
    """Return how many tokens all rows begin with, short of the one that predicts the first supervised token."""
    import numpy as np

    if len(ids) < 2:
        return 0
    firsts = [int(row.argmax()) if row.any() else len(row) for row in supervised]
    most = max(0, min(firsts) - 1)
    beginnings = np.stack([row[:most] for row in ids])
    same = (beginnings == beginnings[0]).all(0)
    return most if same.all() else int(same.argmin())


def _packing_pays(model: CausalModel, ids: Ragged, longest: int) -> bool:
    """Compare the arithmetic of both layouts; on a CPU a wide mask costs more than it saves.

    A layer costs about ``24 width^2`` operations for a token, and ``4 width`` for each token that it attends to.
    """
    if model.device.type == "cpu":
        return False
    linear = 6 * int(model.config.hidden_size)
    padded, packed = len(ids) * longest, len(ids.values)
    return packed * (linear + packed) < padded * (linear + longest)
