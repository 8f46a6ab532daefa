"""He & Su's tables: one line a clustering, and the rows of Tables 1 and 2."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from lecore.companion.records import key, record
from lecore.companion.tables import styled
from lecore.studies.he_su.problems import Pair
from lecore.studies.he_su.runs import Run
from lecore.uncertainty import Interval, over_runs

PROCEDURES = ("official", "many starts", "spectral", "permuted")


def clusterings(
    runs: Sequence[Run], results: Iterable[Mapping[str, Any]], pairs: Mapping[str, Pair]
) -> pd.DataFrame:
    """One line for each run, similarity and procedure.

    Args:
        runs: The runs.
        results: What :func:`~lecore.studies.he_su.measure.measure` gave for them. A run that
            diverged has no line.
        pairs: Pairs of classes by name.

    Returns:
        The settings of the run as columns and its other numbers, ``pair``, ``replicate`` (its
        seed less the smallest), ``similarity``, ``within over between``, ``procedure``,
        ``accuracy`` (per cent), ``rand`` and ``information``. Single starts have only an accuracy.
    """
    lines = []
    name_of = {primary: name for name, (primary, _) in pairs.items()}
    first = min(run.seed for run in runs)
    for run, result in zip(runs, results, strict=True):
        numbers = {k: v for k, v in result.items() if not isinstance(v, dict | list)}
        ratios = result.get("within over between", {})
        for similarity, scores in result.get("scores", {}).items():
            common = asdict(run) | numbers
            common |= {"pair": name_of[run.primary], "replicate": run.seed - first}
            common |= {"similarity": similarity, "within over between": ratios.get(similarity)}
            for procedure in set(PROCEDURES) & set(scores):
                names = ("accuracy", "rand", "information")
                found = dict(zip(names, scores[procedure], strict=True))
                lines.append(common | {"procedure": procedure} | found)
            for start, accuracy in enumerate(scores.get("single starts", [])):
                single = {"procedure": "single start", "start": start, "accuracy": accuracy}
                lines.append(common | single)
    return pd.DataFrame(lines)


def accuracies(
    table: pd.DataFrame, index: str = "pair", value: str = "accuracy", **settings: Any
) -> pd.Series:
    """Accuracies of the lines of a table with these settings, a row of one of the paper's tables.

    Args:
        table: From :func:`clusterings`.
        index: Column that names the values.
        value: Column of the values; ``rand`` and ``information`` are the other scores.
        settings: Values of columns; ``procedure`` is ``official`` if left out.

    Returns:
        The values, with the first column and the replicate as index.
    """
    for name, wanted in ({"procedure": "official"} | settings).items():
        table = table[table[name] == wanted]
    return table.set_index([index, "replicate"])[value]


def comparison_rows(
    table: pd.DataFrame, value: str = "accuracy", procedure: str = "official"
) -> dict[str, pd.Series]:
    """The rows of He & Su's Tables 1 and 2 that a table of clusterings has, in their order.

    Rows with the cross-entropy are as coded, in float32 steps of the probability.

    Args:
        table: From :func:`clusterings`.
        value: As in :func:`accuracies`.
        procedure: As in :func:`lecore.clustering.scores.similarity_scores`.
    """
    same = {"value": value, "procedure": procedure}
    rows = {
        name: accuracies(table, network=network, **same)
        for name, network in (("K-means", "pixels"), ("PCA + K-means", "principal"))
    }
    for activation, short in (("linear", "linear"), ("relu", "ReLU")):
        for loss, ending in (("squared", ""), ("cross-entropy", ", as coded")):
            for option in ("relative", "kernelized"):
                rows[f"{loss}, {option} ({short})"] = accuracies(
                    table, network="two-layer", activation=activation, loss=loss,
                    similarity=option + ending, **same,
                )  # fmt: skip
    return {name: values for name, values in rows.items() if len(values)}


def mean_scores(table: pd.DataFrame, reference: Mapping[str, Mapping[str, Any]]) -> Styler:
    """Record the rows of Tables 1 and 2 by several scores, as means over pairs, and show them.

    Args:
        table: From :func:`clusterings`.
        reference: Records of the reference run.

    Returns:
        For each row of :func:`comparison_rows` the mean over pairs of the medians over replicates.
    """
    scores = {
        "accuracy (%)": comparison_rows(table),
        "many starts (%)": comparison_rows(table, procedure="many starts"),
        "adjusted Rand": comparison_rows(table, "rand"),
        "mutual information": comparison_rows(table, "information"),
    }
    means: dict[tuple[str, str], dict[str, float]] = {}
    for score, rows in scores.items():
        for row, values in rows.items():
            name, mean = key(score, row), values.groupby(level="pair").median().mean()
            record(name, mean)
            if name in reference:
                means.setdefault((score, "reference run"), {})[row] = reference[name]["value"]
            means.setdefault((score, "this build"), {})[row] = mean
    frame = pd.DataFrame(means).loc[list(scores["accuracy (%)"])]
    digits = {column: "{:.1f}" if "%" in column[0] else "{:.2f}" for column in frame}
    return styled(frame).format(digits, na_rep="—")


def pairs_won(
    better: Sequence[pd.Series], worse: Sequence[pd.Series], *, ties: bool = False
) -> Interval:
    """On how many pairs the best of some rows is above the best of others.

    Both sides choose after the fact, so they are compared within each replicate.

    Args:
        better: Rows, as :func:`accuracies` gives them: accuracies by pair and replicate.
        worse: Rows that they are compared with.
        ties: Whether a tie counts as won.

    Returns:
        Mean over the replicates that all rows have, with Student's t interval.
    """

    def best(rows: Sequence[pd.Series]) -> pd.DataFrame:
        return pd.concat(rows).groupby(level=[0, 1]).max()

    numbers = {"better": best(better), "worse": best(worse)}
    both = pd.concat(numbers, axis=1, join="inner")
    won = both.better > both.worse
    if ties:
        won |= both.better == both.worse
    counts = won.groupby(level=1).sum()
    return over_runs(counts.to_numpy(), bounds=(0, both.index.unique(0).size))
