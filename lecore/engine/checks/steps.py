"""Whether a route of steps gives what a real step on a copy gives."""

from dataclasses import replace

import torch
from torch import Tensor

from lecore.engine.change_matrix import DenseSteps, StepRoute, TwoLayerSteps
from lecore.engine.changed_weights import ChangedWeights
from lecore.engine.checks.gradients import combination, combined_gradients
from lecore.engine.checks.tolerances import close, peak, tolerance, unit
from lecore.engine.gradients.plain import flat
from lecore.engine.optimizer_steps import sgd_change


def checked_steps(route: StepRoute) -> StepRoute | None:
    """The route if it gives what a real step on a copy gives, or ``None``."""
    if isinstance(route, ChangedWeights) and route.how == "plain":
        return route
    network, few = route.network, slice(0, min(2, len(route.rows.inputs)))
    assert route.rows.targets is not None
    rows = route.rows._replace(inputs=route.rows.inputs[few], targets=route.rows.targets[few])
    columns = torch.cat([route.columns[:1], route.columns[-1:]])
    small = replace(route, rows=rows, columns=columns)
    step = getattr(route, "step", None)
    if isinstance(route, TwoLayerSteps | DenseSteps):
        # a step that can be seen, whatever the rate: predictions lose digits in the oracle
        probe = ChangedWeights(network, rows, columns, sgd_change(1.0), "plain")
        gradient = probe.loss_gradient(network.copy(), 0)
        size = sum(float(flat(g).square().sum()) for g in gradient.values())
        rate = 1e-3 / size if size > 0 else route.learning_rate
        small, step = (
            replace(route, rows=rows, columns=columns, learning_rate=rate),
            sgd_change(rate),
        )
    assert step is not None
    every = slice(0, len(rows.inputs)), slice(0, len(columns))
    measured = small.change(*every)
    plain = ChangedWeights(network, rows, columns, step, "plain")
    if isinstance(small, ChangedWeights) and small.linearized:
        return route if _derivative_agrees(small, plain, measured) else None
    expected = plain.change(*every)
    rounding = 64 * unit(network) * peak(network.copy().predict(columns))
    allowed = tolerance(network) * peak(expected) + rounding
    if not close(measured, expected, allowed):
        return None
    if isinstance(small, ChangedWeights) and not _same_gradient(small, plain):
        return None
    return route


def _derivative_agrees(route: ChangedWeights, plain: ChangedWeights, measured: Tensor) -> bool:
    """Whether derivatives along each step are those by plain autograd, for all outputs."""
    network = route.network
    gradients = combined_gradients(network.copy(), route.columns)
    for row, found in enumerate(measured @ combination(network, measured.shape[2])):
        step = route.step(plain.loss_gradient(network.copy(), row))
        along = [torch.stack(gradients[k]) @ flat(change) for k, change in step.items()]
        sizes = [torch.stack(gradients[k]).norm(dim=1) * flat(s).norm() for k, s in step.items()]
        if not close(found, sum(along), tolerance(network) * peak(sum(sizes))):  # type: ignore[arg-type]
            return False
    return True


def _same_gradient(route: ChangedWeights, plain: ChangedWeights) -> bool:
    """Whether weight changes agree too: a small step hides in the rounding of predictions."""
    ours, theirs = (r.loss_gradient(r.network.copy(), 0) for r in (route, plain))
    scale = max(peak(g) for g in theirs.values())
    floor = unit(route.network) * scale
    return all(
        close(ours[k], g, tolerance(route.network) * peak(g) + floor) for k, g in theirs.items()
    )
