"""Do updates prefer the class of the sampled point? Class means, shares and ranks."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lecore.arguments.names import check_name
from lecore.errors import LecoreError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

Average = Literal["mean", "median", "ratio of means"]


def class_means(
    similarity: Array,
    row_classes: ArrayLike,
    column_classes: ArrayLike,
    *,
    average: Average = "mean",
    own: Array | None = None,
    self_pairs: bool = True,
) -> Array:
    """One number for each ordered pair of classes.

    Args:
        similarity: Update points as rows, shape (…, n, m).
        row_classes: 0 to C − 1, shape (n,).
        column_classes: Shape (m,).
        average: ``mean`` of the ratios that similarities are, as Dan et al. plot; their ``median``;
            or ``ratio of means``, which a single small denominator cannot rule.
        own: For the latter, the denominators, shape (…, n).
        self_pairs: Whether point i as update and test point counts; rows and columns must start
            with the same points if it does not.

    Returns:
        Shape (…, C, C) by class of update and test point. Undefined similarities (NaN) are left
        out.

    Raises:
        LecoreError: If a pair of classes has no defined pair of points, or ``own`` is missing.
    """
    rows, columns = np.asarray(row_classes), np.asarray(column_classes)
    check_name("average", average, get_args(Average))
    if average == "ratio of means" and own is None:
        raise LecoreError("a ratio of means needs the denominators, own")
    counted = np.ones(similarity.shape[-2:], dtype=bool)
    if not self_pairs:
        np.fill_diagonal(counted, val=False)
    size = int(max(rows.max(), columns.max())) + 1
    means = np.empty((*similarity.shape[:-2], size, size))
    for update, test in np.ndindex(size, size):
        pairs = counted & (rows == update)[:, None] & (columns == test)
        values = similarity[..., pairs]
        defined = ~np.isnan(values)
        if not defined.any(axis=-1).all():
            raise LecoreError(f"no pairs of points of classes {update} and {test}")
        if average == "median":
            means[..., update, test] = np.nanmedian(values, axis=-1)
        elif average == "mean":
            means[..., update, test] = np.nanmean(values, axis=-1)
        else:
            below = np.broadcast_to(np.asarray(own)[..., None], similarity.shape)[..., pairs]
            above = np.nansum(values * below, axis=-1)
            means[..., update, test] = above / (below * defined).sum(axis=-1)
    return means


def intraclass_share(means: Array) -> float:
    """Share of update classes, over times and runs too, whose own class has the highest mean.

    One in C is chance, but not with self-pairs among the means, whose similarity is 1.

    Args:
        means: From :func:`class_means`, shape (…, C, C), defined everywhere.
    """
    own = np.diagonal(means, axis1=-2, axis2=-1)
    others = np.where(np.eye(means.shape[-1], dtype=bool), -np.inf, means)
    return float((own > others.max(axis=-1)).mean())


def superiority(values: Array, same: Mask, other: Mask) -> Array:
    """Chance that a pair of one class has a higher value than a pair of two classes, by row.

    The probability of superiority, ties counted half, or area under the ROC curve: ½ without a
    preference, 1 if all of the update point's class come first. It looks at ranks within a row,
    so what scales a row, such as its denominator, does not matter, nor do outliers.

    Args:
        values: Update points as rows, shape (…, n, m).
        same: Pairs of one class, shape (n, m).
        other: Pairs of two classes, shape (n, m).

    Returns:
        Shape (…, n), in [0, 1]; NaN for rows without pairs of both kinds.
    """
    low = np.nanmin(values) - 1
    ranks = stats.rankdata(np.where(same | other, values, low), axis=-1)
    left_out = (~(same | other)).sum(axis=-1)
    n, m = same.sum(axis=-1), other.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        won = (ranks * same).sum(axis=-1) - n * left_out - n * (n + 1) / 2
        return np.asarray(won / (n * m), dtype=np.float64)
