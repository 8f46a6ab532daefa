"""The clustering problems of He & Su: which images, in which order."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lecore.arguments.names import Choices
from lecore.data.images import Images, Pixels
from lecore.errors import LecoreError
from lecore.seeding import seeded

Pair = tuple[tuple[int, int], tuple[int, ...]]

MNIST_PAIRS: Choices[Pair] = Choices(
    "pair",
    {
        "5v8": ((5, 8), (3, 9)),
        "4v9": ((4, 9), (5, 7)),
        "7v9": ((7, 9), (4, 5)),
        "5v9": ((5, 9), (4, 8)),
        "3v5": ((3, 5), (8, 9)),
        "3v8": ((3, 8), (5,)),
    },
)
"""Primary and auxiliary classes of He & Su's pairs of digits, in the order of their code."""

AUXILIARY_TO_5V8 = {
    "3,9": (3, 9), "6,9": (6, 9), "2,3": (2, 3), "2,6": (2, 6), "3": (3,), "9": (9,),
}  # fmt: skip
"""Auxiliary classes of Table 6, in its order; the first ones are those of the other tables."""

CIFAR10_PAIRS: Choices[Pair] = Choices(
    "pair",
    {
        "car v cat": ((1, 3), (2,)),
        "car v horse": ((1, 7), (3, 2)),
        "cat v bird": ((2, 3), (1,)),
        "dog v deer": ((4, 5), (6,)),
        "car v bird": ((1, 2), (3,)),
        "deer v frog": ((4, 6), (5,)),
    },
)
"""Primary and auxiliary classes of their pairs of CIFAR-10 classes."""


def pair_labels(pairs: Mapping[str, Pair], images: Images) -> dict[str, str]:
    """What pairs are called on other images: "1 v 3" for "car v cat" on digits.

    Args:
        pairs: Pairs by name.
        images: The set; pairs with a class that it lacks are left out.
    """
    names = dict(enumerate(images.class_names))
    return {
        name: f"{names[a]} v {names[b]}"
        for name, ((a, b), _) in pairs.items()
        if {a, b} <= names.keys()
    }


class Sample(NamedTuple):
    """A clustering problem as He & Su pose it.

    Attributes:
        primary: Images of the two primary classes, mixed, uint8.
        subclass: 0 or 1, which of the two each image is of, shape (n,).
        auxiliary: Images of the auxiliary classes, uint8.
    """

    primary: Pixels
    subclass: NDArray[np.int64]
    auxiliary: Pixels


def he_su_sample(
    images: Images,
    primary: tuple[int, int],
    auxiliary: Sequence[int],
    *,
    per_class: int = 500,
    auxiliary_size: int = 1000,
    seed: int | None = None,
) -> Sample:
    """Choose training images for one clustering problem.

    He & Su's code takes the first 500 images of each primary class, and the first 1,000 of the
    auxiliary classes together, in the order of the set (so two auxiliary classes need not share
    evenly), and mixes all of them with NumPy's seed 666. Where a class has fewer, all of it is
    taken.

    Args:
        images: The set.
        primary: The two primary classes.
        auxiliary: One or two auxiliary classes.
        per_class: Images of each primary class.
        auxiliary_size: Images of the auxiliary classes together.
        seed: Draw at random without replacement with this seed, instead of the first ones.

    Raises:
        LecoreError: If a class is not in the set or is both primary and auxiliary, or a size is
            not positive.
    """
    classes = [*primary, *auxiliary]
    if len(set(classes)) < len(classes) or len(primary) != 2 or not auxiliary:
        raise LecoreError(f"need two primary and other auxiliary classes, got {classes}")
    if per_class < 1 or auxiliary_size < 1:
        raise LecoreError(f"sizes must be positive, got {per_class} and {auxiliary_size}")
    if missing := set(classes) - set(images.y_train.tolist()):
        raise LecoreError(f"{images.name} has no training images of class {sorted(missing)}")
    with seeded(0 if seed is None else seed) as rng:

        def choose(of: Sequence[int], size: int) -> NDArray[np.int64]:
            candidates = np.flatnonzero(np.isin(images.y_train, of))
            return (candidates if seed is None else rng.permutation(candidates))[:size]

        rows = [choose([label], per_class) for label in primary]
        others = choose(auxiliary, auxiliary_size)
    source = np.concatenate([*rows, others])
    role = np.repeat([0, 1, 2], [len(rows[0]), len(rows[1]), len(others)])
    mixed = np.argsort(
        np.random.RandomState(666 if seed is None else seed).permutation(len(source))
    )
    source, role = source[mixed], role[mixed]
    x = images.x_train
    return Sample(x[source[role < 2]], role[role < 2], x[source[role == 2]])
