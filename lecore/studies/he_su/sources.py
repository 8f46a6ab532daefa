"""Training, kernel, or luck: where an accuracy comes from, and how it moves with training."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lecore.studies.he_su.problems import Pair
from lecore.studies.he_su.runs import Run
from lecore.studies.he_su.tables import (
    BOTH,
    Rows,
    accuracies,
    diverged,
    mean_over_pairs,
    network_row,
    numbers_of,
)
from lecore.uncertainty import median_range

LOOKED_AT = ("loss", *BOTH)


def sources(table: pd.DataFrame) -> Rows:
    """The same similarities, clustered with different care, beside their controls.

    Args:
        table: From :func:`~lecore.studies.he_su.tables.clusterings`, with pixels, random and
            trained networks.
    """
    trained, untrained = table[table.epochs > 0], table[table.epochs == 0]

    def kernelized(procedure: str, networks: pd.DataFrame = trained) -> pd.Series:
        return network_row(networks, "kernelized", procedure=procedure)

    return {
        "permuted": kernelized("permuted"),
        "pixels, many starts": accuracies(table, method="pixels", procedure="many starts"),
        "random weights, one start": kernelized("single start", untrained),
        "random weights, many starts": kernelized("many starts", untrained),
        "trained, one start": kernelized("single start"),
        "trained, many starts": kernelized("many starts"),
        "trained, spectral": kernelized("spectral"),
        "trained, relative, many starts": network_row(trained, "relative", procedure="many starts"),
        "trained, relative, spectral": network_row(trained, "relative", procedure="spectral"),
    }


def start_spread(single_starts: pd.Series) -> float:
    """Largest difference in points between single starts on one and the same matrix."""
    return float(single_starts.groupby(level=[0, 1]).agg(np.ptp).max())


def end_of_training(table: pd.DataFrame, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How runs of one learning rate ended.

    Args:
        table: From :func:`~lecore.studies.he_su.tables.clusterings`.
        results: The results that it was made of.

    Returns:
        ``finished``, of how many; ``rate over limit`` and ``largest loss``, median and range;
        ``silent percent``, median; ``rates mean`` of both similarities, the accuracy with many
        starts, as mean over pairs.
    """
    finished = {"value": len(results) - diverged(results), "of": len(results)}
    found: dict[str, Any] = {"finished": finished}
    for name in ("rate over limit", "largest loss"):
        found[name] = median_range(numbers_of(results, name))
    found["silent percent"] = median_range(numbers_of(results, "silent percent")).value
    for option, row in at_end(table).items():
        found[f"rates mean {option}"] = mean_over_pairs(row)
    return found


def at_end(table: pd.DataFrame) -> Rows:
    """Accuracies of trained networks by both similarities, with many starts."""
    return {option: network_row(table, option, procedure="many starts") for option in BOTH}


def named(rows: Rows, name: str) -> Rows:
    """The same rows, with a name behind the names that they have."""
    return {f"{row}, {name}": values for row, values in rows.items()}


def looks_during_training(
    runs: Sequence[Run], results: Iterable[Mapping[str, Any]], pairs: Mapping[str, Pair]
) -> pd.DataFrame:
    """One line for each look at a network in training.

    Args:
        runs: The runs.
        results: What :func:`~lecore.studies.he_su.measure.measure` gave for them.
        pairs: Pairs of classes by name.

    Returns:
        ``pair``, ``replicate`` (the seed), ``step``, ``loss``, and accuracy in per cent by
        similarity.
    """
    name_of = {primary: name for name, (primary, _) in pairs.items()}
    return pd.DataFrame(
        {"pair": name_of[run.primary], "replicate": run.seed}
        | {"step": look["step"], "loss": look["loss"]}
        | look["accuracies"]
        for run, result in zip(runs, results, strict=True)
        for look in result["looks"]
    )


def mean_looks(looks: pd.DataFrame) -> Rows:
    """Means over pairs, without 3 against 5, whose larger batches make other steps.

    Args:
        looks: From :func:`looks_during_training`.

    Returns:
        Loss and accuracy by similarity; values with the step, in words, and replicate as index.
    """
    several = looks[looks.pair != "3v5"].assign(step=looks.step.astype(str))
    means = several.groupby(["step", "replicate"], sort=False)[[*LOOKED_AT]].mean()
    return {quantity: means[quantity] for quantity in LOOKED_AT}


def sweep_rows(table: pd.DataFrame, variable: str) -> Rows:
    """Accuracies with many starts for each similarity and pair, against a setting of the runs.

    Args:
        table: From :func:`~lecore.studies.he_su.tables.clusterings`.
        variable: Its column, such as ``width``, which becomes the columns in words.
    """
    table = table.assign(at=table[variable].map("{:g}".format))
    return {
        f"{option} {pair}": network_row(of_pair, option, index="at", procedure="many starts")
        for pair, of_pair in table.groupby("pair", sort=False)
        for option in BOTH
    }
