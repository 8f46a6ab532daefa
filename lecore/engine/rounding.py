"""Whether prediction changes are large enough to be seen in the precision of the calculation."""

import math
import warnings

import torch
from torch import Tensor

from lecore.errors import LecoreError


class RoundingWarning(UserWarning):
    """Numbers are mostly rounding error, or have few digits."""


def signal_to_rounding(
    change: Tensor,
    prediction: Tensor,
    own_change: Tensor | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """How many units in the last place of its prediction each update point moved, about.

    ``‖Δ[i, i]‖ / (ε ‖f(x_i)‖)`` with ε the spacing of floating-point numbers at 1. A difference
    of two predictions is known to no more than one such unit, so a ratio near 1 is noise. For
    several outputs both are Euclidean norms.

    He & Su's code steps with η = 10⁻⁶ in float32, where a saturated sigmoid does not move, and
    triples η without a word until it does: rows then have different steps and one-unit changes.

    Args:
        change: Prediction change Δ, shape (n, m, outputs).
        prediction: f(x_j) at the test points before the step, shape (m, outputs).
        own_change: Change at the update points themselves, shape (n, outputs); ``prediction``
            then is theirs, shape (n, outputs). By default the diagonal of a square change; for
            any other, the test point that a row moved most stands in for the update point.
        dtype: Precision that the predictions were computed in; by default that of ``change``.

    Returns:
        Shape (n,), ≥ 0, and infinite where a prediction of exactly 0 moved.

    Raises:
        LecoreError: If the shapes do not fit.
    """
    if change.ndim != 3 or (own_change is not None and own_change.ndim != 2):
        raise LecoreError("need change of shape (n, m, outputs) and own_change of (n, outputs)")
    rows, columns, outputs = change.shape
    wanted = (columns if own_change is None else rows, outputs)
    if tuple(prediction.shape) != wanted:
        raise LecoreError(f"need predictions of shape {wanted}, got {tuple(prediction.shape)}")
    value = prediction.norm(dim=1)
    if own_change is not None:
        own = own_change.norm(dim=1)
    elif rows == columns:
        own = change.diagonal().norm(dim=0)
    else:
        own, most = change.norm(dim=2).max(dim=1)
        value = value[most]
    unit = torch.finfo(change.dtype if dtype is None else dtype).eps * value
    return torch.where(own > 0, own / unit, own)


def warn_below_rounding(
    change: Tensor,
    prediction: Tensor,
    dtype: torch.dtype | None = None,
    floor: float = 10.0,
    *,
    own_change: Tensor | None = None,
) -> None:
    """Warn, once for all rows, if update points moved too little to be measured.

    Args:
        change: As in :func:`signal_to_rounding`.
        prediction: As there.
        dtype: As there.
        floor: Smallest :func:`signal_to_rounding` to pass over; 10 leaves one digit.
        own_change: As there.

    Warns:
        RoundingWarning: If any update point moved by less than ``floor`` units.
    """
    precision = change.dtype if dtype is None else dtype
    signal = signal_to_rounding(change, prediction, own_change, dtype=precision)
    below = int((signal < floor).sum())
    if below:
        warnings.warn(
            f"{below} of {len(signal)} update points moved their prediction by less than {floor:g} "
            f"units in the last place of {str(precision).removeprefix('torch.')}, so their changes "
            "are mostly rounding error; take float64, a larger learning rate, or linearized_change",
            RoundingWarning,
            stacklevel=2,
        )


def warn_half_precision(
    lowest: torch.dtype | None, dtype: torch.dtype, where: str = "the network"
) -> None:
    """Warn if predictions pass through numbers of 16 bits or fewer that nobody asked for.

    Args:
        lowest: The shortest type on the way.
        dtype: Precision of the calculation.
        where: What calculates.

    Warns:
        RoundingWarning: If there is one.
    """
    if lowest is None or torch.finfo(lowest).bits > 16 or lowest == dtype:
        return
    digits = round(-math.log10(torch.finfo(lowest).eps))
    warnings.warn(
        f"{where} computes in {str(lowest).removeprefix('torch.')} on the way, so results have "
        f"about {digits} digits; take off casts and autocast inside it",
        RoundingWarning,
        stacklevel=2,
    )
