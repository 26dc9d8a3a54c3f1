"""Muon beside AdamW, against a step computed by hand."""

import torch

from declarlm.training.optimizers import optimizers


def newton_schulz(matrix: torch.Tensor) -> torch.Tensor:
    """Five steps of the quintic iteration of the source, in bfloat16 as it runs."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.float()


def test_a_step_is_orthogonal_for_matrices_and_adam_for_the_rest():
    torch.manual_seed(0)
    matrix, table, bias = (torch.nn.Parameter(torch.randn(*shape)) for shape in ((4, 6), (10, 4), (4,)))
    groups = [
        {"params": [matrix], "lr": 0.1},
        {"params": [table], "lr": 0.1, "is_embedding": True},
        {"params": [bias], "lr": 0.1, "weight_decay": 0.0},
    ]
    optimizer = optimizers["muon"].Config(weight_decay=0.0).build().build(groups, 0.1)
    before = [weight.detach().clone() for weight in (matrix, table, bias)]
    for weight in (matrix, table, bias):
        weight.grad = torch.randn_like(weight)
    gradient = matrix.grad.clone()
    optimizer.step()
    # Nesterov's look-ahead at the first step: a mix of gradient and momentum that is parallel to the gradient.
    expected = before[0] - 0.1 * 0.2 * 6**0.5 * newton_schulz(gradient)
    torch.testing.assert_close(matrix.detach(), expected, atol=2e-3, rtol=0)
    for weight, start in ((table, before[1]), (bias, before[2])):
        torch.testing.assert_close(weight.detach(), start - 0.1 * weight.grad.sign(), atol=1e-5, rtol=0)
    assert len(optimizer.param_groups) == 3
    assert set(optimizer.state) == {matrix, table, bias}
