"""Tangent kernels of networks or data sets too large for exact work, from random projections.

Every per-example gradient is projected on a few thousand random features whose inner products
are, on average, the tangent kernel. The projection adds every coordinate, with a random sign, to
one random feature (the count sketch of Charikar, Chen & Farach-Colton, 2002), which costs one
pass over the gradient whatever the number of features. Of a layer's gradient a few units at a
time are made from its factors and added, so that none is ever whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lecore.arguments.finite import check_finite
from lecore.arguments.settings import SEEDS, numbers, whole
from lecore.engine.choosing import structures
from lecore.engine.gradients.factors import Factors, Outer
from lecore.engine.gradients.layer_kernels import dense_gradient
from lecore.engine.gradients.memory import chunk_size as chunk_of_passes
from lecore.engine.gradients.memory import factors_of_one, pass_bytes
from lecore.engine.gradients.per_example import gradient_factors
from lecore.engine.gradients.structure import Structure
from lecore.engine.network.failures import of_rows
from lecore.engine.network.flags import Precision
from lecore.engine.network.snapshot import Snapshot
from lecore.engine.opening import check_points, opened
from lecore.engine.points import Side, labelled, witness
from lecore.engine.tiling.cuts import TileCost
from lecore.engine.tiling.tiles import Tiles, check_tiles, compute_tiles
from lecore.errors import LecoreError
from lecore.identity.finished_work import identify
from lecore.losses import Loss

PIECE_BYTES = 2**24
"""Entries of gradients that are written out at a time."""


class Sketch(NamedTuple):
    """An estimate of a tangent kernel.

    Attributes:
        kernel: Estimate of Θ, shape (n, m, outputs, outputs).
        standard_error: Of each entry, same shape: √((Θ_ii Θ_jj + Θ_ij²)/features), the bound
            for a count sketch, with the estimates put in for Θ.
    """

    kernel: Tensor
    standard_error: Tensor


def gradient_sketch(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor | None = None,
    *,
    loss: Loss | None = None,
    features: int = 4096,
    seed: int = 0,
    dtype: Precision | None = torch.float32,
    chunk_size: int = 16,
    tiles: Tiles = Tiles(),  # noqa: B008 - frozen
    check: bool = True,
) -> Any:
    """Random features of the gradients ∂f_c(x_i)/∂w or, with targets, of ∂L_i/∂w.

    A loss takes one pass back, however many outputs there are. Features of any two sets of points
    belong together if seed, number of features and model structure are the same, so sets can be
    sketched apart, at different times or machines.

    Args:
        model: Any module that maps (n, …) to (n, outputs), in eval mode.
        inputs: Shape (n, …).
        targets: Their targets.
        loss: Loss of one prediction, see :mod:`lecore.losses`; as in
            :func:`~lecore.changes.prediction_change` if left out.
        features: Number of features; the error falls with its root.
        seed: Seed of the projection.
        dtype: Precision of the calculation.
        chunk_size: Points whose factors are held at a time.
        tiles: Where it runs and where the features go, some points after others.
        check: Whether to look at two points first: see :mod:`lecore.engine.checks.gradients`.

    Returns:
        Shape (n, outputs, features), of a loss (n, 1, features).

    Raises:
        LecoreError: If the model, the inputs or the targets are unfit, or a number is not positive.
    """
    if targets is None and loss is not None:
        raise LecoreError("a loss was given without targets", "give both, or neither")
    features, chunk_size = whole("features", features), whole("chunk_size", chunk_size)
    seed = whole("seed", seed, 0, SEEDS)
    with opened(model, inputs, dtype) as (measured, inputs), torch.no_grad():
        points = Side(inputs) if targets is None else labelled(measured, inputs, targets, loss)
        check_points(measured, inputs, inputs, check)
        structure, _ = structures(measured, inputs, inputs, check)
        matrix = SketchMatrix(measured[1], structure, points, features, seed, chunk_size)
        return matrix.compute(tiles)


@dataclass(frozen=True)
class SketchMatrix:
    """Random features of gradients, some points after others.

    Attributes:
        network: The network.
        structure: How its parameters are used.
        points: The points, with or without a loss.
        features: Number of features.
        seed: Seed of the projection.
        chunk_size: Points whose factors are held at a time.
    """

    network: Snapshot
    structure: Structure
    points: Side
    features: int
    seed: int
    chunk_size: int

    @property
    def signals(self) -> int:
        """Gradients of a point."""
        return self.structure.outputs if self.points.loss is None else 1

    def compute(self, tiles: Tiles) -> Any:
        """All of them, shape (n, signals, features)."""
        check_tiles(tiles, self.network.manners.draws)
        network, points, identity = self.network, self.points, None
        if tiles.store is not None:
            identity = identify(
                by=__name__, key=tiles.key, model=network.module, parameters=network.parameters,
                buffers=network.fixed, loss=points.loss, data=points[:2],
                settings=(network.products, self.features, self.seed),
            )  # fmt: skip
        return compute_tiles(
            self,
            len(points.inputs),
            self.signals,
            tiles=tiles,
            dtype=network.dtype,
            cost=self.cost(),
            trailing=(self.features,),
            device=network.device,
            identity=identity,
        )

    def cost(self) -> TileCost:
        """Working memory."""
        held = min(self.chunk_size, len(self.points.inputs))
        found = factors_of_one(self.network, self.structure, self.points.loss).nbytes
        direct = max((self.network.parameters[k].nbytes for k in self.structure.direct), default=0)
        return TileCost(
            row=0,
            column=0,
            pair=2 * self.features * self.network.dtype.itemsize,
            fixed=held * (found + direct * self.signals) + 4 * PIECE_BYTES,
            passing=pass_bytes(self.network, self.structure, self.points.loss) + found,
            together=min(held, chunk_of_passes(self.network, self.structure, self.points.loss)),
        )

    def witness(self) -> Tensor:
        """By which another process shows that it has the same network and loss."""
        return witness(self.network, self.points)

    def __call__(self, rows: slice, columns: slice) -> Tensor:
        """Features of these points and signals."""
        network = self.network.copy()
        with torch.no_grad(), network.flags(), of_rows(rows):
            parts = []
            for start in range(rows.start, rows.stop, self.chunk_size):
                part = slice(start, min(start + self.chunk_size, rows.stop))
                some = self.points.signals(network, part)
                factors = gradient_factors(network, self.structure, *some[:3])
                parts.append(self._projected(network, factors))
            sketch = torch.cat(parts)[:, columns]
            check_finite(sketch, "the sketch")
            return sketch

    def _projected(self, network: Snapshot, factors: Factors) -> Tensor:
        n = len(factors.prediction)
        sketch = factors.prediction.new_zeros(n, self.signals, self.features)
        for place, (name, weight) in enumerate(network.parameters.items()):
            size = weight.numel() * (2 if weight.is_complex() else 1)  # its two parts
            hashed = _hashed(size, self.features, _mixed(self.seed, place))
            for gradient, places in _pieces(self.structure, factors, name, weight):
                _add_projection(sketch, gradient, places, *hashed)
        return sketch


def sketched_ntk(features: Tensor, test_features: Tensor | None = None) -> Sketch:
    """The tangent kernel's estimate from :func:`gradient_sketch`, with its error.

    From sketches of a loss it is that of :func:`~lecore.study.influence.loss_kernel`, with one
    output.

    Args:
        features: Of the row points, shape (n, outputs, features).
        test_features: Of the column points, shape (m, outputs, features); the row points if left
            out.

    Raises:
        LecoreError: If they are no sketches, or of other numbers of features.
    """
    features = numbers("features", features, "n", "outputs", "features")
    test_features = features if test_features is None else test_features
    test_features = numbers("test_features", test_features, "m", "outputs", "features")
    kind = torch.promote_types(features.dtype, test_features.dtype)
    features, test_features = features.to(kind), test_features.to(features.device, kind)
    if test_features.shape[2] != features.shape[2]:
        raise LecoreError("the sketches have other numbers of features", "take the same")
    kernel = torch.einsum("icf,jkf->ijck", features, test_features)
    own, test_own = features.square().sum(2), test_features.square().sum(2)
    product = own[:, None, :, None] * test_own[None, :, None, :]
    return Sketch(kernel, ((product + kernel**2) / features.shape[2]).sqrt())


def _pieces(
    structure: Structure, factors: Factors, name: str, weight: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Entries of a parameter's gradient, and where they belong, of all examples or of each.

    From factors they come some units at a time, so that no gradient is ever whole. Whichever way
    the gradients of a network are found, each coordinate has the same feature.
    """
    if name in factors.direct:
        gradient = factors.direct[name]
        yield gradient, torch.arange(gradient.shape[2])
        return
    for call in structure.calls:
        if name == call.bias and call.weight in factors.outer:  # in its weight's factors
            bias = factors.outer[call.weight].signal.sum(3).flatten(2)
            yield bias, torch.arange(bias.shape[2])
            return
        if name == call.weight:
            outer = factors.outer[name]._replace(bias=False)
            if outer.read.is_floating_point():
                yield from _some_units(outer, call.layer.places(weight))
            else:  # an embedding's indices: the rows that they take
                width = weight.shape[1]
                rows = outer.read[:, 0].cpu() * width + torch.arange(width)
                yield outer.signal.flatten(2), rows.flatten(1)
            return


def _some_units(outer: Outer, places: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    n, outputs, groups, _, units = outer.signal.shape
    places = places.view(groups, units, -1)
    unit = n * outputs * groups * places.shape[2] * outer.signal.itemsize
    step = max(1, PIECE_BYTES // max(1, unit))
    for start in range(0, units, step):
        some = slice(start, start + step)
        piece = outer._replace(signal=outer.signal[..., some])
        yield dense_gradient(piece), places[:, some].flatten()


def _mixed(seed: int, place: int) -> int:
    """A seed for each parameter; neighbouring seeds give independent projections."""
    return int(np.random.SeedSequence([seed, place]).generate_state(1)[0])


def _hashed(size: int, features: int, seed: int) -> tuple[Tensor, Tensor]:
    """The feature that each of so many coordinates is added to, and the sign."""
    generator = torch.Generator().manual_seed(seed)
    feature = torch.randint(features, (size,), generator=generator)
    return feature, torch.randint(2, (size,), generator=generator, dtype=torch.int8) * 2 - 1


def _add_projection(
    sketch: Tensor, gradient: Tensor, places: Tensor, feature: Tensor, sign: Tensor
) -> None:
    sign, where = sign[places].to(gradient), feature[places].to(sketch.device)
    if places.ndim == 1:
        sketch.index_add_(2, where, gradient * sign)
    else:
        signed = gradient * sign[:, None]
        sketch.scatter_add_(2, where[:, None].expand(signed.shape), signed)
