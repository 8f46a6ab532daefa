"""Algorithm 1 on one of He & Su's problems, as coded and as printed.

The steps themselves are in :mod:`lecore.clustering.algorithm_one`; here are the data that they
take, the network that is trained first, and the comparison of both.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lecore.clustering.algorithm_one import Option, Similarities
from lecore.clustering.scores import official_score
from lecore.data.images import Images, Pixels, scaled
from lecore.models import two_layer
from lecore.studies.he_su.problems import MNIST_PAIRS, he_su_sample
from lecore.tangent_kernel import empirical_ntk, stability_limit
from lecore.training import train


class Problem(NamedTuple):
    """Images as Algorithm 1 takes them, flattened.

    Attributes:
        primary: Images to be clustered, shape (n, values); their target is 1.
        auxiliary: Images to tell them from, shape (m, values); their target is 0.
        subclass: 0 or 1, which of the two primary classes each image is of, shape (n,).
    """

    primary: Tensor
    auxiliary: Tensor
    subclass: NDArray[np.int64]

    @property
    def sets(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Primary images, their targets, auxiliary images, their targets."""
        ones = self.primary.new_ones(len(self.primary), 1)
        zeros = self.auxiliary.new_zeros(len(self.auxiliary), 1)
        return self.primary, ones, self.auxiliary, zeros


def clustering_problems(
    images: Images, *, per_class: int = 500, auxiliary_size: int = 1000, device: str = "cpu"
) -> dict[str, Problem]:
    """The paper's images of its pairs of digits, by the name of the pair.

    Args:
        images: A set with classes 0 to 9; which of its images are taken says
            :func:`~lecore.studies.he_su.problems.he_su_sample`.
        per_class: Images of each primary class, at most.
        auxiliary_size: Images of the auxiliary classes together.
        device: Where to compute.

    Raises:
        LecoreError: If a class is not in the set.
    """

    def values(pixels: Pixels) -> Tensor:
        return torch.tensor(scaled(pixels), device=device).flatten(1)

    samples = {
        pair: he_su_sample(images, *classes, per_class=per_class, auxiliary_size=auxiliary_size)
        for pair, classes in MNIST_PAIRS.items()
    }
    return {
        pair: Problem(values(sample.primary), values(sample.auxiliary), sample.subclass)
        for pair, sample in samples.items()
    }


def trained_network(
    problem: Problem, *, width: int, rate_share: float, epochs: int, batch_size: int, seed: int
) -> tuple[nn.Sequential, float]:
    """Step 1 of Algorithm 1: a two-layer ReLU network that tells primary from auxiliary images.

    Args:
        problem: The images.
        width: Hidden units; 40960 in the paper.
        rate_share: Learning rate as a share of the largest stable one.
        epochs: Passes over both sets; 0 leaves the random weights.
        batch_size: Images a step.
        seed: Seed of weights and order.

    Returns:
        The network and its learning rate.
    """
    primary, ones, auxiliary, zeros = problem.sets
    network = two_layer(primary.shape[1], width, seed=seed).to(primary.device)
    inputs, targets = torch.cat([primary, auxiliary]), torch.cat([ones, zeros])
    rate = rate_share * stability_limit(empirical_ntk(network, inputs, form="trace"))
    train(
        network, inputs, targets,
        learning_rate=rate, epochs=epochs, batch_size=batch_size, seed=seed,
    )  # fmt: skip
    return network, rate


def accuracy_table(
    similarities: Callable[[Problem, int], Mapping[str, Similarities]],
    problems: Mapping[str, Problem],
    seeds: Iterable[int],
) -> pd.DataFrame:
    """Accuracies of similarities on several problems, clustered as in He & Su's code.

    Args:
        similarities: Both similarities of a problem with a seed, by how they were made
            (``as coded`` or ``as printed``).
        problems: By the name of their pair.
        seeds: Seeds to try.

    Returns:
        Columns ``pair``, ``seed``, ``how``, ``option`` and ``accuracy`` (per cent).
    """
    rows = []
    seeds = list(seeds)
    for pair, problem in problems.items():
        for seed in seeds:
            for how, both in similarities(problem, seed).items():
                for option in get_args(Option):
                    matrix = getattr(both, option).cpu().double().numpy()
                    accuracy = official_score(matrix, problem.subclass, option).accuracy
                    rows.append((pair, seed, how, option, accuracy))
    return pd.DataFrame(rows, columns=["pair", "seed", "how", "option", "accuracy"])


def accuracies_by_pair(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Accuracies by pair of each similarity, as coded and as printed, in this order.

    Args:
        table: Of :func:`accuracy_table`.
    """
    return {
        f"{option}, {how}": table[(table.option == option) & (table.how == how)]
        .set_index("pair")
        .accuracy
        for option in ("relative", "kernelized")
        for how in ("as coded", "as printed")
    }


def printed_minus_coded(table: pd.DataFrame) -> pd.Series:
    """Median accuracy as printed less that as coded, in points, by similarity.

    Args:
        table: Of :func:`accuracy_table`; the medians are over all its pairs and networks.
    """
    median = table.groupby(["option", "how"]).accuracy.median().unstack()
    return median["as printed"] - median["as coded"]
