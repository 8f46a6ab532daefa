"""Small networks and images in the roles of He & Su's ResNet-152, its cats and warplanes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lecore.data.images import load, scaled
from lecore.losses import cross_entropy
from lecore.models import fully_connected, image_cnn
from lecore.training import train

ROLES = ("tabby", "tiger", "warplane", "frog")
"""Classes of He & Su, updated, similar, distant, and a third one beside batches of two."""

PER_CLASS = 2000
"""Training images of a class, at most."""


class Problem(NamedTuple):
    """What takes the place of a pretrained network and of ImageNet's photographs.

    Attributes:
        networks: In eval mode, by kind; ``trained`` is one of them.
        images: Test images of each class, shape (images, …).
        labels: Of each class, the class that a step takes for its images, shape (images,).
        class_names: Name of each class.
        roles: The classes that take :data:`ROLES`.
    """

    networks: dict[str, list[nn.Module]]
    images: list[Tensor]
    labels: list[Tensor]
    class_names: tuple[str, ...]
    roles: tuple[int, ...]


def analogue(
    data: str,
    roles: Sequence[int],
    seeds: Sequence[int],
    *,
    epochs: int,
    width: int,
    device: str = "cpu",
) -> Problem:
    """Networks trained here: three convolutions, the same at random, and a linear model.

    Args:
        data: Image set, see :func:`lecore.data.images.load`.
        roles: Its classes in the order of :data:`ROLES`.
        seeds: One for each network of a kind.
        epochs: Passes of Adam (10⁻³, batches of 128) over up to 2,000 images of each class.
        width: Channels after the first convolution, see :func:`lecore.models.image_cnn`.
        device: Where to compute.

    Returns:
        Networks ``trained``, ``random`` and ``linear`` (softmax regression on pixels).
    """
    found = load(data)
    classes = range(len(found.class_names))
    rows = np.concatenate([np.flatnonzero(found.y_train == k)[:PER_CLASS] for k in classes])
    x = torch.tensor(scaled(found.x_train[rows]), device=device)
    y = torch.tensor(found.y_train[rows], device=device)
    test = [scaled(found.x_test[found.y_test == k]) for k in classes]
    images = [torch.tensor(pixels, device=device) for pixels in test]
    labels = [torch.full((len(pixels),), k, device=device) for k, pixels in enumerate(test)]

    def fitted(network: nn.Module, seed: int) -> nn.Module:
        train(
            network, x, y, learning_rate=1e-3, epochs=epochs, batch_size=128, loss=cross_entropy,
            optimizer="adam", shuffle="each epoch", seed=seed, progress=True,
        )  # fmt: skip
        return network.eval()

    def convolutional(seed: int) -> nn.Module:
        _, channels, height, columns = x.shape
        shape = (channels, height, columns)
        return image_cnn(shape, width=width, outputs=len(classes), seed=seed).to(device)

    def linear(seed: int) -> nn.Module:
        return fully_connected(x[0].numel(), 1, 0, outputs=len(classes), seed=seed).to(device)

    networks = {
        "trained": [fitted(convolutional(seed), seed) for seed in seeds],
        "random": [convolutional(seed).eval() for seed in seeds],
        "linear": [fitted(linear(seed), seed) for seed in seeds],
    }
    return Problem(networks, images, labels, found.class_names, tuple(roles))
