"""He & Su's Tables 1 to 8: one line a clustering, and the rows that each table has of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_args

import pandas as pd

from lecore.studies.he_su.problems import Pair
from lecore.studies.he_su.runs import LossName, Run
from lecore.studies.he_su.similarities import Way

Rows = dict[str, pd.Series]
"""Rows of a table by their names in the paper; values with column and replicate as index."""

PROCEDURES = ("official", "many starts", "spectral", "permuted")
BOTH = ("relative", "kernelized")
WAY_OF_THE_PAPER: dict[LossName, Way] = {"squared": "exact", "cross-entropy": "as coded"}
"""How the tables measure similarities; the paper's own steps with the squared loss are exact."""

SHORT = {"linear": "linear", "relu": "ReLU"}
PRETRAINED_ROWS = {
    "ResNet-152": "resnet152",
    "EfficientNet-Lite0": "efficientnet-lite0",
    "EfficientNet-Lite1": "efficientnet-lite1",
    "EfficientNet-Lite2": "efficientnet-lite2",
}
"""Rows of Table 4 that need ImageNet's weights; the paper has the first."""

OURS = tuple(f"{loss}, {option} (ReLU)" for loss in get_args(LossName) for option in BOTH)
"""The rows of Tables 1 and 2 that the paper calls ours."""


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
        The settings of the run as columns and its numbers, ``pair``, ``replicate`` (its seed less
        the smallest), ``similarity``, ``way``, ``within over between``, ``procedure``,
        ``accuracy`` (per cent), ``rand`` and ``information``. Single starts have only an accuracy.
    """
    lines = []
    name_of = {primary: name for name, (primary, _) in pairs.items()}
    first = min((run.seed for run in runs), default=0)
    for run, result in zip(runs, results, strict=True):
        about = asdict(run) | result["numbers"]
        about |= {"pair": name_of[run.primary], "replicate": run.seed - first}
        for clustering in result["clusterings"]:
            scores = clustering["scores"]
            common = about | {name: v for name, v in clustering.items() if name != "scores"}
            for procedure in set(PROCEDURES) & set(scores):
                names = ("accuracy", "rand", "information")
                found = dict(zip(names, scores[procedure], strict=True))
                lines.append(common | {"procedure": procedure} | found)
            for start, accuracy in enumerate(scores.get("single starts", [])):
                single = {"procedure": "single start", "start": start, "accuracy": accuracy}
                lines.append(common | single)
    return pd.DataFrame(lines)


def numbers_of(results: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    """A number of each run that has it, such as ``largest loss``."""
    return [result["numbers"][name] for result in results if name in result["numbers"]]


def diverged(results: Iterable[Mapping[str, Any]]) -> int:
    """How many runs ran away."""
    return sum(result["diverged"] is not None for result in results)


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


def network_row(
    table: pd.DataFrame,
    similarity: str,
    *,
    loss: LossName = "squared",
    method: str = "two-layer",
    **settings: Any,
) -> pd.Series:
    """As :func:`accuracies`, of a similarity of networks, measured as in the paper's tables."""
    return accuracies(
        table, similarity=similarity, way=WAY_OF_THE_PAPER[loss], loss=loss, method=method,
        **settings,
    )  # fmt: skip


def comparison_rows(
    table: pd.DataFrame, value: str = "accuracy", procedure: str = "official"
) -> Rows:
    """The rows of He & Su's Tables 1 and 2 that a table of clusterings has, in their order.

    Rows with the cross-entropy are as coded, in float32 steps of the probability.

    Args:
        table: From :func:`clusterings`.
        value: As in :func:`accuracies`.
        procedure: As in :func:`lecore.clustering.scores.similarity_scores`.
    """
    same = {"value": value, "procedure": procedure}
    rows = {
        name: accuracies(table, method=method, **same)
        for name, method in (("K-means", "pixels"), ("PCA + K-means", "principal"))
    }
    for activation, short in SHORT.items():
        for loss in get_args(LossName):
            for option in BOTH:
                rows[f"{loss}, {option} ({short})"] = network_row(
                    table, option, loss=loss, activation=activation, **same
                )
    return {name: values for name, values in rows.items() if len(values)}


def mean_over_pairs(row: pd.Series) -> float:
    """Mean over a row's columns of the medians over replicates."""
    return float(row.groupby(level=0).median().mean())


def means_over_pairs(words: str, rows: Rows) -> dict[tuple[str, str], float]:
    """:func:`mean_over_pairs` of each row, by some words and its name."""
    return {(words, name): mean_over_pairs(row) for name, row in rows.items()}


def mean_scores(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of Tables 1 and 2 by several scores, as means over pairs of medians.

    Args:
        table: From :func:`clusterings`.

    Returns:
        :func:`mean_over_pairs` for each row of :func:`comparison_rows` and each score.
    """
    scores = {
        "accuracy (%)": comparison_rows(table),
        "many starts (%)": comparison_rows(table, procedure="many starts"),
        "adjusted Rand": comparison_rows(table, "rand"),
        "mutual information": comparison_rows(table, "information"),
    }
    return pd.DataFrame(
        {score: {n: mean_over_pairs(v) for n, v in rows.items()} for score, rows in scores.items()}
    ).loc[list(scores["accuracy (%)"])]


def cross_entropy_rows(table: pd.DataFrame) -> Rows:
    """ReLU networks with the cross-entropy, measured as coded and exactly in two ways."""
    ways = {"as coded": "as coded", "exact, probability": "exact", "exact, logit": "logits"}
    return {
        f"{option}, {words}": accuracies(
            table, similarity=option, way=way, loss="cross-entropy", activation="relu"
        )
        for option in BOTH
        for words, way in ways.items()
    }


def printed_as_coded(printed: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """The printed rows of Table 1 that :func:`cross_entropy_rows` measures again."""
    return {f"{option}, as coded": printed[f"cross-entropy, {option} (ReLU)"] for option in BOTH}


def usual_auxiliary(table: pd.DataFrame, pairs: Mapping[str, Pair]) -> pd.DataFrame:
    """The lines of a table whose auxiliary classes are those of Tables 1 and 2."""
    usual = [pairs[line.pair][1] == line.auxiliary for line in table.itertuples()]
    return table[usual]


def table_3(trained: pd.DataFrame) -> Rows:
    """Table 3: three architectures, squared loss."""
    architectures = {"FNN": "two-layer", "CNN": "cnn", "ResNet": "skip"}
    return {
        f"{option} {short}": network_row(trained, option, method=method)
        for short, method in architectures.items()
        for option in BOTH
    }


def table_4(trained: pd.DataFrame) -> Rows:
    """Table 4: features of an autoencoder and of pretrained networks, similarities of the CNN."""
    features = {"AutoEncoder": "autoencoder"} | {
        title: method
        for title, method in PRETRAINED_ROWS.items()
        if (trained.method == method).any()
    }
    return {title: accuracies(trained, method=method) for title, method in features.items()} | {
        f"squared, {option} (CNN)": network_row(trained, option, method="cnn") for option in BOTH
    }


def table_5(trained: pd.DataFrame, untrained: pd.DataFrame) -> Rows:
    """Table 5: random and trained weights."""
    return {
        f"{option} {state}": network_row(table, option)
        for state, table in (("random", untrained), ("trained", trained))
        for option in BOTH
    }


def table_6(trained: pd.DataFrame) -> Rows:
    """Table 6: 5 against 8 with other auxiliary classes, which are the columns."""
    named = trained.auxiliary.map(lambda classes: ",".join(map(str, sorted(classes))))
    of_5v8 = trained.assign(auxiliaries=named)[trained.pair == "5v8"]
    return {
        f"{loss}, {option}": network_row(of_5v8, option, loss=loss, index="auxiliaries")
        for loss in get_args(LossName)
        for option in BOTH
    }


def table_7(trained: pd.DataFrame) -> Rows:
    """Table 7: the kernelized similarity as it is, and normalised."""
    similarities = {
        "kernelized": "kernelized", "normalized-kernelized": "normalized kernelized",
    }  # fmt: skip
    return {
        f"{loss}, {words}": network_row(trained, similarity, loss=loss)
        for loss in get_args(LossName)
        for words, similarity in similarities.items()
    }


def table_8(unnormalized: pd.DataFrame, normalized: pd.DataFrame) -> Rows:
    """Table 8: pixels in [0, 1], and a control on pixels in [−1, 1] that the paper lacks."""
    rows = {
        f"{loss}, {option} unnormalized": network_row(unnormalized, option, loss=loss)
        for loss in get_args(LossName)
        for option in BOTH
    }
    control = {f"squared, {o} normalized": network_row(normalized, o) for o in BOTH}
    return rows | control
