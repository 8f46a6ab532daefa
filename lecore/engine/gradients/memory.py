"""Memory of passes through a network, and of the factors that they leave."""

import torch
from torch import Tensor

from lecore.engine.at_once import at_once
from lecore.engine.gradients.factors import Factors, factors_of
from lecore.engine.gradients.layers import Embedding
from lecore.engine.gradients.structure import Structure
from lecore.engine.network.snapshot import Snapshot
from lecore.losses import Loss

CHUNK_BYTES = 2**24
"""Activations held at a time; small enough for the allocator to reuse without page faults."""


def chunk_size(network: Snapshot, structure: Structure, loss: Loss | None) -> int:
    """Examples whose activations are held at a time."""
    signals = 1 if loss else structure.outputs
    # each chunk reads all weights: more at a time where these are large
    wanted = min(max(CHUNK_BYTES, 4 * network.parameter_bytes), 4 * CHUNK_BYTES)
    limit = at_once(wanted, network.device)
    if structure.route == "plain":
        return max(1, limit // (network.parameter_bytes * signals))
    taps = structure.activations * network.dtype.itemsize * (1 + signals)
    return max(1, limit // max(1, taps, (taps + network.manners.activation_bytes) // 4))


def pass_bytes(network: Snapshot, structure: Structure, loss: Loss | None) -> int:
    """Memory of the pass of one point through the network and back."""
    signals, manners = 1 if loss else structure.outputs, network.manners
    if structure.route == "plain":
        return manners.activation_bytes + 2 * network.parameter_bytes
    sent = structure.activations * network.dtype.itemsize
    # on the way back, what a call gives, takes and has in hand, such as scores of attention
    under_way = 3 * manners.largest_bytes
    return manners.activation_bytes + (sent + under_way) * signals


def factors_of_one(network: Snapshot, structure: Structure, loss: Loss | None) -> Factors:
    """Factors of one example that have a shape and no numbers, on the device ``meta``."""

    def empty(*shape: int, dtype: torch.dtype = network.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    signals = 1 if loss else structure.outputs
    integer = [isinstance(call.layer, Embedding) for call in structure.calls]
    reads = [
        empty(1, *call.read_shape, dtype=torch.long if whole else network.dtype)
        for call, whole in zip(structure.calls, integer, strict=True)
    ]
    taps = [empty(1, signals, *call.output_shape) for call in structure.calls]
    direct = {k: empty(1, signals, network.parameters[k].numel()) for k in structure.direct}
    return factors_of(structure, empty(1, structure.outputs), reads, taps, direct)
