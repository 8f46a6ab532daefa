"""Samples of the weights of a classifier, from Laplace's approximation of its posterior."""

import copy
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # torch names it privately

from lecore.arguments.settings import number, whole
from lecore.data.torchvision_import import import_torchvision
from lecore.errors import LecoreError, extra, in_short
from lecore.seeding import seeded
from lecore.studies.neighbours.calibration_error import check_labels


class Posterior(NamedTuple):
    """Samples of the weights of a classifier.

    Attributes:
        network: The mode, a sequence of layers that ends with a linear one, in eval mode.
        weight: Of the last layer of each sample, shape (samples, classes, units).
        bias: Likewise, shape (samples, classes).
    """

    network: nn.Sequential
    weight: Tensor
    bias: Tensor


def last_layer_posterior(
    network: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    *,
    precision: float,
    samples: int,
    seed: int,
) -> Posterior:
    """Laplace's approximation of the posterior of the last layer, by ``laplace-torch``.

    A Gaussian around the mode whose precision is the curvature of the log posterior there, in full:
    for the last layer of a classifier that is Σ_n (diag p_n − p_n p_nᵀ) ⊗ φ_n φ_nᵀ + τ I, exactly.
    Daxberger et al., "Laplace redux" (NeurIPS 2021).

    Args:
        network: Layers that end with a linear one, trained to the mode: its mean cross-entropy with
            a weight decay of ``precision`` over the number of images.
        images: What it was trained on, shape (n, …).
        labels: Classes, shape (n,).
        precision: τ > 0 of the Gaussian prior of each weight.
        samples: Weights to draw.
        seed: Of the draws.

    Raises:
        LecoreError: If the network ends otherwise, its last layer is frozen, it does not take the
            images, these hold NaN, labels are no classes or not one for each image, ``precision``
            or ``samples`` are not positive, ``laplace-torch`` is missing, or the posterior has
            diverged: its weights are not finite, or its samples classify less than half as many of
            the images right as the mode.
    """
    last = network[-1] if isinstance(network, nn.Sequential) and len(network) else None
    if type(last) is not nn.Linear:
        raise LecoreError("the network does not end with a linear layer", "take nn.Sequential")
    classes, units = last.weight.shape
    if last.bias is None:
        raise LecoreError("the last layer has no bias", "take nn.Linear with one")
    if not (last.weight.requires_grad and last.bias.requires_grad):
        raise LecoreError("the last layer is frozen", "call its requires_grad_()")
    check_labels(labels, classes)
    precision = number("precision", precision, lambda p: 0 < p < inf, "positive and finite")
    samples = whole("samples", samples)
    _check_images(network, images, labels, classes)
    curvature = _laplace()(
        network, "classification", subset_of_weights="last_layer", hessian_structure="full",
        prior_precision=precision, last_layer_name=str(len(network) - 1),
    )  # fmt: skip
    batches = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, labels.long()), batch_size=500
    )
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries below it
        try:
            curvature.fit(batches)
            drawn = curvature.sample(samples).detach()
        except (LinAlgError, ValueError) as error:  # what a factorisation of NaN raises
            raise _diverged("its curvature is no covariance", precision) from error
    weight, bias = drawn.split([classes * units, classes], dim=1)
    found = Posterior(network, weight.unflatten(1, (classes, units)), bias)
    if not bool(torch.isfinite(drawn).all()):
        raise _diverged("its weights are not finite", precision)
    right = (logits(found, images[:1000]).argmax(-1) == labels[:1000]).double().mean()
    mode = (network(images[:1000]).argmax(-1) == labels[:1000]).double().mean()
    if right < mode / 2:
        what = f"its samples classify {right:.0%} of the images right, the mode {mode:.0%}"
        raise _diverged(what, precision)
    return found


def mode_alone(posterior: Posterior) -> Posterior:
    """The mode as a posterior of one sample."""
    last: Any = posterior.network[-1]
    return Posterior(posterior.network, last.weight.detach()[None], last.bias.detach()[None])


def sampled_networks(posterior: Posterior) -> Iterator[nn.Sequential]:
    """Each posterior sample as a network of its own."""
    for weight, bias in zip(posterior.weight, posterior.bias, strict=True):
        network = copy.deepcopy(posterior.network)
        last: Any = network[-1]
        with torch.no_grad():
            last.weight.copy_(weight)
            last.bias.copy_(bias)
        yield network


def logits(posterior: Posterior, images: Tensor, *, shared: bool = True) -> Tensor:
    """Outputs of all samples, shape (samples, n, classes).

    Args:
        posterior: The samples.
        images: Shape (n, …).
        shared: Whether they are the same for all samples; otherwise their shape is
            (samples, n, …).
    """
    with torch.no_grad():
        return outputs(posterior, images, shared=shared)


def outputs(posterior: Posterior, images: Tensor, *, shared: bool) -> Tensor:
    """:func:`logits`, through which gradients go back to the images."""
    network, weight, bias = posterior
    last = len(network) - 1

    def of_one(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        named = {f"{last}.weight": weight, f"{last}.bias": bias}
        return functional_call(network, named, (x,))

    found: Tensor = vmap(of_one, in_dims=(0, 0, None if shared else 0))(weight, bias, images)
    return found


def _check_images(network: nn.Module, images: Tensor, labels: Tensor, classes: int) -> None:
    if not len(images) or labels.shape != images.shape[:1]:
        shapes = f"{tuple(images.shape)} and {tuple(labels.shape)}"
        raise LecoreError(f"need images (n, …) and labels (n,), got {shapes}")
    if not bool(torch.isfinite(images).all()):
        raise LecoreError("some pixels are not finite", "look at the images")
    some = images[:2]
    try:
        with torch.no_grad():
            shape = network(some).shape
    except (RuntimeError, TypeError, ValueError) as error:
        raise LecoreError(f"the network does not take the images ({in_short(error)})") from error
    if shape != (len(some), classes):
        what = f"the outputs for {len(some)} images have shape {tuple(shape)}"
        raise LecoreError(what, f"they must be {classes} each, so flatten images first")


def _diverged(why: str, precision: float) -> LecoreError:
    cure = f"train the network to its mode, or take a precision above {precision:g}"
    return LecoreError(f"the posterior has diverged: {why}", cure)


def _laplace() -> Any:
    if find_spec("torchvision") is not None:
        import_torchvision()  # which laplace imports too, and which stops beside torch's CPU wheel
    with extra("bayes"), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # torch.jit.script is deprecated, and a package below calls it
        from laplace import Laplace

    return Laplace
