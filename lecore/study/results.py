"""Answers of a study with their names, as an ``xarray.Dataset``; those in a store stay there."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lecore.arguments.names import check_name
from lecore.changes import linearized_change_by_layer
from lecore.engine.points import kept
from lecore.engine.tiling.tiles import Tiles
from lecore.errors import LecoreError, extra
from lecore.similarity import UndefinedRowsWarning, size_of
from lecore.study import findings
from lecore.study.checkpoints import Checkpoints
from lecore.study.influence import loss_kernel, loss_kernel_by_layer
from lecore.version import __version__

if TYPE_CHECKING:
    from lecore.study.study import Study

Names = Sequence[Any] | None
"""One for each, such as file names or classes; row numbers if left out."""

PAIRS = "train", "test"


def results(
    study: "Study",
    *questions: str,
    step: Literal["exact", "linear"] = "exact",
    tiles: Tiles = Tiles(),  # noqa: B008 - frozen
    checkpoints: Checkpoints | None = None,
    train: Names = None,
    test: Names = None,
    output: Names = None,
) -> Any:
    """Ask a study, and name what it answers.

    Args:
        study: The study.
        questions: Some of ``change`` (train, test, output), ``similarity`` (train, test),
            ``influence`` (train, test), ``self_influence`` (train), ``change_by_layer`` (layer,
            train, test, output) and ``influence_by_layer`` (layer, train, test).
        step: Of ``change`` and ``similarity``, as in :meth:`~lecore.study.study.Study.change`.
        tiles: How these and ``influence`` are cut up. A ``store`` is a folder that gets a matrix
            for each; a repeated call goes on with it, and the answers are read from it in the parts
            that are used.
        checkpoints: Ask at the weights in these files, as
            :meth:`~lecore.study.study.Study.follow` does, along a dimension ``step``.
        train: Names of the training examples.
        test: Names of the test examples.
        output: Names of the outputs, such as classes.

    Returns:
        An ``xarray.Dataset`` with a variable a question, and with ``train_target`` and
        ``test_target`` beside the names where there is one target an example.

    Raises:
        LecoreError: If there is no such question, names do not fit, the study cannot answer, or the
            extra ``scale`` is not installed.
    """
    with extra("scale"):
        import xarray
    for question in questions or ("",):
        check_name("question", question, [*ANSWERS, "similarity"])
    if checkpoints is None:
        found = _at(study, questions, step, tiles)
    else:
        names, each = zip(
            *(
                (name, _at(then, questions, step, _below(tiles, name)))
                for name, then in study.follow(checkpoints)
            ),
            strict=True,
        )
        found = xarray.concat(
            each, pd.Index(names, name="step"), data_vars="all", coords="minimal",
            compat="override", join="exact",
        )  # fmt: skip
    if test is None and study.test is study.train:
        test = train
    own = study.train.numbers, study.test.numbers, study.outputs
    given = {
        name: known if names is None else names
        for name, names, known in zip((*PAIRS, "output"), (train, test, output), own, strict=True)
    }
    for name in found.dims:
        if name in given:
            found = found.assign_coords({name: _named(given[name], found.sizes[name], name)})
    for name, side in zip(PAIRS, (study.train, study.test), strict=True):
        if name in found.dims and side.targets is not None and side.targets.ndim == 1:
            found = found.assign_coords({f"{name}_target": (name, side.targets.cpu().numpy())})
    return found.assign_attrs(lecore=__version__)


def _at(study: "Study", questions: Sequence[str], step: Any, tiles: Tiles) -> Any:
    """The answers at the study's own weights, without names of examples."""
    import xarray

    found = {}
    for question in questions:
        if question != "similarity":
            found[question] = ANSWERS[question](study, step, tiles)
    if "similarity" in questions:
        change = found.get("change")
        change = ANSWERS["change"](study, step, tiles) if change is None else change
        found["similarity"] = _similarity(change, size_of(study.own_change(step)))
    return xarray.Dataset({question: found[question] for question in questions})


def _change(study: "Study", step: Any, tiles: Tiles) -> Any:
    return _array(study.change(step, _below(tiles, "change")), *PAIRS, "output")


def _similarity(change: Any, own: Tensor) -> Any:
    """See :func:`~lecore.similarity.relative_similarity`, part by part where change is."""
    import xarray

    if still := int((own == 0).sum()):
        warnings.warn(
            f"{still} of {len(own)} training examples did not move their own prediction (their "
            "similarities are NaN)",
            UndefinedRowsWarning,
            stacklevel=5,
        )
    size = xarray.apply_ufunc(
        lambda part: size_of(torch.as_tensor(part)).numpy(), change,
        input_core_dims=[["output"]], dask="parallelized", output_dtypes=[change.dtype],
    )  # fmt: skip
    ratio = size / _array(own.where(own > 0, torch.nan), "train")
    return ratio.where(np.isfinite(ratio))


def _influence(study: "Study", step: Any, tiles: Tiles) -> Any:
    with study._trained():
        kernel = loss_kernel(
            *_points(study), *_asked(study), loss=study.loss, dtype=study.dtype,
            tiles=_below(tiles, "influence"),
        )  # fmt: skip
    return _array(kernel, *PAIRS) * (study.learning_rate or 1.0)


def _influence_by_layer(study: "Study", step: Any, tiles: Tiles) -> Any:
    with study._trained():
        shares = loss_kernel_by_layer(
            *_points(study), *_asked(study), loss=study.loss, dtype=study.dtype
        )
    return _by_layer(study, shares, *PAIRS) * (study.learning_rate or 1.0)


def _change_by_layer(study: "Study", step: Any, tiles: Tiles) -> Any:
    rate = findings.plain_rate(study.learning_rate)
    with study._trained():
        shares = linearized_change_by_layer(
            *_points(study), study._columns, learning_rate=rate, loss=study.loss, dtype=study.dtype
        )
    found = _by_layer(study, shares, *PAIRS, "output")
    chosen = kept(study.outputs, found.sizes["output"])
    return found[..., list(chosen)] if chosen else found


def _self_influence(study: "Study", step: Any, tiles: Tiles) -> Any:
    return _array(study.self_influence().to_numpy(), "train")


ANSWERS: dict[str, Callable[["Study", Any, Tiles], Any]] = {
    "change": _change,
    "influence": _influence,
    "self_influence": _self_influence,
    "change_by_layer": _change_by_layer,
    "influence_by_layer": _influence_by_layer,
}


def _points(study: "Study") -> tuple[Any, Tensor, Tensor]:
    """The network, and the training examples with their targets."""
    return study._network, study._rows, study._targets(study.train)


def _asked(study: "Study") -> tuple[Tensor, Tensor]:
    """The test examples with their targets."""
    return study._columns, study._targets(study.test)


def _by_layer(study: "Study", shares: Any, *dims: str) -> Any:
    names = [study._own_name(layer) for layer in shares]
    return _array(torch.stack([*shares.values()]), "layer", *dims).assign_coords(layer=names)


def _array(values: Any, *dims: str) -> Any:
    """Values with names of their dimensions; those of a store are left there."""
    import xarray

    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if not isinstance(values, np.ndarray):
        with extra("scale"):
            from dask import array
        values = array.from_array(values, chunks=values.chunks)
    return xarray.DataArray(values, dims=dims)


def _below(tiles: Tiles, name: str) -> Tiles:
    """The same tiles with a place of their own in the store's folder, if there is one."""
    return tiles if tiles.store is None else replace(tiles, store=Path(tiles.store, name))


def _named(names: Any, count: int, side: Any) -> Any:
    if names is None:
        return np.arange(count)
    found = np.asarray(names)
    if found.shape != (count,):
        raise LecoreError(f"{side}= has shape {found.shape}, not ({count},)", "name each once")
    return found
