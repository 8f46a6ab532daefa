"""Small prediction changes and rounding.

Whether a change is large enough to be seen in the precision it is computed in, and changes of
softmax outputs that keep their digits however small they are.
"""

import warnings
from typing import Literal

import torch
from torch import Tensor

from lecore.errors import LecoreError

Direction = Literal["forward", "reverse"]
Precision = torch.dtype | Literal["tf32", "bf16"]
"""What a calculation runs in; ``tf32`` and ``bf16`` are float32 with shorter products."""


class RoundingWarning(UserWarning):
    """Prediction changes are so small that they are mostly rounding error."""


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
        ValueError: If the shapes do not fit.
    """
    if change.ndim != 3 or (own_change is not None and own_change.ndim != 2):
        raise ValueError("need change of shape (n, m, outputs) and own_change of (n, outputs)")
    rows, columns, outputs = change.shape
    wanted = (columns if own_change is None else rows, outputs)
    if tuple(prediction.shape) != wanted:
        raise ValueError(f"need predictions of shape {wanted}, got {tuple(prediction.shape)}")
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


def all_finite(tensor: Tensor) -> bool:
    """Whether there is neither NaN nor infinity."""
    # a sum is several times quicker, and not finite if one entry is not
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def check_finite(tensor: Tensor, name: str) -> None:
    """Refuse NaN and infinities.

    Raises:
        ValueError: With their number.
    """
    if not all_finite(tensor):
        bad = int((~torch.isfinite(tensor)).sum())
        raise LecoreError(
            f"{bad} of {tensor.numel()} entries of {name} are not finite",
            "take a smaller learning rate, or a network that has not diverged",
        )


def softmax_change(logits: Tensor, change: Tensor) -> Tensor:
    """softmax(z + Δz) − softmax(z), without the cancellation of that difference.

    Args:
        logits: z at the test points, shape (m, classes).
        change: Δz, shape (n, m, classes).

    Returns:
        Change of the probabilities, shape (n, m, classes).

    Raises:
        ValueError: If there are fewer than two classes, or an entry is not finite.
    """
    log_before, log_ratio = _log_probabilities(logits, change)
    small = log_before.exp() * log_ratio.clamp(max=1).expm1()
    return torch.where(log_ratio < 1, small, (log_before + log_ratio).exp() - log_before.exp())


def prediction_divergence(
    logits: Tensor, change: Tensor, direction: Direction = "forward"
) -> Tensor:
    """KL divergence between the predicted distributions after and before the step.

    With p = softmax(z) and p⁺ = softmax(z + Δz), ``forward`` is KL(p⁺ ‖ p) = Σ p⁺ log(p⁺ / p) and
    ``reverse`` is KL(p ‖ p⁺). Both are of second order in Δz. They are summed as terms that are
    themselves ≥ 0 and of second order, so the leading digits are right however small the change.

    Args:
        logits: z at the test points, shape (m, classes).
        change: Δz, shape (n, m, classes).
        direction: Which of the two.

    Returns:
        Shape (n, m), ≥ 0, in nats.

    Raises:
        ValueError: If there are fewer than two classes, or an entry is not finite.
    """
    if direction not in ("forward", "reverse"):
        raise ValueError(f"direction must be 'forward' or 'reverse', not {direction!r}")
    log_before, log_ratio = _log_probabilities(logits, change)
    before, after = log_before.exp(), (log_before + log_ratio).exp()
    if direction == "reverse":
        before, after, log_ratio = after, before, -log_ratio
    # Σ p⁺ log(p⁺/p) = Σ (p − p⁺ + p⁺ log(p⁺/p)), as both distributions sum to 1
    terms = torch.where(
        log_ratio.abs() < 30,
        after * _exponential_remainder(-log_ratio.clamp(-30, 30)),
        before - after + after * log_ratio,
    )
    return terms.sum(dim=2)


PRODUCT_DTYPES = {"tf32": torch.float16, "bf16": torch.bfloat16}
"""Types with as many leading bits."""


def _log_probabilities(logits: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """The pair log p (m, classes) and log p⁺ − log p (n, m, classes), exact for small changes."""
    if logits.ndim != 2 or change.ndim != 3 or change.shape[1:] != logits.shape:
        raise ValueError(
            "need logits (m, classes) and their change (n, m, classes), got "
            f"{tuple(logits.shape)} and {tuple(change.shape)}"
        )
    if logits.shape[1] < 2:
        raise ValueError("the softmax of one logit is constant; give the logits of all classes")
    check_finite(logits, "logits")
    check_finite(change, "change")
    log_before = logits.log_softmax(dim=1)
    # relative to the likeliest class, whose own log-probability hardly moves when saturated
    top = logits.argmax(dim=1)[None, :, None].expand(len(change), -1, 1)
    change = change - change.gather(2, top)
    growth = torch.where(
        change < 1,
        log_before.exp() * change.clamp(max=1).expm1(),
        (log_before + change).exp() - log_before.exp(),
    ).sum(dim=2, keepdim=True)
    partition = torch.where(
        torch.isfinite(growth), growth.log1p(), (log_before + change).logsumexp(dim=2, keepdim=True)
    )
    return log_before, change - partition


def _exponential_remainder(u: Tensor) -> Tensor:
    """eᵘ − 1 − u, which is ≥ 0 and u²/2 for small u."""
    series = torch.ones_like(u)
    for k in range(13, 2, -1):
        series = 1 + series * u / k
    return torch.where(u.abs() < 0.25, u * u / 2 * series, u.expm1() - u)
