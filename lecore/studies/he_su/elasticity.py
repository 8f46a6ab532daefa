"""Does local elasticity predict the clusters? Models that are more elastic against accuracy."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from lecore.uncertainty import Interval, over_runs

RATIO = "within over between"


def elastic_models(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Models by how elastic they are and how well their similarity clusters.

    Relative and normalised kernelized similarities, the exact ones of the squared loss and of the
    probability, clustered with many starts.

    Args:
        tables: From :func:`lecore.studies.he_su.tables.clusterings`, of runs that start from the
            same seed.

    Returns:
        The lines with ``model``, which names all that tells models of a pair apart.
    """
    table = pd.concat(tables)
    models = table[
        (table.procedure == "many starts")
        & (table.way == "exact")
        & table.similarity.isin(["relative", "normalized kernelized"])
    ]
    return models.assign(model=[_model(line) for line in models.itertuples()])


def _model(line: "pd.Series[object]") -> str:
    return " ".join(
        [
            line.method,
            line.loss,
            "trained" if line.epochs else "random",
            "" if line.normalized else "unnormalized",
            line.similarity,
            ",".join(map(str, line.auxiliary)) if line.pair == "5v8" else "",
        ]
    )


def rank_correlations(models: pd.DataFrame) -> dict[str, Interval]:
    """Spearman's correlation of elasticity and accuracy, over replicates.

    Args:
        models: From :func:`elastic_models`.

    Returns:
        ``elasticity-accuracy``, over all models and pairs, and
        ``elasticity-accuracy-within-pairs``, the mean over pairs, whose difficulty plays no part.
    """
    replicates = [part for _, part in models.groupby("replicate")]
    overall = [_correlation(part) for part in replicates]
    within = [
        float(np.mean([_correlation(of_pair) for _, of_pair in part.groupby("pair")]))
        for part in replicates
    ]
    return {
        "elasticity-accuracy": over_runs(overall, bounds=(-1, 1)),
        "elasticity-accuracy-within-pairs": over_runs(within, bounds=(-1, 1)),
    }


def _correlation(part: pd.DataFrame) -> float:
    return float(spearmanr(part[RATIO], part.accuracy).statistic)


def elasticity_points(models: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, object]]:
    """Medians over replicates, a point for each model and pair.

    Args:
        models: From :func:`elastic_models`.

    Returns:
        ``value`` (the accuracy), ``ratio`` and ``pair`` by ("elasticity of", model, pair).
    """
    medians = models.groupby(["model", "pair"])[[RATIO, "accuracy"]].median()
    return {
        ("elasticity of", model, pair): {"value": accuracy, "ratio": ratio, "pair": pair}
        for (model, pair), ratio, accuracy in medians.itertuples()
    }
