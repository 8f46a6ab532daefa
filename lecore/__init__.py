"""Local elasticity of neural networks, measured.

The three calls that measure any network::

    change = prediction_change(model, x, y, learning_rate=1e-4)   # Δ[i, j, c]
    similarity = relative_similarity(change)                      # S_rel[i, j]
    kernel = empirical_ntk(model, x)                              # Θ[i, j, c, k]

These and all other names of the front door are listed in ``__init__.pyi``, and are imported from
their own files when they are first used: torch takes seconds, and ``lecore --help`` needs none.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
