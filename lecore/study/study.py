"""One object for a network of one's own: its data, its step, and the questions to ask of them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from tqdm import tqdm

from lecore.changes import linearized_change, linearized_change_by_layer, prediction_change
from lecore.engine.network.flags import Precision
from lecore.engine.network.model_copy import private_copy, unwrapped
from lecore.engine.network.random_states import generators_left_alone
from lecore.engine.tiling.tiles import Tiles
from lecore.errors import LecoreError
from lecore.influence import loss_kernel, self_influence
from lecore.losses import LOSSES, Loss
from lecore.names import check_name
from lecore.study.examples import Examples, examples, joined
from lecore.study.findings import Trust, layer_shares, trust
from lecore.study.predictions import Predicted, predicted
from lecore.study.row_model import Output, RowModel
from lecore.study.strongest import Strongest

BLOCK_BYTES = 2**26
"""Influences held at a time, of which the strongest are kept."""


class Study:
    """A network, the examples it learns from, and those that it is asked about.

    Nothing is computed until a question is asked, and the network is left as it was found.

    Args:
        model: Any module, in eval mode if it has dropout or normalisation layers.
        train: Examples to take a step on, see :func:`lecore.study.examples.examples`.
        test: Examples whose predictions are looked at; those of ``train`` if left out.
        target: Where the targets are, see there.
        output: Which part of what the model gives is measured: a name, a function that returns
            shape (n, outputs), or the tensor itself or its ``logits`` if left out.
        loss: Loss of one prediction, by name (a key of :data:`lecore.losses.LOSSES`) or as a
            function, see :mod:`lecore.losses`.
        learning_rate: η of a plain SGD step.
        optimizer: Instead of it, an optimiser of this model: the step is its next one.
        parameters: Patterns of names such as ``layer4.*``; all others stay fixed.
        dtype: Precision of the calculation; float64 if left out.

    Raises:
        LecoreError: If the data are unfit; see the message.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Any,
        test: Any = None,
        *,
        target: str | int | bool | None = None,
        output: Output = None,
        loss: Loss | str | None = None,
        learning_rate: float | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        parameters: str | Sequence[str] | None = None,
        dtype: Precision | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise LecoreError(f"the model is a {type(model).__name__}", "give a torch.nn.Module")
        if isinstance(loss, str):
            check_name("loss", loss, LOSSES)
            loss = LOSSES[loss]
        self.model, self.loss, self.dtype = model, loss, dtype
        self.learning_rate, self.optimizer = learning_rate, optimizer
        self.patterns = [parameters] if isinstance(parameters, str) else parameters
        self.train = examples(train, target)
        self.test = self.train if test is None else examples(test, target)
        self._network, self._rows, self._columns = _over_rows(model, self.train, self.test, output)

    def change(
        self,
        step: Literal["exact", "linear"] = "exact",
        tiles: Tiles = Tiles(),  # noqa: B008
    ) -> Any:
        """How far a step on each training example moves each test prediction.

        Args:
            step: ``exact`` takes the step (He & Su, equation 1), ``linear`` its first order.
            tiles: How the work is cut up, where it runs and where the result goes.

        Returns:
            Shape (train, test, outputs), see :func:`~lecore.changes.prediction_change`.
        """
        check_name("step", step, ("exact", "linear"))
        measure = prediction_change if step == "exact" else linearized_change
        with self._trained():
            return measure(
                self._network, self._rows, self._targets(self.train),
                None if self.test is self.train else self._columns,
                learning_rate=self.learning_rate, optimizer=self.optimizer, loss=self.loss,
                dtype=self.dtype, tiles=tiles,
            )  # fmt: skip

    def influence(self, top: int = 20) -> pd.DataFrame:
        """The training examples that do most to the loss of each test example.

        The influence is η⟨∂L_i/∂w, ∂L_j/∂w⟩ (TracIn): how far, to first order, a plain step on
        training example i lowers the loss of test example j. η is 1 without ``learning_rate``.

        Args:
            top: How many that lower it and how many that raise it, at most.

        Returns:
            A line a pair, with ``test``, ``train`` and ``influence``. Of each test example the
            helpers come first, from the strongest on, then the harmers up to the strongest.
        """
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise LecoreError(f"top must be a whole number above 0, not {top!r}")
        strongest = Strongest(len(self.test), top)
        for start, block in self.influences():
            strongest.add(block, start)
        return strongest.frame()

    def influences(self) -> Iterator[tuple[int, Tensor]]:
        """All of :meth:`influence`, some training examples at a time.

        Yields:
            The first training example's row, and the influences of it and of those that follow,
            shape (some, test), float64.
        """
        known, asked = self._targets(self.train), self._targets(self.test)
        size = max(1, BLOCK_BYTES // (8 * len(self.test)))
        starts = range(0, len(self.train), size)
        for start in tqdm(starts, unit="block", leave=False, disable=len(starts) < 2):
            part = slice(start, start + size)
            with self._trained():
                block = loss_kernel(
                    self._network, self._rows[part], known[part], self._columns, asked,
                    loss=self.loss, dtype=self.dtype,
                )  # fmt: skip
            yield start, block.cpu().double() * (self.learning_rate or 1.0)

    def self_influence(self) -> pd.Series:
        """‖∂L_i/∂w‖² of every training example, by its row: large for mislabelled and odd ones."""
        with self._trained():
            found = self_influence(
                self._network,
                self._rows,
                self._targets(self.train),
                loss=self.loss,
                dtype=self.dtype,
            )
        return pd.Series(found.cpu().numpy(), name="self-influence").rename_axis("train")

    def by_layer(self, pairs: Sequence[tuple[int, int]]) -> pd.DataFrame:
        """What each layer adds to the change of some predictions, to first order.

        Args:
            pairs: Rows of a training and a test example each.

        Returns:
            A line for each pair, layer and output, with ``train``, ``test``, ``layer``,
            ``output`` and ``change``.
        """
        if self.learning_rate is None:
            raise LecoreError(
                "shares of layers are those of a plain SGD step", "give learning_rate"
            )
        pairs = [(int(i), int(j)) for i, j in pairs]
        for i, j in pairs:
            if not (0 <= i < len(self.train) and 0 <= j < len(self.test)):
                raise LecoreError(
                    f"there is no pair {i, j}",
                    f"rows go up to {len(self.train) - 1} and {len(self.test) - 1}",
                )
        lefts, rights = (sorted(set(side)) for side in zip(*pairs, strict=True))
        with self._trained():
            shares = linearized_change_by_layer(
                self._network, self._rows[lefts], self._targets(self.train)[lefts],
                self._columns[rights], learning_rate=self.learning_rate, loss=self.loss,
                dtype=self.dtype,
            )  # fmt: skip
        lines = [
            (i, j, _own_name(layer), output, float(value))
            for i, j in pairs
            for layer, share in shares.items()
            for output, value in enumerate(share[lefts.index(i), rights.index(j)])
        ]
        return pd.DataFrame(lines, columns=["train", "test", "layer", "output", "change"])

    def predicted(self) -> tuple[Predicted, Predicted]:
        """Predictions and losses of the training and of the test examples."""
        sides = ((self._rows, self.train), (self._columns, self.test))
        left, right = (
            predicted(self._network, points, self._targets(side), self.loss, self.dtype)
            for points, side in sides
        )
        return left, right

    def trust(self) -> Trust | None:
        """How far the first order is from a real step, on some examples; none without a step."""
        if self.learning_rate is None and self.optimizer is None:
            return None
        with self._trained():
            return trust(
                self._network, self._rows, self._targets(self.train), self._columns,
                learning_rate=self.learning_rate, optimizer=self.optimizer, loss=self.loss,
            )  # fmt: skip

    def layer_shares(self) -> pd.Series:
        """The part of each layer in the self-influence of some training examples."""
        with self._trained():
            shares = layer_shares(
                self._network, self._rows, self._targets(self.train),
                loss=self.loss, dtype=self.dtype,
            )  # fmt: skip
        return shares.rename(_own_name)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        top: int = 5,
        shown: int = 12,
        thumbnails: tuple[Any, Any] | None = None,
        texts: tuple[Sequence[str], Sequence[str]] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """Write all of it as one HTML file, without scripts and without another host.

        Args:
            path: The file.
            top: Helpers and harmers of a test example that are shown.
            shown: Test examples that are shown, those with the largest loss.
            thumbnails: Images of the training and of the test examples, see
                :func:`lecore.study.pictures.as_images`; inputs that look like images are shown
                anyway.
            texts: Texts of both.
            class_names: Names of the classes.

        Raises:
            LecoreError: If pictures, texts or names do not fit the data, or the extra ``report`` is
                not installed.
        """
        from lecore.study.report import write_report

        write_report(
            self, path, top=top, shown=shown, thumbnails=thumbnails, texts=texts,
            class_names=class_names,
        )  # fmt: skip

    def _targets(self, side: Examples) -> Tensor:
        if side.targets is None:
            raise LecoreError(
                "the data have no targets",
                "give a tuple (inputs, targets), or a mapping and target= with the column's name",
            )
        return side.targets.to(self._rows.device)

    @contextmanager
    def _trained(self) -> Iterator[None]:
        """Only the parameters that were asked for are trained inside."""
        if self.patterns is None:
            yield
            return
        named = dict(self.model.named_parameters())
        for pattern in self.patterns:
            if not any(fnmatch(name, pattern) for name in named):
                raise LecoreError(
                    f"no parameter is named {pattern!r}", f"the first is {next(iter(named))}"
                )
        before = {name: p.requires_grad for name, p in named.items()}
        try:
            for name, p in named.items():
                p.requires_grad_(before[name] and any(fnmatch(name, q) for q in self.patterns))
            yield
        finally:
            for name, p in named.items():
                p.requires_grad_(before[name])


def _over_rows(
    model: nn.Module, train: Examples, test: Examples, output: Output
) -> tuple[nn.Module, Tensor, Tensor]:
    """A network that takes one tensor, its row points, and its column points."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    tensors = [
        table.to(device)
        for side in (train, test)
        for table in side.tables
        if isinstance(table, Tensor)
    ]
    plain = len(train.tables) == len(test.tables) == 1 and len(tensors) == 2
    if plain and output is None and _gives_a_tensor(model, tensors[0][:1]):
        return model, tensors[0], tensors[1]
    tables = train.tables if test is train else joined([*train.tables, *test.tables])
    network = RowModel(model, tree_map(lambda leaf: leaf.to(device), tables), output)
    network.training = model.training  # its own alone: train() would set the model's layers, too
    rows = torch.arange(len(train), device=device)
    columns = rows if test is train else len(train) + torch.arange(len(test), device=device)
    return network, rows, columns


def _gives_a_tensor(model: nn.Module, inputs: Tensor) -> bool:
    with torch.no_grad(), generators_left_alone():
        given = private_copy(unwrapped(model), Tensor.clone)(inputs.clone())
    return isinstance(given, Tensor) and given.ndim == 2


def _own_name(layer: str) -> str:
    """A layer's name in the caller's model."""
    return layer.removeprefix("model").removeprefix(".")
