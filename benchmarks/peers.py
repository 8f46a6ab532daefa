"""What a user could pick instead, each written as plainly as it allows."""

import contextlib
import copy
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vjp, vmap

from benchmarks.bars import NotMeasuredError
from lecore.losses import Loss

PEERS = Path("_build/peers")


class PlainLoop:
    """The papers' algorithm: reset the weights, take one SGD step, predict everything.

    Each call does the next update point and returns its row of Δ, shape (m, outputs).
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        learning_rate: float,
        loss: Loss,
        rows: Iterable[int] | None = None,
    ) -> None:
        self.model, self.x, self.y, self.loss = copy.deepcopy(model), x, y, loss
        self.weights = copy.deepcopy(self.model.state_dict())
        self.optimizer = torch.optim.SGD(self.model.parameters(), learning_rate)
        with torch.no_grad():
            self.before = self.model(x)
        self.rows = itertools.cycle(range(len(x)) if rows is None else rows)

    def __call__(self) -> Tensor:
        row = next(self.rows)
        self.model.load_state_dict(self.weights)
        self.optimizer.zero_grad()
        self.loss(self.model(self.x[row, None])[0], self.y[row]).backward()
        self.optimizer.step()
        with torch.no_grad():
            return self.model(self.x) - self.before


def jacobian(model: nn.Module, x: Tensor) -> Tensor:
    """Per-example Jacobians by ``torch.func``, flattened, shape (n · outputs, parameters)."""
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def predict(weights: dict[str, Tensor], point: Tensor) -> Tensor:
        return functional_call(model, weights, (point[None],))[0]

    parts = vmap(jacrev(predict), (None, 0))(weights, x)
    return torch.cat([part.flatten(2).flatten(0, 1) for part in parts.values()], 1)


def jacobian_tile(model: nn.Module, rows: Tensor, columns: Tensor) -> Tensor:
    """Jacobian contraction, shape (n · outputs, m · outputs)."""
    left = jacobian(model, rows)
    return left @ (left if rows is columns else jacobian(model, columns)).T


def ntk_vector_tile(model: nn.Module, rows: Tensor, columns: Tensor) -> Tensor:
    """NTK-vector products, the other algorithm of the ``torch.func`` tutorial.

    Shape (n, m, outputs, outputs).
    """
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def predict(weights: dict[str, Tensor], point: Tensor) -> Tensor:
        return functional_call(model, weights, (point[None],))[0]

    def pair(one: Tensor, other: Tensor) -> Tensor:
        out, pull = vjp(lambda w: predict(w, one), weights)

        def product(vector: Tensor) -> Tensor:
            return jvp(lambda w: predict(w, other), (weights,), pull(vector))[1]

        return vmap(product)(torch.eye(len(out), dtype=out.dtype, device=out.device))

    return vmap(vmap(pair, (None, 0)), (0, None))(rows, columns)


def nngeometry_gram(model: nn.Module, x: Tensor, batch: int) -> Callable[[], Tensor]:
    """nngeometry's Gram matrix of all per-example gradients, shape (outputs, n, outputs, n).

    Raises:
        NotMeasuredError: If it cannot be installed; it goes into a folder of its own.
    """
    with installed("nngeometry==0.4"):
        from nngeometry.gram import GramMatrix
        from nngeometry.layercollection import LayerCollection
    layers = LayerCollection.from_model(model)
    loader: Any = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=batch)

    def gram() -> Tensor:
        return GramMatrix(model, loader, lambda d: model(d), layer_collection=layers).to_torch()

    return gram


def captum_tracin(model: nn.Module, x: Tensor, y: Tensor, batch: int) -> Any:
    """captum's ``TracInCP`` at the present weights, with ``influence`` and ``self_influence``.

    Raises:
        NotMeasuredError: If it cannot be installed; it goes into a folder of its own.
    """
    with installed("captum==0.9.0"):
        from captum.influence import TracInCP
    model = copy.deepcopy(model)  # it leaves hooks
    weights = copy.deepcopy(model.state_dict())

    def load(network: nn.Module, checkpoint: Any) -> float:
        network.load_state_dict(checkpoint)
        return 1.0

    return TracInCP(
        model, torch.utils.data.TensorDataset(x, y), checkpoints=[weights],
        checkpoints_load_func=load, loss_fn=nn.CrossEntropyLoss(reduction="sum"), batch_size=batch,
        sample_wise_grads_per_batch=True,
    )  # fmt: skip


class Kronfluence:
    """kronfluence's scores without a preconditioner: products of gradients of a loss.

    It knows the weights and biases of linear and convolutional layers.

    Args:
        model: The network.
        loss: From a network and a batch to the sum of its losses.
        rows: Tensors of the batch whose gradients are compared.
        columns: Those of the others.
        batch: Of how many rows at once.

    Raises:
        NotMeasuredError: If it cannot be installed; it goes into a folder of its own.
    """

    def __init__(
        self, model: nn.Module, loss: Callable[..., Tensor], rows: Any, columns: Any, batch: int
    ) -> None:
        with installed("kronfluence==1.0.1", "accelerate>=1,<2", "opt_einsum>=3,<4"):
            from kronfluence.analyzer import Analyzer, prepare_model
            from kronfluence.arguments import FactorArguments
            from kronfluence.task import Task

        class Ours(Task):  # type: ignore[misc]
            def compute_train_loss(self, batch: Any, model: Any, sample: bool = False) -> Any:
                return loss(model, *batch)

            def compute_measurement(self, batch: Any, model: Any) -> Any:
                return loss(model, *batch)

        task = Ours()
        self.rows, self.columns = (torch.utils.data.TensorDataset(*of) for of in (rows, columns))
        self.settings = {"factors_name": "none", "overwrite_output_dir": True}
        self.batch, self.folder = batch, tempfile.TemporaryDirectory()
        self.analyzer = Analyzer(
            "scores", prepare_model(copy.deepcopy(model), task), task, disable_tqdm=True,
            cpu=rows[0].device.type == "cpu", output_dir=self.folder.name,
        )  # fmt: skip
        self.analyzer.fit_all_factors(
            dataset=self.rows, factor_args=FactorArguments("identity"), **self.settings
        )

    def pairs(self) -> Tensor:
        """Shape (rows, columns)."""
        self.analyzer.compute_pairwise_scores(
            "pairs", query_dataset=self.columns, train_dataset=self.rows,
            per_device_query_batch_size=len(self.columns), per_device_train_batch_size=self.batch,
            **self.settings,
        )  # fmt: skip
        scores: Tensor = self.analyzer.load_pairwise_scores("pairs")["all_modules"].T
        return scores

    def selves(self) -> Tensor:
        """Shape (rows,)."""
        self.analyzer.compute_self_scores(
            "selves", train_dataset=self.rows, per_device_train_batch_size=self.batch,
            **self.settings,
        )  # fmt: skip
        scores: Tensor = self.analyzer.load_self_scores("selves")["all_modules"]
        return scores


@contextlib.contextmanager
def installed(*requirements: str) -> Iterator[None]:
    """Import a peer that needs nothing but what is here and named, from a folder of its own.

    Raises:
        NotMeasuredError: If it cannot be installed.
    """
    name = requirements[0].split("==")[0]
    folder = PEERS / name
    if not (folder / name).exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--target", str(folder), *requirements]
        if subprocess.run(command, capture_output=True).returncode:
            raise NotMeasuredError(f"{name} cannot be installed")
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.pop(0)
