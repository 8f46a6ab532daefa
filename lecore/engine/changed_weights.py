"""Changes of predictions at changed weights, for any network and optimiser."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from lecore.engine.checks.tolerances import peak
from lecore.engine.gradients.forward import derivative_along
from lecore.engine.gradients.per_example import gradient_factors
from lecore.engine.gradients.plain import flat, own_gradients, plain_gradient
from lecore.engine.gradients.structure import Route, Structure
from lecore.engine.network.failures import layer_of
from lecore.engine.network.snapshot import Parameters, Snapshot
from lecore.engine.optimizer_steps import WeightChange, is_plain
from lecore.engine.points import Side
from lecore.engine.real_steps import RealStep, check_real_step
from lecore.engine.tiling.cuts import TileCost

STEP_BYTES = 2**28
"""Memory that the changed weights of the update points in hand may take."""

VECTORIZED_BYTES = 2**19
"""Weights up to which a CPU evaluates several changed networks at once."""

SEEN = 1e-2
"""Length of a step that rounding does not hide, as a part of the largest weight."""


@dataclass(frozen=True)
class ChangedWeights:
    """Steps of any optimiser on any network, by evaluating the network at the changed weights.

    Attributes:
        network: The network.
        rows: Update points.
        columns: Test points, shape (m, …).
        step: Weight change of one gradient.
        how: Several steps at once, one by one, or one by one by plain autograd.
        linearized: Whether to differentiate along the step instead of taking it.
        failing: The layer for which it has to be plain autograd, if it is known.
        reason: Why it has to be.
    """

    network: Snapshot
    rows: Side
    columns: Tensor
    step: WeightChange
    how: Route
    linearized: bool = False
    failing: str = ""
    reason: str = ""

    @property
    def keeps_digits(self) -> bool:
        """Whether no two nearly equal numbers are subtracted."""
        return self.linearized

    def change(self, rows: slice, columns: slice) -> Tensor:
        """Δ of these rows and columns."""
        assert self.rows.targets is not None
        x, y, test_inputs = self.rows.inputs[rows], self.rows.targets[rows], self.columns[columns]
        if self.how == "plain":
            along = self._plain_derivatives if self.linearized else self._plain_changes
            return along(x, y, test_inputs)
        network = self.network.copy()
        before = network.predict(test_inputs)

        def change(x: Tensor, y: Tensor) -> Tensor:
            step = self.step(self._gradient(network, x, y))
            if self.linearized:
                return derivative_along(network, test_inputs, step)
            stepped = {name: w + step[name] for name, w in network.parameters.items()}
            return network.predict(test_inputs, stepped) - before

        if self.how == "looped":
            with torch.enable_grad():  # fused recurrent layers need it on the way back
                return torch.stack([change(a, b).detach() for a, b in zip(x, y, strict=True)])
        chunk = max(1, STEP_BYTES // network.parameter_bytes)
        parts = zip(x.split(chunk), y.split(chunk), strict=True)
        return torch.cat([vmap(change)(a, b) for a, b in parts])

    def _plain_changes(self, x: Tensor, y: Tensor, test_inputs: Tensor) -> Tensor:
        """A real step on a copy, and back."""
        before = self.network.copy().predict(test_inputs)
        network = self.network.copy(lambda tensor: tensor.clone())
        changes = []
        for a, b in zip(x, y, strict=True):
            step = self._plain_step(network, a, b)
            for name, weight in network.leaves.items():
                weight.data.add_(step[name])
            changes.append(network.predict(test_inputs) - before)
            self._put_back(network)
        return torch.stack(changes)

    def _put_back(self, network: Snapshot) -> None:
        for name, weight in network.leaves.items():
            weight.data.copy_(self.network.parameters[name])

    def _plain_derivatives(self, x: Tensor, y: Tensor, test_inputs: Tensor) -> Tensor:
        """Gradients at the test points, times each step."""
        network = self.network.copy(lambda tensor: tensor.clone())
        outputs = network.predict(test_inputs[:1]).shape[1]
        structure = Structure((), tuple(network.parameters), outputs, "plain")
        factors = gradient_factors(network, structure, test_inputs)
        changes = []
        for a, b in zip(x, y, strict=True):
            step = self._plain_step(network, a, b)
            self._put_back(network)
            changes.append(sum(factors.direct[name] @ flat(step[name]) for name in step))
        return torch.stack(changes)  # type: ignore[arg-type]

    def _plain_step(self, network: Snapshot, x: Tensor, y: Tensor) -> Parameters:
        """The optimiser's step; it passes by a parameter without a gradient, as torch's do.

        What the forward pass writes to weights lasts until the step and beyond, as in training.
        """
        lasting = network.manners.written & network.parameters.keys()
        network = replace(network, manners=replace(network.manners, lasting=lasting))
        gradient = own_gradients(network, self._loss_at(network, x, y))
        if isinstance(self.step, RealStep):
            return self.step(gradient, network.leaves)
        step = self.step({k: g.to_dense() for k, g in gradient.items()}, network.leaves)
        return {k: step.get(k, torch.zeros_like(w)) for k, w in network.parameters.items()}

    def far_change(self, row: int) -> Tensor:
        """Changes of predictions, (m, outputs), after a step in the same direction but in sight."""
        assert self.rows.targets is not None
        network = self.network.copy(lambda tensor: tensor.clone())
        before = network.predict(self.columns).detach().clone()  # it may be a view of weights
        step = self._plain_step(network, self.rows.inputs[row], self.rows.targets[row])
        longest = max(peak(change) for change in step.values())
        if longest > 0:
            scale = SEEN * max(map(peak, network.parameters.values())) / longest
            for name, weight in network.leaves.items():
                weight.data.add_(scale * step[name])
        return network.predict(self.columns).detach() - before

    def try_real_step(self, model: nn.Module) -> None:
        """Refuse a step that is more than one of a copy of the optimiser, see there."""
        assert isinstance(self.step, RealStep)
        assert self.rows.targets is not None
        network = self.network.copy(lambda tensor: tensor.clone())
        value = self._loss_at(network, self.rows.inputs[0], self.rows.targets[0])
        check_real_step(self.step, own_gradients(network, value), model, self.network.callers)

    def loss_gradient(self, network: Snapshot, row: int) -> Parameters:
        """∂L/∂w at an update point."""
        assert self.rows.targets is not None
        gradient = self._plain_gradient if self.how == "plain" else self._gradient
        return gradient(network, self.rows.inputs[row], self.rows.targets[row])

    def _gradient(self, network: Snapshot, x: Tensor, y: Tensor) -> Parameters:
        loss = self.rows.loss
        assert loss is not None

        def loss_of(weights: Parameters) -> Tensor:
            return loss(network.predict(x[None], weights)[0], y)

        gradient = grad(loss_of)(network.parameters)
        return {k: g.to_dense() if g.is_sparse else g for k, g in gradient.items()}

    def _plain_gradient(self, network: Snapshot, x: Tensor, y: Tensor) -> Parameters:
        return plain_gradient(network, self._loss_at(network, x, y))

    def _loss_at(self, network: Snapshot, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
        loss = self.rows.loss
        assert loss is not None
        return lambda: loss(network.predict(x[None], dict(network.leaves))[0], y)

    @property
    def words(self) -> str:
        """How it computes."""
        end = " to first order" if self.linearized else ""
        if isinstance(self.step, RealStep):
            return f"plain autograd, steps of {self.step.name} on a copy"
        if self.how == "plain":
            return "plain autograd, step by step" + end
        way = "many steps at once" if self.how == "vectorized" else "step by step"
        return f"changed weights, {way}{end}"

    def cost(self, outputs: int) -> TileCost:
        """Working memory."""
        size, passes = self.network.dtype.itemsize, self.network.manners.activation_bytes
        passes *= 2 if self.linearized else 1
        weights = 3 * self.network.parameter_bytes
        if isinstance(self.step, RealStep):
            weights += self.step.bytes
        if self.how == "vectorized":
            return TileCost(weights, 0, passes + 3 * size * outputs, 0)
        jacobian = self.network.parameter_bytes * outputs if self.how == "plain" else 0
        column = passes + (jacobian if self.linearized else 0)
        return TileCost(0, column, 3 * size * outputs, weights)


def changed_weights(
    network: Snapshot, rows: Side, columns: Tensor, step: WeightChange, linearized: bool
) -> ChangedWeights:
    """The route by changed weights, in the quickest way that works.

    On a CPU, convolutions and large layers with weights of their own for each example are slower
    at once than one by one.
    """
    convolutions = any(isinstance(m, nn.modules.conv._ConvNd) for m in network.module.modules())
    slow = network.device.type == "cpu" and (
        network.parameter_bytes > VECTORIZED_BYTES or convolutions
    )
    manners = network.manners
    unusual = {
        "parameters are reached past their names": bool(manners.bypassed),
        "it writes to its weights": bool(manners.written & network.parameters.keys()),
        "its weights are complex": any(p.is_complex() for p in network.parameters.values()),
        "it gives tensors other memory": manners.rebound,
        "it predicts something else where no gradients are recorded": manners.graph,
        "the optimizer takes its own steps": isinstance(step, RealStep),
        "an optimizer leaves weights that get no gradient where they are": (
            bool(manners.unused) and not is_plain(step)
        ),
        "its derivatives forward may be others": linearized and manners.bent,
    }
    reason = next((why for why, holds in unusual.items() if holds), "")
    route = ChangedWeights(network, rows, columns, step, "plain", linearized, reason=reason)
    ways: list[Literal["vectorized", "looped"]] = [] if reason else ["looped"]
    if ways and not slow and not manners.alone:  # alone: see find_structures
        ways.insert(0, "vectorized")
    few = slice(0, 2)  # what works for one may not for two at once
    for how in ways:
        trial = replace(route, how=how, columns=columns[few])
        try:
            with torch.no_grad():
                trial.change(few, few)
        except Exception as error:
            route = replace(
                route, failing=layer_of(error), reason="torch.func cannot differentiate it"
            )
            continue
        return replace(route, how=how)
    return route
