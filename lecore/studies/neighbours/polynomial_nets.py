"""Π-nets: networks without activations, whose output is a polynomial of the input.

Chrysos, Moschoglou, Bouritsas, Panagakis, Deng, Zafeiriou, "Π-nets: Deep Polynomial Neural
Networks" (CVPR 2020; TPAMI 2021). A polynomial of degree N in z has tensors of all orders up to N.
Three ways to factor them give three recursions, which multiply by a linear map of the input once
an order, element by element.
"""

from bisect import bisect_left
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from lecore.arguments.names import check_name
from lecore.arguments.settings import image_shape, sizes, whole
from lecore.errors import LecoreError
from lecore.seeding import seeded

KINDS = ("CCP", "NCP", "NCP-skip")
"""The coupled decomposition, the nested one, and the nested one with skips."""

Layer = Callable[[], nn.Module]


class PolynomialNet(nn.Module):
    """A polynomial of the input, by one of three decompositions.

    With linear maps A_n of the input z, S_n and V_n of the state, and products element by element:
    x_1 = A_1 z, and for n = 2 … N

    * CCP: x_n = A_n z * x_{n−1} + x_{n−1};
    * NCP: x_n = A_n z * S_n x_{n−1}, S_n with a bias (in the paper B_n b_n);
    * NCP-skip: x_n = A_n z * S_n x_{n−1} + V_n x_{n−1}.

    The output is a linear head of x_N. The factor B_1 b_1 of the paper's x_1 is a part of A_1 here.

    Args:
        kind: One of :data:`KINDS`.
        degree: N, 2 or larger.
        of_input: Makes a linear layer from the input to the state.
        of_state: Makes one from the state to itself.
        head: From the state to the outputs, linear.

    Raises:
        LecoreError: If the kind is unknown, or the degree is not a whole number of 2 or more.
    """

    def __init__(
        self, kind: str, degree: int, of_input: Layer, of_state: Layer, head: nn.Module
    ) -> None:
        super().__init__()
        check_name("decomposition", kind, KINDS)
        if (degree := whole("degree", degree)) == 1:
            raise LecoreError(
                "degree must be 2 or larger", "take fully_connected(inputs, width, 0) for 1"
            )
        later = degree - 1 if kind != "CCP" else 0
        self.kind, self.degree = kind, degree
        self.of_input = nn.ModuleList([of_input() for _ in range(degree)])
        self.of_state = nn.ModuleList([of_state() for _ in range(later)])
        self.skips = nn.ModuleList([of_state() for _ in range(later if kind == "NCP-skip" else 0)])
        self.head = head

    def forward(self, z: Tensor) -> Tensor:
        """The outputs at inputs z."""
        first, *others = self.of_input
        x: Tensor = first(z)
        for n, layer in enumerate(others):
            kept = x if self.kind == "CCP" else self.of_state[n](x)
            product = layer(z) * kept
            if self.kind == "NCP":
                x = product
            else:
                x = product + (x if self.kind == "CCP" else self.skips[n](x))
        outputs: Tensor = self.head(x)
        return outputs

    def extra_repr(self) -> str:  # noqa: D102
        return f"{self.kind}, degree={self.degree}"


def dense(
    kind: str,
    inputs: int,
    width: int,
    degree: int,
    *,
    outputs: int = 1,
    bias: bool = True,
    seed: int = 0,
) -> nn.Sequential:
    """A polynomial net of matrices; images are flattened.

    Args:
        kind: One of :data:`KINDS`.
        inputs: Number of input values of one example.
        width: Values of the state x_n, the rank of the decomposition.
        degree: Of the polynomial, 2 or larger.
        outputs: Number of outputs.
        bias: Whether A_n has a bias. The paper prints none; with it, A_n is a map of (z, 1), as
            the first layer of other networks is.
        seed: Seed of the initial weights, which are those of torch's layers.

    Returns:
        From shape (n, …) to (n, outputs).

    Raises:
        LecoreError: If the kind is unknown, the degree too small or a size not positive.
    """
    inputs, width, outputs = sizes(inputs=inputs, width=width, outputs=outputs)
    with seeded(seed):
        net = PolynomialNet(
            kind, degree, partial(nn.Linear, inputs, width, bias=bias),
            partial(nn.Linear, width, width), nn.Linear(width, outputs),
        )  # fmt: skip
    return nn.Sequential(nn.Flatten(), net)


def convolutional(
    kind: str,
    shape: tuple[int, int, int],
    width: int,
    degree: int,
    *,
    outputs: int = 10,
    kernel: int = 3,
    pool: int = 4,
    bias: bool = True,
    seed: int = 0,
) -> PolynomialNet:
    """A polynomial net whose maps are convolutions, with mean pooling before a linear head.

    Args:
        kind: One of :data:`KINDS`.
        shape: Channels, height and width of an image; both divisible by ``pool``.
        width: Channels of the state x_n.
        degree: Of the polynomial, 2 or larger.
        outputs: Number of outputs.
        kernel: Side of the convolutions, odd.
        pool: Side of the squares of which the head reads the mean.
        bias: Whether A_n has a bias.
        seed: Seed of the initial weights.

    Returns:
        From shape (n, channels, height, width) to (n, outputs).

    Raises:
        LecoreError: If the kind is unknown, the degree too small, a size not positive, the shape
            another, the kernel even, or the image no multiple of ``pool``.
    """
    channels, height, columns = image_shape(shape)
    width, outputs, kernel, pool = sizes(width=width, outputs=outputs, kernel=kernel, pool=pool)
    if kernel % 2 == 0 or height % pool or columns % pool:
        raise LecoreError(
            f"kernel {kernel} is even, or {height} × {columns} no multiple of pool {pool}",
            "take an odd kernel, and a pool that divides both sides", "polynomial net",
        )  # fmt: skip
    conv = partial(nn.Conv2d, kernel_size=kernel, padding=kernel // 2)
    values = width * (height // pool) * (columns // pool)
    with seeded(seed):
        head = nn.Sequential(nn.AvgPool2d(pool), nn.Flatten(), nn.Linear(values, outputs))
        return PolynomialNet(
            kind, degree, partial(conv, channels, width, bias=bias), partial(conv, width, width),
            head,
        )  # fmt: skip


def parameters_of(network: nn.Module) -> int:
    """How many numbers a network trains."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def width_for(wanted: int, make: Callable[[int], nn.Module]) -> int:
    """Width at which a kind of network has about a number of parameters.

    Args:
        wanted: That number.
        make: Makes the network of a width; it has more parameters the wider it is.

    Raises:
        LecoreError: If that number is not positive.
    """
    wanted = whole("wanted", wanted)

    def count(width: int) -> int:
        with torch.device("meta"):  # without drawing weights
            return parameters_of(make(width))

    high = 1
    while count(high) < wanted:
        high *= 2
    first = bisect_left(range(high), wanted, key=lambda width: count(width) if width else 0)
    return min((w for w in (first - 1, first) if w), key=lambda w: abs(count(w) - wanted))
