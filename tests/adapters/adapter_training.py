"""A plain training loop: the reference that adapters are tested in."""

import torch

from declarlm.adapters.checks import outputs


def loss_of(module, batch):
    values = outputs(module, batch)
    if values.shape[-1] < 40:  # hidden vectors of an encoder
        return values.square().mean()
    return torch.nn.functional.cross_entropy(values[:, :-1].flatten(0, 1), batch["input_ids"][:, 1:].flatten())


def own_token_loss(module, inputs):
    """The mean cross entropy of each place's own token (of an encoder, modulo its width)."""
    values = outputs(module, inputs)
    wanted = inputs.get("decoder_input_ids", inputs["input_ids"]) % values.shape[-1]
    return torch.nn.functional.cross_entropy(values.flatten(0, 1), wanted.flatten())


def train(adapter, module, batch, optimizer, steps):
    """Take the given optimizer steps, the first of which is 1, as the trainer does."""
    module.train()
    for step in steps:
        loss = loss_of(module, batch)
        extra = adapter.extra_loss(module)
        (loss if extra is None else loss + extra).backward()
        optimizer.step()
        adapter.after_step(module, step)
        optimizer.zero_grad()
    module.eval()


def optimizer_of(adapter, module, learning_rate=1e-2):
    return torch.optim.AdamW(adapter.parameter_groups(module, learning_rate))


def scatter(module, deviation=0.1):
    """Give every trained weight a random value, so that nothing is zero by its start."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.requires_grad:
                weight.normal_(std=deviation, generator=generator)
