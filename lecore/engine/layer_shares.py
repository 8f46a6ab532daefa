"""What each layer adds to an inner product of gradients."""

import torch
from torch import Tensor

from lecore.arguments.finite import check_finite
from lecore.engine.choosing import structures
from lecore.engine.gradients.layer_kernels import layer_kernel
from lecore.engine.gradients.per_example import gradient_factors
from lecore.engine.opening import Measured, check_points
from lecore.engine.points import Side


def layer_shares(measured: Measured, rows: Side, columns: Side, check: bool) -> dict[str, Tensor]:
    """Inner products of gradients, layer by layer; of the loss for a side that has one.

    Args:
        measured: From :func:`lecore.engine.opening.opened`.
        rows: Row points.
        columns: Column points; the row points themselves for a square kernel.
        check: Whether to look at two points first.

    Returns:
        By the name of the module that holds the parameters, shape (n, m, outputs, outputs), with
        one "output" for a side with a loss.
    """
    network = measured[1]
    check_points(measured, rows.inputs, columns.inputs, check)
    found = structures(measured, rows.inputs, columns.inputs, check)
    left, right = (
        gradient_factors(network, structure, *side.signals(network, slice(None))[:3])
        for structure, side in zip(found, (rows, columns), strict=True)
    )
    if columns is rows:
        right = left
    modules: dict[str, list[str]] = {}
    for name in left.names:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    with torch.no_grad():
        shares = {name: layer_kernel(left, right, held) for name, held in modules.items()}
    for name, share in shares.items():
        check_finite(share, f"the share of layer {name!r}")
    return shares
