"""Networks with one hidden layer and one output, He & Su's main case: matrix products only.

With hidden values z, slopes σ′, b = a ⊙ σ′ and η, g = ∂L/∂f, one SGD step on x_i changes every
hidden weight by a rank-one matrix, so that the hidden values of x_j move by
d = κ_ij a ⊙ σ′_i with κ_ij = −η g_i (x_i·x_j + 1). The tangent kernel and, for ReLU, the exact
change after the step follow from Gram matrices of the hidden layer, which are summed up over
blocks of hidden units: no gradient, no changed weight and no hidden layer is ever held as a whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import vjp

from lecore.engine.at_once import at_once
from lecore.engine.routes.chains import Dense
from lecore.engine.routes.relu_flips import added_by_flips, flip_thresholds

BLOCK_BYTES = 2**22
"""Hidden values held at a time; small enough for the allocator to reuse without page faults."""

ROW_BLOCKS = 5
"""Row blocks of a symmetric Gram matrix, of which only the upper triangle is computed."""


@dataclass(frozen=True)
class TwoLayer:
    """f(x) = Σ_r a_r σ(w_r·x + b_r) + c; a parameter that does not train counts as fixed.

    Attributes:
        hidden_weight: w, shape (width, d).
        hidden_bias: b, shape (width,), or ``None``.
        output_weight: a, shape (width,).
        output_bias: c, shape (), or ``None``.
        activation: σ.
        trains: Whether w, b, a, c are trained.
    """

    hidden_weight: Tensor
    hidden_bias: Tensor | None
    output_weight: Tensor
    output_bias: Tensor | None
    activation: nn.Module
    trains: tuple[bool, bool, bool, bool]

    def block_size(self, points: float) -> int:
        """Hidden units whose values at so many points fit a block."""
        limit = at_once(BLOCK_BYTES, self.hidden_weight.device)
        size = max(64, int(limit / (max(points, 1) * self.hidden_weight.element_size())))
        return min(size, len(self.output_weight))

    def blocks(self, points: float) -> Iterator[slice]:
        """Slices of so many hidden units."""
        width, step = len(self.output_weight), self.block_size(points)
        return (slice(start, min(start + step, width)) for start in range(0, width, step))

    def hidden(self, x: Tensor, units: slice, out: Tensor | None = None) -> Tensor:
        """Hidden values z before the activation, shape (n, units)."""
        weight = self.hidden_weight[units].T
        if self.hidden_bias is None:
            return torch.mm(x, weight, out=out)
        return torch.addmm(self.hidden_bias[units], x, weight, out=out)

    def input_kernel(self, x: Tensor, test_x: Tensor) -> Tensor:
        """x_i·x_j + 1: the share of the hidden weights and of the hidden biases."""
        kernel = x @ test_x.T if self.trains[0] else x.new_zeros(len(x), len(test_x))
        return kernel.add_(1) if self.trains[1] else kernel


def two_layer_form(layers: list[Dense] | None) -> TwoLayer | None:
    """The network as one hidden layer with one output, or ``None`` if it is not."""
    if layers is None or len(layers) != 2 or len(layers[1].weight) != 1:
        return None
    hidden, output = layers
    if hidden.activation is None or output.activation is not None:
        return None
    return TwoLayer(
        hidden.weight,
        hidden.bias,
        output.weight[0],
        None if output.bias is None else output.bias[0],
        hidden.activation,
        (*hidden.trains, *output.trains),
    )


def two_layer_kernel(
    network: TwoLayer, x: Tensor, test_x: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Θ_ij = (x_i·x_j + 1) Σ_r b_ir b_jr + Σ_r σ_ir σ_jr + 1, and the predictions f(x_i).

    Args:
        network: The network.
        x: Update points, shape (n, d).
        test_x: Test points, shape (m, d); the update points if left out, in about half the time.

    Returns:
        Θ of shape (n, m) and predictions of shape (n,).
    """
    columns = x if test_x is None else test_x
    slopes = x.new_zeros(len(x), len(columns))
    values = x.new_zeros(len(x), len(columns))
    prediction = x.new_zeros(len(x))
    points = len(x) + (0 if test_x is None else len(columns))
    # the same memory for each block: new pages cost as much as the activation
    spaces = [part.new_empty(2, len(part), network.block_size(points)) for part in (x, columns)]
    for units in network.blocks(points):
        value, slope = _activated(network, x, units, spaces[0])
        prediction.addmv_(value, network.output_weight[units])
        other_value, other_slope = (
            (None, None) if test_x is None else _activated(network, test_x, units, spaces[1])
        )
        if network.trains[0] or network.trains[1]:
            _add_products(slopes, slope, other_slope)
        if network.trains[2]:
            _add_products(values, value, other_value)
    if test_x is None:
        _mirror(slopes)
        _mirror(values)
    kernel = slopes.mul_(network.input_kernel(x, columns)).add_(values)
    if network.trains[3]:
        kernel.add_(1)
    return kernel, _with_bias(network, prediction)


def two_layer_prediction(network: TwoLayer, x: Tensor) -> Tensor:
    """f(x), shape (n,)."""
    prediction = x.new_zeros(len(x))
    for units in network.blocks(len(x)):
        value = network.activation(network.hidden(x, units))
        prediction.addmv_(value, network.output_weight[units])
    return _with_bias(network, prediction)


def two_layer_change(
    network: TwoLayer, x: Tensor, step: Tensor, test_x: Tensor | None = None
) -> Tensor:
    """Exact change of a ReLU network's predictions after one SGD step on each point.

    Where no hidden unit flips, relu(z + d) − relu(z) = d·1[z > 0], which sums to matrix products.
    A unit that flips adds ``|z + d|``. Unit r flips at x_j exactly if κ_ij lies beyond
    t_jr = −z_jr/a_r (on the side of 0 where t_jr lies), so the units that can flip for any update
    point are found by comparing t with the extremes of κ. All terms are differences: nothing
    cancels, however small the step.

    Args:
        network: The network, with ``nn.ReLU``.
        x: Update points, shape (n, d).
        step: −η ∂L/∂f at the update points, shape (n,).
        test_x: Test points, shape (m, d); the update points if left out.

    Returns:
        Δ, shape (n, m).
    """
    columns = x if test_x is None else test_x
    a = network.output_weight
    shift = step[:, None] * network.input_kernel(x, columns)  # κ
    slopes = x.new_zeros(len(x), len(columns))
    values = x.new_zeros(len(x), len(columns))
    mixed = x.new_zeros(len(x), len(columns))
    flips = x.new_zeros(len(columns), len(x))
    signs = [rows for rows in (step.gt(0).nonzero()[:, 0], step.lt(0).nonzero()[:, 0]) if len(rows)]
    farthest = shift.abs().amax(0)
    # larger blocks than for products alone: flips cost something for each block
    for units in network.blocks((len(x) + (0 if test_x is None else len(columns))) / 8):
        z = network.hidden(x, units)
        test_z = z if test_x is None else network.hidden(test_x, units)
        value, slope = z.relu(), _relu_slope(z, a[units])
        test_slope = slope if test_x is None else _relu_slope(test_z, a[units])
        _add_products(slopes, slope, None if test_x is None else test_slope)
        threshold = flip_thresholds(test_z, a[units])
        if network.trains[2]:
            _add_products(values, value, None if test_x is None else test_z.relu_())
            mixed.addmm_(value, test_slope.T)
            slope = slope + value * step[:, None]
        slope.mul_(a[units].abs())
        near = torch.nonzero(farthest > threshold.abs().amin(1))[:, 0]
        for rows in signs if len(near) else ():  # on images, units of one side flip for each sign
            flips[near[:, None], rows] += added_by_flips(
                slope[rows], shift[rows][:, near], threshold[near]
            )
    if test_x is None:
        _mirror(slopes)
        _mirror(values)
    change = slopes.mul_(shift).add_(flips.T)
    if network.trains[2]:
        change += step[:, None] * mixed.mul_(shift).add_(values)
    if network.trains[3]:
        change += step[:, None]
    return change


def _activated(network: TwoLayer, x: Tensor, units: slice, space: Tensor) -> tuple[Tensor, Tensor]:
    """σ(z) and a σ′(z), shape (n, units) each, written over the space if that can be."""
    space = space[..., : units.stop - units.start]
    z = network.hidden(x, units, space[0])
    if type(network.activation) is nn.ReLU:
        slope = _relu_slope(z, network.output_weight[units], space[1])
        return z.relu_(), slope
    value, pull = vjp(network.activation, z)[:2]
    (slope,) = pull(network.output_weight[units].expand_as(value))
    return value, slope


def _relu_slope(z: Tensor, a: Tensor, out: Tensor | None = None) -> Tensor:
    # one type throughout is far quicker than a mask
    return torch.gt(z, 0, out=torch.empty_like(z) if out is None else out).mul_(a)


def _add_products(total: Tensor, left: Tensor, right: Tensor | None) -> None:
    """Add left rightᵀ to the total; without ``right`` only the upper triangle of left leftᵀ."""
    if right is not None:
        total.addmm_(left, right.T)
        return
    step = -(-len(left) // ROW_BLOCKS)
    for start in range(0, len(left), step):
        rows = slice(start, start + step)
        total[rows, start:].addmm_(left[rows], left[start:].T)


def _mirror(total: Tensor) -> None:
    step = -(-len(total) // ROW_BLOCKS)
    for start in range(0, len(total), step):
        rows = slice(start, start + step)
        total[start + step :, rows] = total[rows, start + step :].T


def _with_bias(network: TwoLayer, prediction: Tensor) -> Tensor:
    return prediction if network.output_bias is None else prediction + network.output_bias
