"""Changes of softmax outputs that keep their digits however small they are."""

import torch
from torch import Tensor

from lecore.arguments.finite import check_finite
from lecore.arguments.settings import numbers
from lecore.errors import LecoreError


def softmax_change(logits: Tensor, change: Tensor) -> Tensor:
    """softmax(z + Δz) − softmax(z), without the cancellation of that difference.

    Args:
        logits: z at the test points, shape (m, classes).
        change: Δz, shape (n, m, classes).

    Returns:
        Change of the probabilities, shape (n, m, classes).

    Raises:
        LecoreError: If there are fewer than two classes, or an entry is not finite.
    """
    log_before, log_ratio = _log_probabilities(logits, change)
    small = log_before.exp() * log_ratio.clamp(max=1).expm1()
    return torch.where(log_ratio < 1, small, (log_before + log_ratio).exp() - log_before.exp())


def prediction_divergence(logits: Tensor, change: Tensor) -> Tensor:
    """KL divergence between the predicted distributions after and before the step.

    KL(p⁺ ‖ p) = Σ p⁺ log(p⁺ / p) with p = softmax(z) and p⁺ = softmax(z + Δz) is of second order in
    Δz. It is summed as terms that are themselves ≥ 0 and of second order, so the leading digits are
    right however small the change.

    Args:
        logits: z at the test points, shape (m, classes).
        change: Δz, shape (n, m, classes).

    Returns:
        Shape (n, m), ≥ 0, in nats.

    Raises:
        LecoreError: If there are fewer than two classes, or an entry is not finite.
    """
    log_before, log_ratio = _log_probabilities(logits, change)
    before, after = log_before.exp(), (log_before + log_ratio).exp()
    # Σ p⁺ log(p⁺/p) = Σ (p − p⁺ + p⁺ log(p⁺/p)), as both distributions sum to 1
    terms = torch.where(
        log_ratio.abs() < 30,
        after * _exponential_remainder(-log_ratio.clamp(-30, 30)),
        before - after + after * log_ratio,
    )
    return terms.sum(dim=2)


def _log_probabilities(logits: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """The pair log p (m, classes) and log p⁺ − log p (n, m, classes), exact for small changes."""
    logits = numbers("logits", logits, "m", "classes")
    change = numbers("change", change, "n", "m", "classes")
    if change.shape[1:] != logits.shape:
        raise LecoreError(
            "need logits (m, classes) and their change (n, m, classes), got "
            f"{tuple(logits.shape)} and {tuple(change.shape)}"
        )
    if logits.shape[1] < 2:
        raise LecoreError("the softmax of one logit is constant; give the logits of all classes")
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
