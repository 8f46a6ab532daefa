"""Steps that are really taken, by torch's own optimiser: what formulas are held against."""

import copy

import torch
from torch import Tensor, nn


def change_by_steps(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor,
    *,
    learning_rate: float,
    penalty: float = 0.0,
) -> Tensor:
    """Change of all predictions after a step on ½‖y − f(x)‖² + ½ ρ‖w‖² at each point alone.

    A plain loop that subtracts predictions, so the digits that a small step leaves are those of
    the network's dtype.

    Args:
        model: Network f with weights w; it is not changed.
        inputs: Update points x, shape (n, d).
        targets: y, shape (n, outputs).
        test_inputs: Test points, shape (m, d).
        learning_rate: Of plain SGD.
        penalty: ρ.

    Returns:
        Δ, shape (n, m, outputs); rows are update points.
    """
    before, changes = model(test_inputs).detach(), []
    for x, y in zip(inputs, targets, strict=True):
        moved = copy.deepcopy(model)
        step = torch.optim.SGD(moved.parameters(), lr=learning_rate, weight_decay=penalty)
        step.zero_grad()
        (0.5 * (moved(x[None]) - y).square().sum()).backward()
        step.step()
        changes.append(moved(test_inputs).detach() - before)
    return torch.stack(changes)
