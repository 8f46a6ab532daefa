"""Influences estimated from random features, one pass over each example however many pairs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lecore.engine.sketches import gradient_sketch
from lecore.engine.tiling.tiles import Tiles
from lecore.study.influence_blocks import block_size
from lecore.study.strongest import Strongest

if TYPE_CHECKING:
    from lecore.study.study import Study


def sketched_influence(study: "Study", top: int, tiles: Tiles, features: int) -> pd.DataFrame:
    """See :meth:`lecore.study.study.Study.influence`."""
    rate = study.learning_rate or 1.0
    left = sketch(study, "train", tiles, features)
    right = left if study.test is study.train else sketch(study, "test", tiles, features)
    columns = torch.cat([part for _, part in _parts(right, len(study.test), block_size(study))])
    strongest, own = Strongest(len(study.test), top), []
    for start, part in _parts(left, len(study.train), block_size(study)):
        strongest.add(part @ columns.T, start)
        own.append(part.square().sum(1))
    found = strongest.frame()
    # of a count sketch, see sketched_ntk
    squares = torch.cat(own).numpy()[found.train] * columns.square().sum(1).numpy()[found.test]
    found["standard_error"] = rate * np.sqrt((squares + found.influence**2) / features)
    found["influence"] *= rate
    return found


def sketch(study: "Study", side: str, tiles: Tiles, features: int) -> Any:
    """Random features of the loss gradients of a side, shape (n, 1, features)."""
    points = study._rows if side == "train" else study._columns
    targets = study._targets(study.train if side == "train" else study.test)
    if tiles.store is not None:
        tiles = replace(tiles, store=Path(tiles.store, side))
    with study._trained():
        return gradient_sketch(
            study._network, points, targets, loss=study.loss, features=features,
            dtype=study.dtype or torch.float32, tiles=tiles,
        )  # fmt: skip


def _parts(sketch: Any, n: int, size: int) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, n, size):
        part = torch.as_tensor(sketch[start : start + size])
        yield start, part[:, 0].cpu().double()
