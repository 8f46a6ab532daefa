"""Similarity while a network trains: a callback that measures chosen probes every few steps."""

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.arguments.settings import file_of, function, numbers, whole
from lecore.changes import linearized_change
from lecore.engine.network.modes import eval_mode
from lecore.errors import LecoreError
from lecore.files import whole_file
from lecore.identity.finished_work import Identity, identify, refuse_another, shapes
from lecore.losses import Loss
from lecore.similarity import own_change, relative_similarity

Measure = Callable[[nn.Module], Any]
"""From a network to a matrix over update and test points, or to any other numbers."""

MODEL = ":"
"""In place of a measure's name, where the identity of the network is kept."""

AXES = ("update", "test", "output", "other output")  # of what is measured

CURE = "take another file, or delete it"


class Tracker:
    """Callback of :func:`lecore.training.train` that measures a network every few steps.

    It works in any other training loop too: call ``tracker(step, model)`` after each step. The
    network is measured in eval mode and left as it was. What can no longer be measured, of
    saturated probes say, is NaN at that step, with a warning: the training goes on.

    Attributes:
        measures: What to measure, by name; see :func:`probe_similarity`.
        every: Steps from one measurement to the next; step 0 counts.
        file: ``.npz`` file that holds all measurements so far, written anew after each. If it
            exists, its measurements are kept, so that an interrupted run goes on. It is recognised
            by the code and data of every measure, and by the code of the network.
        key: A word for what cannot be identified, see :class:`~lecore.engine.tiling.tiles.Tiles`.
    """

    def __init__(
        self,
        measures: Mapping[str, Measure],
        *,
        every: int,
        file: str | os.PathLike[str] | None = None,
        key: str = "",
    ) -> None:
        try:
            self.measures = dict(measures)
        except (TypeError, ValueError):
            self.measures = {}
        if not self.measures:
            raise LecoreError("need at least one measure", "give {name: function of the network}")
        for name, measure in self.measures.items():
            if not isinstance(name, str) or ":" in name:
                raise LecoreError("the name of a measure must be a word without a colon")
            function(f"measure {name}", measure)
        self.every = whole("every", every)
        self.file, self.key = None if file is None else file_of("file", file), key
        self._identities: dict[str, Identity] = {}
        self._model_is_known = False
        self._matrices: dict[tuple[int, str], NDArray[np.float64]] = {}
        if self.file is not None:
            self._identities = {
                name: identify(by=__name__, key=key, measure=measure)
                for name, measure in self.measures.items()
            }
            if self.file.exists():
                self._read(self.file)

    def __call__(self, step: int, model: nn.Module) -> None:
        """Measure if it is time to."""
        if step % self.every:
            return
        if self.file is not None and not self._model_is_known:
            self._recognise(model, self.file)
        with eval_mode(model):
            for name, measure in self.measures.items():
                known = [m for (_, other), m in self._matrices.items() if other == name]
                try:
                    found = numbers(f"measure {name}", measure(model)).double()
                    matrix = np.array(found.numpy(force=True))  # a copy, as weights move on
                except ValueError as error:
                    if not known:  # it never was right
                        raise
                    warnings.warn(f"{name} at step {step} is NaN: {error}", stacklevel=2)
                    matrix = np.full_like(known[-1], np.nan)
                self._matrices[step, name] = matrix
        if self.file is not None:
            self._write(self.file)

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
            One row for each step, measure and entry, with columns ``step``, ``measure``,
            ``update`` and ``test`` (places of the points), ``output`` and ``other output`` where
            measures have such axes, and ``value``.
        """
        import pandas

        parts = []
        for (step, name), matrix in sorted(self._matrices.items()):
            places = dict(zip(AXES, map(np.ravel, np.indices(matrix.shape)), strict=False))
            columns = {"step": step, "measure": name, **places, "value": matrix.ravel()}
            parts.append(pandas.DataFrame(columns))
        if not parts:
            return pandas.DataFrame(columns=["step", "measure", "update", "test", "value"])
        return pandas.concat(parts, ignore_index=True)

    def _recognise(self, model: nn.Module, file: Path) -> None:
        """Refuse to go on with another network than that of the file."""
        identity = identify(by=__name__, key=self.key, model=model, **shapes(model))
        del identity["model attributes"]  # training may change these
        refuse_another(self._identities.get(MODEL, identity), identity, str(file), CURE)
        self._identities[MODEL], self._model_is_known = identity, True

    def _write(self, file: Path) -> None:
        named = {f"{name}:{step}": m for (step, name), m in self._matrices.items()}
        with whole_file(file) as stream:
            np.savez(stream, identity=np.array(json.dumps(self._identities)), **named)  # type: ignore[arg-type]

    def _read(self, file: Path) -> None:
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                known = json.loads(str(stored["identity"]))
                for key in stored.files:
                    name, colon, step = key.rpartition(":")
                    if colon:
                        self._matrices[int(step), name] = stored[key].astype(np.float64)
            measures = {name: dict(parts) for name, parts in known.items()}
            for _, name in self._matrices:
                measures[name]  # else there is no telling whose it is
        except Exception as error:  # damaged files raise errors of many kinds
            raise LecoreError(
                f"{file} holds no measurements, or is damaged", "delete it or take another"
            ) from error
        if measures.keys() - {MODEL} != self.measures.keys():
            names = ", ".join(sorted(measures.keys() - {MODEL}))
            raise LecoreError(f"{file} holds other measures ({names})", CURE)
        for name, identity in self._identities.items():
            refuse_another(measures[name], identity, f"{name!r} in {file}", CURE)
        self._identities = measures


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
    function("similarity", similarity)
    function("change", change)
    settings.setdefault("dtype", torch.float32)
    if change is linearized_change and "optimizer" not in settings:
        settings.setdefault("learning_rate", 1.0)
    columns = inputs if test_inputs is None else torch.cat([inputs, test_inputs])

    def measure(model: nn.Module) -> Tensor:
        moved = change(model, inputs, targets, columns, loss=loss, **settings)
        own = own_change(moved)
        return similarity(moved if test_inputs is None else moved[:, len(inputs) :], own)

    return measure
