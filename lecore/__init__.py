"""Local elasticity of neural networks, measured.

The science, flat in this package: :mod:`~lecore.manifolds`, :mod:`~lecore.images`,
:mod:`~lecore.models`, :mod:`~lecore.losses`, :mod:`~lecore.training`,
:mod:`~lecore.prediction_change`, :mod:`~lecore.tangent_kernel`, :mod:`~lecore.similarity`,
:mod:`~lecore.clustering`, :mod:`~lecore.uncertainty`. The book's machinery: ``lecore.companion``.

The three calls that measure any network::

    change = prediction_change(model, x, y, learning_rate=1e-4)   # Δ[i, j, c]
    similarity = relative_similarity(change)                      # S_rel[i, j]
    kernel = empirical_ntk(model, x)                              # Θ[i, j, c, k]
"""

from importlib.metadata import version

from lecore.clustering import ElasticityClustering, KernelKMeans
from lecore.companion.records import figure, record
from lecore.prediction_change import linearized_change, output_gradient, prediction_change
from lecore.seeding import seeded
from lecore.similarity import (
    correlation_with_distance,
    kernelized_similarity,
    normalized_similarity,
    relative_similarity,
    symmetrized,
)
from lecore.tangent_kernel import empirical_ntk
from lecore.training import train

__version__ = version("lecore")

__all__ = [
    "ElasticityClustering",
    "KernelKMeans",
    "correlation_with_distance",
    "empirical_ntk",
    "figure",
    "kernelized_similarity",
    "linearized_change",
    "normalized_similarity",
    "output_gradient",
    "prediction_change",
    "record",
    "relative_similarity",
    "seeded",
    "symmetrized",
    "train",
]
