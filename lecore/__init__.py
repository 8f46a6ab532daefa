"""Local elasticity of neural networks, measured.

The science lies flat in this package: :mod:`~lecore.manifolds`, :mod:`~lecore.images`,
:mod:`~lecore.sampling`, :mod:`~lecore.models`, :mod:`~lecore.losses`, :mod:`~lecore.training`,
:mod:`~lecore.changes`, :mod:`~lecore.tangent_kernel`, :mod:`~lecore.similarity`,
:mod:`~lecore.algorithm_one`, :mod:`~lecore.kernel_kmeans`, :mod:`~lecore.clustering`,
:mod:`~lecore.tiles`, :mod:`~lecore.sketches`, :mod:`~lecore.tracking`,
:mod:`~lecore.uncertainty`. The book's machinery is ``lecore.companion``.

The three calls that measure any network::

    change = prediction_change(model, x, y, learning_rate=1e-4)   # Δ[i, j, c]
    similarity = relative_similarity(change)                      # S_rel[i, j]
    kernel = empirical_ntk(model, x)                              # Θ[i, j, c, k]
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lecore.changes import linearized_change, output_gradient, prediction_change
    from lecore.clustering import ElasticityClustering
    from lecore.companion.records import figure, record
    from lecore.kernel_kmeans import KernelKMeans
    from lecore.seeding import seeded
    from lecore.similarity import (
        correlation_with_distance,
        kernelized_similarity,
        normalized_similarity,
        relative_similarity,
        symmetrized,
    )
    from lecore.tangent_kernel import empirical_ntk, empirical_ntk_by_layer, loss_kernel
    from lecore.tiles import Tiles
    from lecore.training import train

__all__ = [
    "ElasticityClustering",
    "KernelKMeans",
    "Tiles",
    "correlation_with_distance",
    "empirical_ntk",
    "empirical_ntk_by_layer",
    "figure",
    "kernelized_similarity",
    "linearized_change",
    "loss_kernel",
    "normalized_similarity",
    "output_gradient",
    "prediction_change",
    "record",
    "relative_similarity",
    "seeded",
    "symmetrized",
    "train",
]

_HOMES = {
    "ElasticityClustering": "clustering",
    "KernelKMeans": "kernel_kmeans",
    "correlation_with_distance": "similarity",
    "Tiles": "tiles",
    "empirical_ntk": "tangent_kernel",
    "empirical_ntk_by_layer": "tangent_kernel",
    "loss_kernel": "tangent_kernel",
    "figure": "companion.records",
    "kernelized_similarity": "similarity",
    "linearized_change": "changes",
    "normalized_similarity": "similarity",
    "output_gradient": "changes",
    "prediction_change": "changes",
    "record": "companion.records",
    "relative_similarity": "similarity",
    "seeded": "seeding",
    "symmetrized": "similarity",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and `lecore --help` does not need it
    if name == "__version__":
        return version("lecore")
    if name not in _HOMES:
        raise AttributeError(f"module 'lecore' has no attribute {name!r}")
    return getattr(import_module(f"lecore.{_HOMES[name]}"), name)
