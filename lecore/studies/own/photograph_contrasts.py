"""Are photographs of one class moved more than those of another? Effects, intervals and tests.

Images are resampled and permuted, never pairs: each test image shares the network and the update
images with all others, so that p-values hold for this network and these updates.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lecore.seeding import seeded
from lecore.studies.own.photographs import BATCH
from lecore.uncertainty import Interval

Array = NDArray[np.float64]
Moved = Mapping[str, Array]
"""From :func:`lecore.studies.own.photographs.moved_photographs`."""


class Contrast(NamedTuple):
    """How much more one set of test images is moved than another.

    Attributes:
        effect: Mean log₁₀ KL at the first set minus that at the second, with its 95 % interval
            over update and test images, see :func:`over_images`.
        p_value: One-sided, see :func:`permutation_p_value`.
        rank_p_value: One-sided, of He & Su's rank-sum test of means over update images.
    """

    effect: Interval
    p_value: float
    rank_p_value: float


def contrast(
    moved: Moved, updated: str, near: str, far: str, *, against: str | None = None, seed: int = 0
) -> Contrast:
    """Are test images of one class moved more than those of another?

    Args:
        moved: What steps moved.
        updated: Class of the update images.
        near: Class of the first set of test images.
        far: Of the second.
        against: Other update images. What they do to a test image is subtracted, and with it how
            easily any step moves this image.
        seed: Of the resampling.
    """
    rows = [updated] if against is None else [updated, against]
    left, right = ([moved[f"{row} at {column}"] for row in rows] for column in (near, far))

    def effect(chosen_left: Array, chosen_right: Array, *steps: Array) -> float:
        means = [
            a[np.ix_(step, chosen_left)].mean() - b[np.ix_(step, chosen_right)].mean()
            for step, a, b in zip(steps, left, right, strict=True)
        ]
        return float(means[0] - sum(means[1:]))

    sizes = [left[0].shape[1], right[0].shape[1], *map(len, left)]
    scores = [_first_less_others([m.mean(axis=0) for m in side]) for side in (left, right)]
    means = [
        _first_less_others([np.log10((10**m).mean(axis=0)) for m in side]) for side in (left, right)
    ]
    return Contrast(
        over_images(effect, sizes, seed=seed),
        permutation_p_value(*scores, seed=seed),
        float(stats.mannwhitneyu(*means, alternative="greater").pvalue),
    )


def smaller_over_third(moved: Moved, *, seed: int = 0) -> Interval:
    """The smaller mean KL at the two classes of the mini-batches over that at frogs.

    Args:
        moved: What steps moved.
        seed: Of the resampling.

    Returns:
        With its 95 % interval over mini-batches and test images.
    """
    blocks = [10 ** moved[f"{BATCH} at {name}"] for name in ("tabby", "warplane", "frog")]

    def log_ratio(steps: Array, *columns: Array) -> float:
        first, second, third = (
            block[np.ix_(steps, chosen)].mean()
            for block, chosen in zip(blocks, columns, strict=True)
        )
        return float(np.log10(min(first, second) / third))

    sizes = [len(blocks[0]), *(block.shape[1] for block in blocks)]
    *logarithms, n = over_images(log_ratio, sizes, seed=seed)
    value, low, high = (10**end for end in logarithms)
    return Interval(value, low, high, n)


def permutation_p_value(near: Array, far: Array, *, seed: int = 0) -> float:
    """One-sided p-value of mean(near) − mean(far) over permutations of the images of both.

    All permutations if there are at most 9,999, else as many random ones beside the observed one.
    """
    with seeded(seed) as rng:
        found = stats.permutation_test(
            (near, far), _difference, vectorized=True, alternative="greater", random_state=rng
        )
    return float(found.pvalue)


def over_images(
    statistic: Callable[..., float], sizes: Sequence[int], *, resamples: int = 1000, seed: int = 0
) -> Interval:
    """95 % interval of a statistic of several independent sets of images, percentile bootstrap.

    Args:
        statistic: Of the places of the images in each set, one argument a set.
        sizes: Number of images of each set.
        resamples: Draws with replacement, of all sets at a time.
        seed: Of the draws.

    Returns:
        The statistic of all images; n is the size of the smallest set.
    """
    places = [np.arange(size) for size in sizes]
    with seeded(seed) as rng:
        found = stats.bootstrap(
            places, statistic, n_resamples=resamples, vectorized=False, paired=False,
            method="percentile", random_state=rng,
        ).confidence_interval  # fmt: skip
    return Interval(statistic(*places), float(found.low), float(found.high), min(sizes))


def _first_less_others(scores: Sequence[Array]) -> Array:
    found: Array = scores[0] - sum(scores[1:])
    return found


def _difference(near: Array, far: Array, axis: int) -> Any:
    return near.mean(axis=axis) - far.mean(axis=axis)
