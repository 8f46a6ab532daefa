"""The networks of both papers, with width as a parameter.

Every function takes a ``seed`` and returns the same weights for it on every device. All networks
map (n, …) to (n, outputs).
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lecore.arguments.names import Choices, check_name
from lecore.arguments.settings import flag, image_shape, sizes, whole
from lecore.data.torchvision_import import import_torchvision
from lecore.errors import LecoreError
from lecore.seeding import seeded

Parameterization = Literal["standard", "ntk"]

ACTIVATIONS: Choices[Callable[[], nn.Module]] = Choices(
    "activation",
    {
        "relu": nn.ReLU, "linear": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh,
        "gelu": nn.GELU, "softplus": nn.Softplus,
    },
)  # fmt: skip
"""Activation functions by name; ``linear`` is the identity."""


class NTKLinear(nn.Linear):
    """A linear layer in NTK parameterisation: W x/√inputs + b, with W and b standard normal.

    Jacot, Gabriel, Hongler (2018). Its tangent kernel keeps a finite limit as widths grow.
    """

    def reset_parameters(self) -> None:
        """Draw weights and biases from N(0, 1)."""
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.normal_(self.bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return F.linear(input / math.sqrt(self.in_features), self.weight, self.bias)


def fully_connected(
    inputs: int,
    width: int,
    hidden_layers: int,
    activation: str = "relu",
    *,
    outputs: int = 1,
    probability: bool = False,
    parameterization: Parameterization = "standard",
    seed: int = 0,
) -> nn.Sequential:
    """A fully connected network with biases; images are flattened.

    Args:
        inputs: Number of input values of one example.
        width: Units in each hidden layer.
        hidden_layers: How many; 0 gives a linear model.
        activation: A key of :data:`ACTIVATIONS`; ``linear`` gives He & Su's linear networks.
        outputs: Number of outputs.
        probability: Whether a sigmoid follows the last layer, as in their cross-entropy nets.
        parameterization: ``standard`` is torch's own initialisation, which He & Su use;
            ``ntk`` uses :class:`NTKLinear`.
        seed: Seed of the initial weights.

    Raises:
        LecoreError: If the activation or parameterisation is unknown or a size is not positive.
    """
    check_name("activation", activation, ACTIVATIONS)
    check_name("parameterization", parameterization, ("standard", "ntk"))
    inputs, width, outputs = sizes(inputs=inputs, width=width, outputs=outputs)
    hidden_layers = whole("hidden_layers", hidden_layers, 0)
    flag("probability", probability)
    layer = nn.Linear if parameterization == "standard" else NTKLinear
    widths = [inputs] + hidden_layers * [width]
    with seeded(seed):
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in in widths[:-1]:
            layers += [layer(fan_in, width), ACTIVATIONS[activation]()]
        layers.append(layer(widths[-1], outputs))
    if probability:
        layers.append(nn.Sigmoid())
    return nn.Sequential(*layers)


def two_layer(
    inputs: int, width: int = 40960, activation: str = "relu", **settings: Any
) -> nn.Sequential:
    """One hidden layer; 40960 units in He & Su. Settings are those of :func:`fully_connected`."""
    return fully_connected(inputs, width, 1, activation, **settings)


def three_layer(
    inputs: int, width: int = 8192, activation: str = "relu", **settings: Any
) -> nn.Sequential:
    """Two hidden layers; 8192 units each in He & Su, with the same settings."""
    return fully_connected(inputs, width, 2, activation, **settings)


def sign_output(inputs: int, width: int, activation: str = "relu", *, seed: int = 0) -> nn.Module:
    """The network of He & Su's equation (4): Σ_r a_r σ(w_rᵀ x̄), x̄ = (x, 1), a_r = ±1 fixed.

    The hidden weights are standard normal and the only ones that train.
    """
    network = fully_connected(inputs, width, 1, activation, parameterization="ntk", seed=seed)
    hidden, output = nn.Linear(inputs, width), nn.Linear(width, 1, bias=False)
    hidden.load_state_dict(network[1].state_dict())
    with torch.no_grad(), seeded(seed + 1):
        output.weight.copy_(torch.randint(0, 2, (1, width)) * 2.0 - 1.0)
    output.weight.requires_grad_(False)
    return nn.Sequential(nn.Flatten(), hidden, ACTIVATIONS[activation](), output)


class SkipSum(nn.Module):
    """The last hidden stage of He & Su's "ResNet": x + ReLU(W x + b)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x + F.relu(self.linear(x))


def three_layer_resnet(
    inputs: int, width: int = 4096, *, outputs: int = 1, seed: int = 0
) -> nn.Sequential:
    """He & Su's "ResNet": three layers with one skip connection, out = W₃(h₁ + h₂)."""
    inputs, width, outputs = sizes(inputs=inputs, width=width, outputs=outputs)
    with seeded(seed):
        return nn.Sequential(
            nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), SkipSum(width),
            nn.Linear(width, outputs),
        )  # fmt: skip


def mnist_cnn(*, outputs: int = 1, seed: int = 0) -> nn.Sequential:
    """He & Su's CNN for 28 × 28 grey images: two 5 × 5 convolutions and two linear layers."""
    (outputs,) = sizes(outputs=outputs)
    with seeded(seed):
        return nn.Sequential(
            nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, outputs),
        )  # fmt: skip


def image_cnn(
    shape: tuple[int, int, int], *, width: int = 32, outputs: int = 10, seed: int = 0
) -> nn.Sequential:
    """A small CNN for any images: three times a 3 × 3 convolution and halving, then linear.

    Args:
        shape: Channels, height and width of an image.
        width: Channels after the first convolution; doubled by each of the others.
        outputs: Number of outputs.
        seed: Seed of the weights.

    Raises:
        LecoreError: If an image has fewer than 8 rows or columns.
    """
    width, outputs = sizes(width=width, outputs=outputs)
    channels, height, columns = image_shape(shape)
    if min(height, columns) < 8:
        raise LecoreError(f"images of {height} × {columns} are too small", "need 8 × 8 or more")
    widths = [channels, width, 2 * width, 4 * width]
    with seeded(seed):
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        values = widths[-1] * (height // 8) * (columns // 8)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(values, outputs))


def resnet18(*, outputs: int = 3, seed: int = 0) -> nn.Module:
    """The network of Dan et al.: torchvision's ResNet-18 with every normalisation removed.

    Convolutions have no biases and are drawn from Kaiming's normal distribution (fan out).
    """
    (outputs,) = sizes(outputs=outputs)
    torchvision = import_torchvision()
    with seeded(seed):
        network: nn.Module = torchvision.models.resnet18(
            norm_layer=nn.Identity, num_classes=outputs
        )
    return network
