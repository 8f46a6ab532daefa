"""Neural-tangents, measured from outside: runs in an environment of its own, without lecore.

Reads one request a line from standard input, as JSON, and answers each with one line:

    {"network": "mnist_cnn", "data": "data.npz", "implementation": 3, "batch": 50,
     "symmetric": true, "save": "kernel.npy"}
    {"seconds": 1.5, "compile_seconds": 9.0}

``data.npz`` holds ``inputs`` and the weights under the names of torch's ``state_dict``. The first
request of a kind compiles, and its time counts only as ``compile_seconds``.
"""

import json
import sys
import time
from collections.abc import Callable

import jax
import neural_tangents as nt
import numpy as np
from jax import Array, lax
from jax import numpy as jnp

Weights = dict[str, Array]
Network = Callable[[Weights, Array], Array]


def linear(weights: Weights, name: str, x: Array) -> Array:
    return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]


def convolution(weights: Weights, name: str, x: Array, stride: int = 1, padding: int = 0) -> Array:
    out = lax.conv_general_dilated(
        x,
        weights[f"{name}.weight"],
        window_strides=(stride, stride),
        padding=[(padding, padding)] * 2,
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )
    bias = weights.get(f"{name}.bias")
    return out if bias is None else out + bias[:, None, None]


def maximum_pool(x: Array, size: int, stride: int, padding: int = 0) -> Array:
    around = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 1, size, size), (1, 1, stride, stride), around
    )


def two_layer(weights: Weights, x: Array) -> Array:
    return linear(weights, "3", jax.nn.relu(linear(weights, "1", x.reshape(len(x), -1))))


def mnist_cnn(weights: Weights, x: Array) -> Array:
    x = maximum_pool(jax.nn.relu(convolution(weights, "0", x)), 2, 2)
    x = maximum_pool(jax.nn.relu(convolution(weights, "3", x)), 2, 2)
    return linear(weights, "9", jax.nn.relu(linear(weights, "7", x.reshape(len(x), -1))))


def resnet18(weights: Weights, x: Array) -> Array:
    x = jax.nn.relu(convolution(weights, "conv1", x, 2, 3))
    x = maximum_pool(x, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = jax.nn.relu(convolution(weights, f"{name}.conv1", x, stride, 1))
            y = convolution(weights, f"{name}.conv2", y, 1, 1)
            if stride == 2:
                x = convolution(weights, f"{name}.downsample.0", x, stride)
            x = jax.nn.relu(x + y)
    return linear(weights, "fc", x.mean(axis=(2, 3)))


NETWORKS: dict[str, Network] = {
    "two_layer": two_layer,
    "mnist_cnn": mnist_cnn,
    "resnet18": resnet18,
}


def kernel_by_tiles(
    tile: Callable[..., Array], x: Array, batch: int, weights: Weights, symmetric: bool
) -> np.ndarray:
    """Θ of shape (n, n, outputs, outputs); if symmetric only tiles on and above the diagonal."""
    rows: list[slice] = [slice(i, min(i + batch, len(x))) for i in range(0, len(x), batch)]
    result: np.ndarray | None = None
    for i, row in enumerate(rows):
        for column in rows[i:] if symmetric else rows:
            other = None if row == column else x[column]
            block = np.asarray(tile(x[row], other, weights))
            if result is None:
                result = np.empty((len(x), len(x), *block.shape[2:]), block.dtype)
            result[row, column] = block
            if symmetric:
                result[column, row] = block.transpose(1, 0, 3, 2)
    assert result is not None
    return result


class Server:
    """Keeps the data and the compiled functions between requests."""

    def __init__(self) -> None:
        self.data: dict[str, tuple[Weights, Array]] = {}
        self.tiles: dict[tuple, Callable[..., Array]] = {}

    def measure(
        self,
        network: str,
        data: str,
        implementation: int,
        batch: int,
        symmetric: bool = True,
        save: str | None = None,
        points: int | None = None,
    ) -> dict[str, float]:
        if data not in self.data:
            with np.load(data) as file:
                weights = {
                    k: jnp.asarray(file[k].T if file[k].ndim == 2 else file[k]) for k in file.files
                }
            self.data[data] = (weights, weights.pop("inputs"))
        weights, x = self.data[data]
        x = x[:points]
        key = (network, implementation, batch, len(x) % batch, x.shape[1:])
        compile_seconds = 0.0
        if key not in self.tiles:
            kernel = nt.empirical_ntk_fn(
                NETWORKS[network],
                trace_axes=(),
                vmap_axes=0,
                implementation=nt.NtkImplementation(implementation),
            )
            self.tiles[key] = jax.jit(kernel)
            start = time.perf_counter()
            kernel_by_tiles(
                self.tiles[key], x[: 2 * batch + (len(x) % batch)], batch, weights, False
            )
            compile_seconds = time.perf_counter() - start
        start = time.perf_counter()
        result = kernel_by_tiles(self.tiles[key], x, batch, weights, symmetric)
        seconds = time.perf_counter() - start
        if save:
            np.save(save, result)
        return {"seconds": seconds, "compile_seconds": compile_seconds}


def main() -> None:
    server = Server()
    for line in sys.stdin:
        try:
            answer: dict = server.measure(**json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
