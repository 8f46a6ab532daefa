"""Calibration by layers g that are added behind a trained network f, after Rahimi et al. (2020)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from lecore.arguments.settings import number, whole
from lecore.errors import LecoreError
from lecore.seeding import seeded
from lecore.studies.neighbours.calibration_error import check_logits

NEWTON = 20
"""Steps of Newton's method at most."""
SEPARATED = 1e-6
"""A mean NLL that no noisy labels have."""


class AddedLayers(nn.Module):
    """g(z) = W z + b + V tanh(U z + c), the identity to begin with.

    Attributes:
        straight: W and b; W = 1 and b = 0 at first.
        bend: U and c, or None without hidden units.
        back: V, 0 at first, or None.
    """

    def __init__(self, classes: int, hidden: int = 0, *, seed: int = 0) -> None:
        """The identity on ``classes`` logits.

        Args:
            classes: C, 2 or more.
            hidden: Units of the bent part; without any, NLL is convex in g.
            seed: Of U and c.

        Raises:
            LecoreError: If there are fewer than two classes, or units below 0.
        """
        super().__init__()
        classes, hidden = whole("classes", classes, 2), whole("hidden", hidden, 0)
        self.straight = nn.Linear(classes, classes)
        with torch.no_grad(), seeded(seed):
            self.straight.weight.copy_(torch.eye(classes))
            self.straight.bias.zero_()
            self.bend = nn.Linear(classes, hidden) if hidden else None
            self.back = nn.Linear(hidden, classes, bias=False) if hidden else None
            if self.back is not None:
                self.back.weight.zero_()

    def forward(self, z: Tensor) -> Tensor:
        """Calibrated logits, shape (n, C)."""
        straight = self.straight(z)
        if self.bend is None or self.back is None:
            return straight
        return straight + self.back(torch.tanh(self.bend(z)))


class Fit(NamedTuple):
    """How the training of g ended.

    Attributes:
        nll: Mean negative log-likelihood of the labels, in nats.
        gradient: Norm of the gradient of what was made small, over all weights of g.
        iterations: Of L-BFGS.
    """

    nll: float
    gradient: float
    iterations: int


def fit(
    g: AddedLayers,
    logits: Tensor,
    labels: Tensor,
    *,
    penalty: float = 1e-4,
    tolerance: float = 1e-9,
    limit: int = 2000,
) -> Fit:
    """Train g in place to the optimum of its likelihood, in float64.

    What is made small is NLL + penalty/2 · (s² ‖W − 1‖² + s² ‖U‖² + ‖V‖²), where s² is the mean
    square of the logits, so that their unit does not matter. Biases are free: at the optimum each
    class has, in the mean, the probability that is its frequency. L-BFGS comes close; a few steps
    of Newton's method go on where rounding stops its line search.

    Args:
        g: Becomes float64.
        logits: f's outputs on held-out images, shape (n, C).
        labels: Shape (n,).
        penalty: ≥ 0. With 0 there is no optimum where straight cuts in logit space separate a
            class from all others. Of 10⁻⁵, 10⁻⁴, 10⁻³ and 10⁻² the second gave the largest
            likelihood to one half of calibration images if g, without hidden units, was fitted on
            the other half.
        tolerance: Norm of the gradient at which the optimum is reached.
        limit: Iterations of L-BFGS at most.

    Raises:
        LecoreError: If labels are no classes of g or of one class only, shapes do not fit, numbers
            are not finite, or the optimum is not reached.
    """
    _check(g, logits, labels, penalty)
    limit = whole("limit", limit, 0)
    g.double()
    z, y = logits.detach().double(), labels.long()
    shapes = {name: p.shape for name, p in g.named_parameters()}
    scale = float(z.square().mean().sqrt()) or 1.0
    first = scale * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)

    def unpacked(flat: Tensor) -> dict[str, Tensor]:
        parts = flat.split([shape.numel() for shape in shapes.values()])
        return {n: v.view(shapes[n]) for n, v in zip(shapes, parts, strict=True)}

    def objective(flat: Tensor) -> Tensor:
        """Of weights that act on z / s."""
        named = unpacked(flat)
        far = sum(
            (w - first if name == "straight.weight" else w).square().sum()
            for name, w in named.items() if name.endswith("weight")
        )  # fmt: skip
        return F.cross_entropy(functional_call(g, named, (z / scale,)), y) + penalty / 2 * far

    with torch.no_grad():
        for part in (g.straight, g.bend):
            if part is not None:
                part.weight *= scale
    flat, iterations = _lbfgs(objective, parameters_to_vector(g.parameters()), limit)
    flat, gradient = _newton(objective, flat, tolerance)
    if not gradient.norm() <= tolerance:
        raise LecoreError(
            f"no optimum after {iterations} iterations (gradient {float(gradient.norm()):.1g})",
            "take a larger penalty, more images or a higher limit",
        )
    vector_to_parameters(flat, g.parameters())
    with torch.no_grad():
        for part in (g.straight, g.bend):
            if part is not None:
                part.weight /= scale
        nll = float(F.cross_entropy(g(z), y))
    if penalty == 0 and nll < SEPARATED:
        raise LecoreError(
            "g separates the classes of these images, so that its likelihood has no largest value",
            "take a penalty, or more images",
        )
    return Fit(nll, float(gradient.norm()), iterations)


def _lbfgs(objective: Callable[[Tensor], Tensor], start: Tensor, limit: int) -> tuple[Tensor, int]:
    """Near the optimum, and after how many iterations."""
    flat = start.detach().clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [flat], max_iter=limit, max_eval=4 * limit, tolerance_grad=1e-5, tolerance_change=0.0,
        history_size=50, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective(flat)
        loss.backward()
        return loss

    optimizer.step(closure)
    return flat.detach(), int(optimizer.state[flat]["n_iter"])


def _newton(
    objective: Callable[[Tensor], Tensor], flat: Tensor, tolerance: float
) -> tuple[Tensor, Tensor]:
    """From near the optimum to it, and the gradient there; steps lead downhill from saddles too."""
    gradient = grad(objective)(flat)
    for _ in range(NEWTON):
        if gradient.norm() <= tolerance:
            break
        values, directions = torch.linalg.eigh(hessian(objective)(flat))
        bent = values.abs() > 1e-12 * values.abs().max()  # equal biases change nothing
        step = directions[:, bent] @ ((directions.T @ gradient)[bent] / values[bent].abs())
        for length in 0.5 ** torch.arange(20):
            there = flat - length * step
            slope = grad(objective)(there)
            if objective(there) < objective(flat) or slope.norm() < gradient.norm():
                flat, gradient = there, slope
                break
    return flat, gradient


def frequency_error(logits: Tensor, labels: Tensor) -> float:
    """Largest gap between mean probability and frequency of a class; 0 at :func:`fit`'s optimum.

    Args:
        logits: Shape (n, C).
        labels: Shape (n,).

    Raises:
        LecoreError: If labels are no classes of the logits or not one for each, or a logit is not
            finite.
    """
    _check_logits(logits, labels)
    stated = logits.detach().double().softmax(1).mean(0)
    there = F.one_hot(labels.long(), logits.shape[1]).double().mean(0)
    return float((stated - there).abs().max())


def gradient_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Norm of the gradient of the mean NLL with respect to a network's weights.

    Args:
        network: Maps images to logits.
        images: Shape (n, …).
        labels: Shape (n,).

    Raises:
        LecoreError: If all weights are frozen, labels are no classes or not one for each image, or
            a logit is not finite.
    """
    weights = [p for p in network.parameters() if p.requires_grad]
    if not weights:
        raise LecoreError("all weights are frozen", "call requires_grad_() of the network")
    logits = network(images)
    _check_logits(logits, labels)
    found = torch.autograd.grad(F.cross_entropy(logits, labels.long()), weights)
    return float(torch.cat([part.flatten() for part in found]).double().norm())


def _check_logits(logits: Tensor, labels: Tensor) -> None:
    check_logits(logits.double().numpy(force=True), labels.numpy(force=True))


def _check(g: AddedLayers, logits: Tensor, labels: Tensor, penalty: float) -> None:
    classes = g.straight.in_features
    if logits.shape[1:] != (classes,):
        raise LecoreError(f"g takes logits (n, {classes}), got {tuple(logits.shape)}")
    _check_logits(logits, labels)
    if bool((labels == labels[0]).all()):
        raise LecoreError(
            "the calibration images are of one class", "calibrate on images of several classes"
        )
    number("penalty", penalty, lambda p: 0 <= p < math.inf, "0 or larger and finite")
