"""Products of a tangent kernel with vectors, which never form it.

The kernel is J Jᵀ with J the derivative of all predictions by all weights: a pass back gives Jᵀv,
a pass forward J of that, so that neither the kernel nor a gradient of one example is written out.
"""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lecore.arguments.finite import check_finite
from lecore.engine.checks.gradients import combination, combined_gradients
from lecore.engine.checks.predictions import check_batch
from lecore.engine.checks.tolerances import tolerance
from lecore.engine.gradients.forward import derivative_along
from lecore.engine.gradients.per_example import gradient_factors
from lecore.engine.gradients.plain import flat, plain_gradient
from lecore.engine.gradients.structure import Structure
from lecore.engine.gradients.watching import warn_plain
from lecore.engine.network.failures import of_rows
from lecore.engine.network.random_states import generators_left_alone
from lecore.engine.network.snapshot import Parameters, Snapshot
from lecore.engine.opening import Measured, check_points, pair
from lecore.engine.surroundings import check_surroundings

PASS_BYTES = 2**28
"""Memory that the activations of the points in one pass may take, about."""


@dataclass(frozen=True)
class KernelProducts:
    """The tangent kernel of some points, as a function of the vector that it is multiplied with.

    Attributes:
        network: A snapshot that shares no memory with the caller's model.
        inputs: The points, shape (n, …).
        forward: Whether the network has derivatives forward; else gradients are multiplied, one
            output at a time.
        alone: Whether each point wants a pass of its own.
    """

    network: Snapshot
    inputs: Tensor
    forward: bool = True
    alone: bool = False

    @property
    def size(self) -> int:
        """Rows of the kernel, one for each output of each point."""
        return len(self.inputs) * self.network.manners.outputs

    @property
    def dtype(self) -> Any:
        """What a product consists of, double precision or single for all that is shorter."""
        return np.dtype(np.float64 if self.network.dtype is torch.float64 else np.float32)

    def __call__(self, vector: Any) -> Any:
        """Θv, of an array of shape (n · outputs,)."""
        if np.iscomplexobj(vector):
            return self(vector.real) + 1j * self(vector.imag)
        check_surroundings(self.network.module)
        network = self.network.copy()
        may_draw = network.manners.draws or network.manners.alone
        given = torch.as_tensor(np.array(vector), device=network.device).to(network.dtype)
        with (
            torch.no_grad(),
            network.flags(),
            generators_left_alone() if may_draw else nullcontext(),
            of_rows(slice(0, len(self.inputs))),
        ):
            weights = self.back(network, given.reshape(len(self.inputs), -1))
            product = torch.cat([self.along(network, x, weights) for x in self._parts(network)])
        check_finite(product, "a product with the kernel")
        return product.reshape(-1).cpu().double().numpy().astype(self.dtype)

    def _parts(self, network: Snapshot) -> tuple[Tensor, ...]:
        fit = PASS_BYTES // max(1, network.manners.activation_bytes)
        return self.inputs.split(1 if self.alone else max(1, fit))

    def back(self, network: Snapshot, vector: Tensor) -> Parameters:
        """Jᵀv, by parameter."""
        leaves: Parameters = dict(network.leaves)
        total = {name: torch.zeros_like(w) for name, w in network.parameters.items()}
        parts = self._parts(network)
        # where a sum of signals need not send back the sum, each goes alone
        one = network.manners.bent
        for x, v in zip(parts, vector.split(len(parts[0])), strict=True):
            for c in range(v.shape[1]) if one else (slice(None),):

                def value(x: Tensor = x, v: Tensor = v, c: Any = c) -> Tensor:
                    return (network.predict(x, leaves) * (1 if one else v))[:, c].sum()

                for name, gradient in plain_gradient(network, value).items():
                    total[name] += v[0, c] * gradient if one else gradient
        return total

    def along(self, network: Snapshot, inputs: Tensor, weights: Parameters) -> Tensor:
        """How the predictions at some points change along a direction, shape (n, outputs)."""
        if self.forward:
            with torch.enable_grad():  # as fused recurrent layers need it
                return derivative_along(network, inputs, weights).detach()
        structure = Structure((), tuple(weights), network.manners.outputs, "plain")
        rows = []
        for x in inputs.split(1):
            direct = gradient_factors(network, structure, x).direct
            rows.append(sum(direct[name] @ flat(w) for name, w in weights.items()))
        return torch.cat(rows)  # type: ignore[arg-type]


def kernel_products(measured: Measured, inputs: Tensor, check: bool) -> KernelProducts:
    """Products with the tangent kernel of some points, checked.

    Args:
        measured: From :func:`lecore.engine.opening.opened`.
        inputs: The points.
        check: Whether to compare with plain autograd at two of them.
    """
    check_points(measured, inputs, inputs, check)
    network = measured[1].copy(lambda tensor: tensor.clone())
    products = KernelProducts(network, inputs.clone(), alone=network.manners.bent)
    sample = torch.cat([pair(inputs, inputs), inputs[:1]])  # one twice, as they may share a sum
    with torch.no_grad():
        if check and not products.alone:
            for part in products._parts(network):
                check_batch(network, part)
        gradients = combined_gradients(network.copy(), sample)
        rows = {name: torch.stack(of) for name, of in gradients.items()}
        if check and not _adds_up(products, sample, rows):
            products = replace(products, alone=True)
        if not _goes_forward(products, sample, rows, check):
            products = replace(products, forward=False)
            warn_plain("", "torch.func cannot differentiate it forward")
    return products


def _adds_up(products: KernelProducts, sample: Tensor, rows: Parameters) -> bool:
    """Whether the gradient of several points at once is the sum of theirs."""
    network = products.network.copy()
    weights = combination(network, network.manners.outputs).expand(len(sample), -1)
    found = replace(products, inputs=sample).back(network, weights)
    return all(
        bool(((flat(found[k]) - of.sum(0)).norm() <= tolerance(network) * of.norm()).all())
        for k, of in rows.items()
    )


def _goes_forward(products: KernelProducts, sample: Tensor, rows: Parameters, check: bool) -> bool:
    """Whether derivatives along a gradient, taken forward, are its products with gradients."""
    network = products.network.copy()
    if network.manners.bent:  # its derivatives forward may be others
        return False
    gram = torch.stack([of @ of.T for of in rows.values()]).sum(0)
    sizes = gram.diagonal().sqrt()
    for place in range(len(sample) if check else 1):
        weights = {k: _shaped(rows[k][place], w) for k, w in network.parameters.items()}
        try:
            found = products.along(network, sample, weights)
        except Exception:  # whatever it was, autograd has the last word
            return False
        error = (found @ combination(network, found.shape[1]) - gram[place]).abs()
        if check and not bool((error <= tolerance(network) * sizes * sizes[place]).all()):
            return False
    return True


def _shaped(numbers: Tensor, like: Tensor) -> Tensor:
    """A row of real numbers in the shape of a parameter."""
    if like.is_complex():
        return torch.view_as_complex(numbers.reshape(*like.shape, 2))
    return numbers.reshape(like.shape)
