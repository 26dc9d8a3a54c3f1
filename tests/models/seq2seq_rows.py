"""Rows for encoder-decoders, and what transformers' own loss of them is."""

import numpy as np
import torch

from declarlm.core.ragged import BORDER, Ragged

STOPS = {1, 2, 64, 95, 227}


def random_rows(backbone, lengths=((9, 4), (3, 7), (14, 2), (6, 6))):
    """Rows of random tokens: what is read, what it closes with, and what is written."""
    random = np.random.default_rng(3)
    return [
        ([*random.integers(4, 90, read).tolist(), backbone.stop_ids[0]], random.integers(4, 90, written).tolist())
        for read, written in lengths
    ]


def as_ragged(backbone, pairs):
    starts = list(backbone.between[backbone.between.index(BORDER) :])
    ids = Ragged.from_rows([[*read, *starts, *written] for read, written in pairs])
    roles = Ragged.from_rows([[0] * (len(read) + len(starts)) + [1] * len(written) for read, written in pairs])
    return ids, roles


def varied(backbone):
    """A model whose greedy answers vary and end, as one with a tied head and small weights does not."""
    model = backbone.load_causal()
    torch.manual_seed(1)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight), requires_grad=False)
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "embed" not in name and "shared" not in name:
            weight.data *= 3
    model.generation_config.forced_eos_token_id = None
    return model


def plain_loss(model, backbone, pairs, *, batched):
    """Transformers' own loss, given labels; the forced first token is none of them."""
    forced = list(backbone.between[backbone.between.index(BORDER) + 2 :])
    reads = [torch.tensor(read) for read, _ in pairs]
    labels = [torch.tensor([-100] * len(forced) + written) for _, written in pairs]
    decoder = [torch.tensor([backbone.between[-1 - len(forced)], *forced, *written])[:-1] for _, written in pairs]
    count = sum(len(written) for _, written in pairs)
    pad = torch.nn.utils.rnn.pad_sequence
    if batched:
        ids, mask = (pad(part, batch_first=True) for part in (reads, [torch.ones_like(read) for read in reads]))
        known = {"decoder_input_ids": pad(decoder, batch_first=True), "attention_mask": mask}
        return model(input_ids=ids, labels=pad(labels, batch_first=True, padding_value=-100), **known).loss * count
    losses = [
        model(input_ids=read[None], decoder_input_ids=known[None], labels=label[None]).loss * (label >= 0).sum()
        for read, known, label in zip(reads, decoder, labels, strict=True)
    ]
    return sum(losses)
