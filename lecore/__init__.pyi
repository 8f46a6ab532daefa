# The front door. Each name stands once, under what it is for.
# isort: skip_file

# one step, and what it moves
from .changes import linearized_change as linearized_change
from .changes import linearized_change_by_layer as linearized_change_by_layer
from .changes import output_gradient as output_gradient
from .changes import prediction_change as prediction_change

# the tangent kernel
from .tangent_kernel import empirical_ntk as empirical_ntk
from .tangent_kernel import empirical_ntk_by_layer as empirical_ntk_by_layer
from .tangent_kernel import ntk_operator as ntk_operator

# influence: what a step does to the loss
from .study.influence import loss_kernel as loss_kernel
from .study.influence import loss_kernel_by_layer as loss_kernel_by_layer
from .study.influence import self_influence as self_influence

# similarities
from .similarity import correlation_with_distance as correlation_with_distance
from .similarity import kernelized_similarity as kernelized_similarity
from .similarity import normalized_similarity as normalized_similarity
from .similarity import relative_similarity as relative_similarity
from .similarity import symmetrized as symmetrized

# one object for a network of one's own
from .study.study import Study as Study

# large matrices
from .engine.sketches import gradient_sketch as gradient_sketch
from .engine.sketches import sketched_ntk as sketched_ntk
from .engine.tiling.stores import open_matrix as open_matrix
from .engine.tiling.tiles import Tiles as Tiles

# training, and looking on
from .tracking import Tracker as Tracker
from .tracking import probe_similarity as probe_similarity
from .training import train as train

# intervals, seeds, errors
from .uncertainty import over_points as over_points
from .uncertainty import over_runs as over_runs
from .seeding import seeded as seeded
from .errors import LecoreError as LecoreError
from .version import __version__ as __version__
