"""Similarity while a network trains: a callback that measures chosen probes every few steps."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.changes import linearized_change
from lecore.losses import Loss
from lecore.similarity import relative_similarity

Measure = Callable[[nn.Module], Tensor]
"""From a network to a matrix over update and test points."""


class Tracker:
    """Callback of :func:`lecore.training.train` that measures a network every few steps.

    It works in any other training loop too: call ``tracker(step, model)`` after each step. The
    network is measured in eval mode and left as it was.

    Attributes:
        measures: What to measure, by name; see :func:`probe_similarity`.
        every: Steps from one measurement to the next; step 0 counts.
        file: ``.npz`` file that holds all measurements so far, written anew after each. If it
            exists, its measurements are kept, so that an interrupted run goes on.
    """

    def __init__(
        self,
        measures: Mapping[str, Measure],
        *,
        every: int,
        file: str | os.PathLike[str] | None = None,
    ) -> None:
        if every < 1 or not measures:
            raise ValueError("need at least one measure, and every must be 1 or larger")
        if any(":" in name for name in measures):
            raise ValueError("the name of a measure must not contain a colon")
        self.measures, self.every = dict(measures), every
        self.file = None if file is None else Path(file)
        self._matrices: dict[tuple[int, str], NDArray[np.float64]] = {}
        if self.file is not None and self.file.exists():
            self._read()

    def __call__(self, step: int, model: nn.Module) -> None:
        """Measure if it is time to."""
        if step % self.every:
            return
        with eval_mode(model):
            for name, measure in self.measures.items():
                matrix = measure(model).detach().cpu().double().numpy()
                self._matrices[step, name] = matrix
        if self.file is not None:
            self._write()

    @property
    def steps(self) -> list[int]:
        """The steps measured."""
        return sorted({step for step, _ in self._matrices})

    def curve(self, name: str) -> NDArray[np.float64]:
        """All matrices of one measure, shape (steps, n, m)."""
        return np.stack([self._matrices[step, name] for step in self.steps])

    def frame(self) -> Any:
        """All measurements as a tidy ``pandas.DataFrame``.

        Returns:
            One row for each step, measure and pair, with columns ``step``, ``measure``,
            ``update`` and ``test`` (places of the points) and ``value``.
        """
        import pandas

        parts = []
        for (step, name), matrix in sorted(self._matrices.items()):
            update, test = np.indices(matrix.shape)
            columns = {"update": update.ravel(), "test": test.ravel(), "value": matrix.ravel()}
            parts.append(pandas.DataFrame({"step": step, "measure": name, **columns}))
        if not parts:
            return pandas.DataFrame(columns=["step", "measure", "update", "test", "value"])
        return pandas.concat(parts, ignore_index=True)

    def _write(self) -> None:
        assert self.file is not None
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as stream:
                named = {f"{name}:{step}": m for (step, name), m in self._matrices.items()}
                np.savez(stream, **named)  # type: ignore[arg-type]
            temporary.replace(self.file)
        finally:
            temporary.unlink(missing_ok=True)

    def _read(self) -> None:
        assert self.file is not None
        try:
            with np.load(self.file, allow_pickle=False) as stored:
                for key in stored.files:
                    name, _, step = key.rpartition(":")
                    self._matrices[int(step), name] = stored[key]
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{self.file} holds no measurements; delete it or take another"
            ) from error
        unknown = {name for _, name in self._matrices} - set(self.measures)
        if unknown:
            raise ValueError(f"{self.file} holds other measures ({', '.join(sorted(unknown))})")


def probe_similarity(
    inputs: Tensor,
    targets: Tensor,
    test_inputs: Tensor | None = None,
    *,
    loss: Loss,
    similarity: Callable[..., Tensor] = relative_similarity,
    change: Callable[..., Tensor] = linearized_change,
    **settings: Any,
) -> Measure:
    """A measure for :class:`Tracker`: a similarity of the prediction changes of some probes.

    Args:
        inputs: Update points, shape (n, …).
        targets: Their targets.
        test_inputs: Test points, shape (m, …); the update points if left out.
        loss: Loss of one prediction.
        similarity: ``similarity(change, own_change)``, with the change at the update points
            themselves as the second argument; see :mod:`lecore.similarity`.
        change: :func:`~lecore.changes.linearized_change`, or ``prediction_change``.
        **settings: Passed to ``change``: ``learning_rate`` or ``optimizer``, ``dtype``. By
            default float32 and, for the linearised change, learning rate 1, which relative
            similarities do not depend on.
    """
    settings.setdefault("dtype", torch.float32)
    if change is linearized_change and "optimizer" not in settings:
        settings.setdefault("learning_rate", 1.0)
    columns = inputs if test_inputs is None else torch.cat([inputs, test_inputs])

    def measure(model: nn.Module) -> Tensor:
        moved = change(model, inputs, targets, columns, loss=loss, **settings)
        own = moved[:, : len(inputs)].diagonal().T
        return similarity(moved if test_inputs is None else moved[:, len(inputs) :], own)

    return measure


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put every layer in eval mode for a while, and each back into its own mode."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
