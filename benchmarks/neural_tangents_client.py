"""Neural-tangents as a peer: installs it into an environment of its own and asks it for times."""

import atexit
import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from benchmarks.bars import NotMeasuredError
from benchmarks.peers import PEERS

# the last release, with the last versions it runs on
PACKAGES = ("neural-tangents==0.6.5", "jax==0.4.25", "jaxlib==0.4.25", "numpy<2", "tf2jax==0.3.6")


def write_network(network: str, model: nn.Module, inputs: Tensor) -> Path:
    """Weights and inputs for the peer, in a file of plain arrays."""
    path = PEERS / f"{network}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()}
    np.savez(path, inputs=inputs.cpu().numpy(), **arrays)
    return path


def kernel_seconds(network: str, data: Path, **settings: Any) -> float:
    """Seconds for the tangent kernel of a network in ``neural_tangents_peer.py``, once compiled.

    Args:
        network: Its name there.
        data: From :func:`write_network`.
        **settings: ``implementation`` (1: Jacobian contraction, 3: structured derivatives),
            ``batch``, and ``points`` to take only the first of them.

    Raises:
        NotMeasuredError: If the peer cannot be installed, or fails.
    """
    process = _server()
    assert process.stdin is not None
    assert process.stdout is not None
    request = {"network": network, "data": str(data.absolute()), **settings}
    print(json.dumps(request), file=process.stdin, flush=True)
    line = process.stdout.readline()
    answer = json.loads(line) if line else {"error": "it died, most likely for lack of memory"}
    if "error" in answer:
        _server.cache_clear()
        raise NotMeasuredError(f"neural-tangents: {answer['error']}")
    return float(answer["seconds"])


@functools.cache
def _server() -> "subprocess.Popen[str]":
    peer = Path(__file__).with_name("neural_tangents_peer.py")
    process = subprocess.Popen(
        [_python(), peer],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    atexit.register(process.kill)
    return process


def _python() -> Path:
    folder = PEERS.absolute() / "neural-tangents"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        print("installing neural-tangents into an environment of its own …", file=sys.stderr)
        commands = (
            [sys.executable, "-m", "venv", "--clear", folder],
            [python, "-m", "pip", "install", "--quiet", *PACKAGES],
        )
        for command in commands:
            made = subprocess.run(command, capture_output=True, text=True)
            if made.returncode:
                reason = made.stderr.strip().split("\n")[-1]
                raise NotMeasuredError(f"neural-tangents cannot be installed: {reason}")
        ready.touch()
    return python
