"""All influences of a study, some training examples at a time."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from lecore.engine.tiling.tiles import Tiles, check_tiles
from lecore.study.influence import loss_kernel

if TYPE_CHECKING:
    from lecore.study.study import Study

BLOCK_BYTES = 2**26
"""Influences held at a time, of which the strongest are kept."""


def influence_blocks(study: "Study", tiles: Tiles) -> Iterator[tuple[int, Tensor]]:
    """See :meth:`lecore.study.study.Study.influences`."""
    check_tiles(tiles, draws=False)
    known, asked = study._targets(study.train), study._targets(study.test)

    def kernel(part: slice) -> Any:
        with study._trained():
            return loss_kernel(
                study._network, study._rows[part], known[part], study._columns, asked,
                loss=study.loss, dtype=study.dtype, tiles=tiles,
            )  # fmt: skip

    size = block_size(study)
    stored = None if tiles.store is None else kernel(slice(None))
    starts = range(0, len(study.train), size)
    for start in tqdm(starts, unit="block", leave=False, disable=len(starts) < 2):
        part = slice(start, start + size)
        block = torch.as_tensor(kernel(part) if stored is None else stored[part])
        yield start, block.cpu().double() * (study.learning_rate or 1.0)


def block_size(study: "Study") -> int:
    """Training examples whose influences are held at a time."""
    return max(1, BLOCK_BYTES // (8 * len(study.test)))
