"""Probabilistic robustness of a Bayesian network: boxes, attacks and bounds.

Cardelli, Kwiatkowska, Laurenti, Paoletti, Patane & Wicker, "Statistical guarantees for the
robustness of Bayesian neural networks" (IJCAI 2019, arXiv 1903.01980) ask how probable it is, over
the posterior, that some point of a box around an image is put into another class than the image.
Here each posterior sample is shown to be robust (interval bounds exclude every other class), shown
not to be (an attack found a point), or left undecided. The estimate from samples is
:mod:`lecore.studies.neighbours.bayesian_estimate`, the posterior
:mod:`lecore.studies.neighbours.bayesian_posterior`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lecore.errors import LecoreError
from lecore.seeding import seeded
from lecore.studies.neighbours.bayesian_posterior import Posterior, logits, outputs

AT_A_TIME = 50
"""Posterior samples that are attacked together."""

PAIRS = 1000
"""Pairs of a sample and an image that are bounded together."""


class Boxes(NamedTuple):
    """Boxes of images, one around each of n.

    Attributes:
        center: The images, shape (n, …).
        low: Lower corners, of the same shape.
        high: Upper corners, likewise.
    """

    center: Tensor
    low: Tensor
    high: Tensor


class Outcomes(NamedTuple):
    """What is known of each posterior sample at each box, shape (samples, n) each.

    Attributes:
        robust: Bounds exclude that any point of the box has another class than the center.
        broken: An attack found such a point.
    """

    robust: Tensor
    broken: Tensor

    @property
    def undecided(self) -> Tensor:
        """Neither was shown."""
        return ~(self.robust | self.broken)


def box_around(
    images: Tensor,
    radius: float,
    limits: tuple[float, float] = (0.0, 1.0),
    *,
    cut: bool = True,
) -> Boxes:
    """All points whose pixels differ by ``radius`` at most, within the range of the data.

    Args:
        images: The centers, shape (n, …).
        radius: Largest difference of a pixel, in (0, ∞), in the units of the images.
        limits: Smallest and largest value that a pixel of the data can have.
        cut: Whether to cut boxes at the limits; otherwise they must lie within.

    Raises:
        LecoreError: If the radius is not positive, an image lies outside of the limits, or a box
            does and is not cut.
    """
    low, high = limits
    if not 0 < radius < float("inf"):
        raise LecoreError(f"the radius of a box must be positive, not {radius:g}")
    if not bool(((images >= low) & (images <= high)).all()):
        raise LecoreError(
            f"an image leaves the data's range of {low:g} to {high:g}",
            "scale the images, or give their limits",
        )
    box = Boxes(images, images - radius, images + radius)
    if cut:
        return Boxes(images, box.low.clamp(min=low), box.high.clamp(max=high))
    if bool((box.low < low).any() | (box.high > high).any()):
        raise LecoreError(
            f"a box leaves the data's range of {low:g} to {high:g}", "cut it (cut=True)"
        )
    return box


def outcomes(
    posterior: Posterior, box: Boxes, *, steps: int, starts: int = 1, seed: int = 0
) -> Outcomes:
    """What bounds and attacks show of each sample at each box.

    Args:
        posterior: The samples.
        box: Boxes around n images.
        steps: Of each attack.
        starts: Attacks on each.
        seed: Of where they start.
    """
    robust = excluded(posterior, box)
    points = attack(posterior, box, steps=steps, starts=starts, seed=seed)
    return Outcomes(robust, changed(posterior, box, points))


def changed(posterior: Posterior, box: Boxes, points: Tensor) -> Tensor:
    """Whether a sample puts a point into another class than the center, shape (samples, n).

    Args:
        posterior: The samples.
        box: Boxes around n images.
        points: One in each box for each sample, shape (samples, n, …).
    """
    here = logits(posterior, box.center).argmax(-1)
    return logits(posterior, points, shared=False).argmax(-1) != here


def attack(
    posterior: Posterior, box: Boxes, *, steps: int, starts: int = 1, seed: int = 0
) -> Tensor:
    """Points that each sample should put into another class, by projected gradient descent.

    Signed steps from random points of the box raise another logit over that of the center's class
    (Madry et al., 2018), each shorter than the last; the best point counts. The first attack raises
    the best other logit, the next ones those that come second, third, … at the center.

    Args:
        posterior: The samples.
        box: Boxes around n images.
        steps: Of each attack, 1 or larger.
        starts: Attacks on each, 1 or larger; as many as there are classes try each of them.
        seed: Of where they start.

    Returns:
        Points of the boxes, shape (samples, n, …).
    """
    if steps < 1 or starts < 1:
        raise LecoreError(f"steps and starts must be 1 or larger, not {steps} and {starts}")
    center, low, high = box
    found = []
    with seeded(seed):
        for part in _parts(posterior):
            order = logits(part, center).argsort(-1, descending=True)
            here = order[..., 0]
            best = center.expand(len(part.bias), *center.shape).clone()
            most = torch.full(here.shape, -float("inf"), dtype=center.dtype, device=center.device)
            for start in range(starts):
                target = order[..., min(start, order.shape[-1] - 1)] if start else None
                x = low + (high - low) * torch.rand_like(best)
                for step in range(steps + 1):
                    x.requires_grad_(True)
                    now = outputs(part, x, shared=False)
                    ahead = _ahead(now, here)
                    aim = ahead if target is None else _of(now, target) - _of(now, here)
                    (slope,) = torch.autograd.grad(aim.sum(), x)
                    x, ahead = x.detach(), ahead.detach()
                    better = ahead > most
                    best[better], most[better] = x[better], ahead[better]
                    if bool((most > 0).all()):
                        break
                    length = (high - low) / 2 * (1 - step / (steps + 1))
                    x = torch.minimum(torch.maximum(x + length * slope.sign(), low), high)
            found.append(best)
    return torch.cat(found)


def excluded(
    posterior: Posterior, box: Boxes, *, among: Tensor | None = None, linear: bool = True
) -> Tensor:
    """Whether bounds exclude every other class all over the box, shape (samples, n).

    Intervals are pushed through the layers in float64 (Gowal et al., 2018), and for the last one
    through the differences of logits. Where they are too wide, a last ReLU behind a linear layer
    is held between two straight lines (Zhang et al., 2018, "CROWN"), which remembers that all units
    see one image. Both may be wider than the truth, so False says nothing.

    Args:
        posterior: The samples.
        box: Boxes around n images.
        among: Which samples to look at for which image, shape (samples, n); all if left out. The
            others are False.
        linear: Whether to try straight lines, too.

    Raises:
        LecoreError: If a layer is not known to keep intervals.
    """
    *layers, _ = posterior.network
    ends = [(box.low.double(), box.high.double())]
    for layer in layers:
        ends.append(_behind(layer, *ends[-1]))
    here = logits(posterior, box.center).argmax(-1)
    safe = torch.zeros_like(here, dtype=torch.bool)
    wanted = torch.ones_like(safe) if among is None else among
    for sample, image in zip(*(w.split(PAIRS) for w in wanted.nonzero().T), strict=True):
        label = here[sample, image]
        weight, bias = posterior.weight[sample].double(), posterior.bias[sample].double()
        pair = torch.arange(len(sample), device=label.device)
        ahead, more = weight[pair, label][:, None] - weight, bias[pair, label][:, None] - bias
        least = _least(ahead, more, *(end[image] for end in ends[-1]))
        match layers:
            case [*_, nn.Linear() as affine, nn.ReLU()] if linear:
                inner = (end[image] for end in ends[-3])
                least = torch.maximum(least, _least_by_lines(ahead, more, affine, *inner))
        least[pair, label] = float("inf")
        safe[sample, image] = (least > 0).all(-1)
    return safe


def _least(weight: Tensor, bias: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Smallest values of weight · x + bias over boxes, of shapes (n, k, d), (n, k), and (n, d)."""
    middle, half = (low + high) / 2, (high - low) / 2
    least = torch.einsum("nkd,nd->nk", weight, middle)
    return least - torch.einsum("nkd,nd->nk", weight.abs(), half) + bias


def _least_by_lines(
    weight: Tensor, bias: Tensor, affine: nn.Linear, low: Tensor, high: Tensor
) -> Tensor:
    """Lower bounds of weight · ReLU(affine(x)) + bias over boxes, the ReLU between two lines."""
    start, end = (value[:, None] for value in _behind(affine, low, high))
    up, down = end.clamp(min=0), start.clamp(max=0)
    above = torch.where(end > 0, up / (up - down).clamp(min=1e-300), 0.0)  # through both ends
    below = (end > -start).double()  # the better one of 0 and the identity
    slope = torch.where(weight > 0, below, above)
    risen = torch.where(weight > 0, 0.0, -above * down)
    inner = weight * slope
    offset = affine.bias.detach().double() if affine.bias is not None else 0.0
    bias = bias + (weight * risen).sum(-1) + (inner * offset).sum(-1)
    return _least(inner @ affine.weight.detach().double(), bias, low, high)


def _behind(layer: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """An interval behind a layer."""
    if type(layer) is nn.Linear:  # others may scale their weights
        weight = layer.weight.detach().double()
        middle = (low + high) / 2 @ weight.T
        if layer.bias is not None:
            middle = middle + layer.bias.detach().double()
        half = (high - low) / 2 @ weight.abs().T
        return middle - half, middle + half
    if isinstance(layer, nn.Flatten | nn.ReLU | nn.Tanh | nn.Sigmoid | nn.Identity):
        return layer(low), layer(high)  # none of them falls
    raise LecoreError(
        f"no interval bounds are known for {type(layer).__name__}",
        "take linear layers and ReLU, Tanh or Sigmoid",
    )


def _ahead(outputs: Tensor, here: Tensor) -> Tensor:
    """How far the best other logit lies above that of a class."""
    return outputs.scatter(-1, here[..., None], -float("inf")).amax(-1) - _of(outputs, here)


def _of(outputs: Tensor, label: Tensor) -> Tensor:
    """The logit of a class, shape (samples, n)."""
    return outputs.gather(-1, label[..., None])[..., 0]


def _parts(posterior: Posterior) -> Iterator[Posterior]:
    """The samples, some at a time."""
    network, *weights = posterior
    for weight, bias in zip(*(w.split(AT_A_TIME) for w in weights), strict=True):
        yield Posterior(network, weight, bias)
