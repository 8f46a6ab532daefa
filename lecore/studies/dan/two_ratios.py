"""The new similarity of Dan et al. for any two predictions: as described, and as coded."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lecore.probabilities import prediction_divergence
from lecore.studies.dan.classification_measures import executed_divergence
from lecore.studies.dan.definitions import divergence_similarity, divergence_similarity_as_coded

UPDATE = (0.60, 0.25, 0.15), (0.70, 0.18, 0.12)
"""An update point's probabilities before and after its own step."""


class TwoRatios(NamedTuple):
    """What a step that takes p to p⁺ at a test point is worth.

    Attributes:
        divergence: KL(p⁺ ‖ p).
        described: It over that of the update point.
        coded: What the code computes in place of the divergence.
        coded_ratio: That over the update point's, the similarity that is published.
    """

    divergence: float
    described: float
    coded: float
    coded_ratio: float


def two_ratios(before: Sequence[float], after: Sequence[float]) -> TwoRatios:
    """Both similarities of a test point to the update point :data:`UPDATE`.

    Args:
        before: Probabilities p, positive, of three classes.
        after: p⁺.
    """
    p, p_after = (torch.tensor(values, dtype=torch.float64) for values in (before, after))
    q, q_after = (torch.tensor(values, dtype=torch.float64) for values in UPDATE)
    points = p.log()[None], (p_after.log() - p.log())[None, None]
    own = q.log()[None], (q_after.log() - q.log())[None]
    return TwoRatios(
        prediction_divergence(*points).item(),
        divergence_similarity(*points, *own).item(),
        executed_divergence(p, p_after).item(),
        divergence_similarity_as_coded(*points, *own).item(),
    )
