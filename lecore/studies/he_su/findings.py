"""What each of He & Su's tables says: the numbers of the text, by the names of their records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lecore.studies.he_su.comparisons import (
    against_the_rest,
    chance_of_all,
    inside_ranges,
    margin,
    off_printed,
    over_replicates,
    pairs_won,
)
from lecore.studies.he_su.tables import (
    BOTH,
    OURS,
    PRETRAINED_ROWS,
    Rows,
    mean_over_pairs,
    numbers_of,
)
from lecore.uncertainty import Interval, median_range, over_runs, proportion

Findings = dict[str, Any]
"""Numbers, intervals, or arguments of a record, by name."""

Printed = Mapping[str, Sequence[float]]
"""Rows of one of the paper's tables by name."""

BASELINES = ("K-means", "PCA + K-means")
LINEAR = tuple(f"squared, {option} (linear)" for option in BOTH)
TRAINED = tuple(f"squared, {option} (ReLU)" for option in BOTH)
COMPARED = {
    "linear": LINEAR,
    "relu": TRAINED,
    "cross-entropy-linear": tuple(f"cross-entropy, {option} (linear)" for option in BOTH),
    "cross-entropy-relu": tuple(f"cross-entropy, {option} (ReLU)" for option in BOTH),
}
"""Rows of networks that Tables 1 and 2 print."""


def of_table_1(rows: Rows) -> Findings:
    """On how many pairs of digits who wins, and how far single cells reach."""
    relative, kernelized = (rows[name] for name in TRAINED)
    coded = rows["cross-entropy, relative (ReLU)"]
    return {
        "pairs-won": against_the_rest(rows),
        "chance-of-all-pairs": chance_of_all(rows),
        "pairs-kernelized-over-kmeans": pairs_won([kernelized], [rows["K-means"]]),
        "pairs-kernelized-over-linear": pairs_won([kernelized], [rows[LINEAR[1]]]),
        "relative-5v8": median_range(relative["5v8"]),
        "relative-5v8-share-from-70": share_from(relative["5v8"], 70),
        "relative-5v9": median_range(relative["5v9"]),
        "relative-5v9-share-from-85": share_from(relative["5v9"], 85),
        "relative-cross-entropy-as-coded-mean": over_replicates(coded, bounds=(50, 100)),
        "relative-cross-entropy-as-coded-highest": highest_pair(coded),
    }


def share_from(accuracies: Iterable[float], threshold: float) -> Interval:
    """Share of the runs that reach an accuracy, which of two modes says more than the mean."""
    values = np.asarray(list(accuracies))
    return proportion(int((values >= threshold).sum()), len(values))


def highest_pair(row: pd.Series) -> dict[str, Any]:
    """The highest accuracy of a run, with the pair that has the highest median over runs."""
    highest = over_runs(row.groupby(level="replicate").max(), bounds=(0, 100))
    return highest._asdict() | {"pair": row.groupby(level=0).median().idxmax(), "digits": 1}


def of_table_2(rows: Rows) -> Findings:
    """On how many pairs of photographs who wins, and by how much in the mean."""
    best = max(mean_over_pairs(rows[name]) for name in OURS)
    return {
        "pairs-won-or-tied": against_the_rest(rows, ties=True),
        "pairs-relative-best": against_the_rest(rows, TRAINED[:1], ties=True),
        "best-mean-above-kmeans": best - mean_over_pairs(rows["K-means"]),
    }


def without_rows(rows: Rows, left_out: Sequence[str]) -> Findings:
    """How much of the pairs that are lost is owed to some of the baselines.

    Args:
        rows: Rows of Table 2.
        left_out: Baselines to leave out, such as those of networks narrower than the paper's.

    Returns:
        ``pairs-without``, the pairs won or tied without them, and ``lead-of-left-out``, the largest
        lead in points that one of them has where a run loses.
    """
    rest = {name: values for name, values in rows.items() if name not in left_out}
    ours, theirs = (
        pd.concat([rows[name] for name in names]).groupby(level=[0, 1]).max()
        for names in (OURS, left_out)
    )
    lead = float((theirs - ours).max())
    return {"pairs-without": against_the_rest(rest, ties=True), "lead-of-left-out": lead}


def best_above_kmeans(printed: Printed) -> float:
    """By how much the paper's best own row is above K-means in its Tables 1 and 2, in the mean."""
    best = max(np.mean(printed[name]) for name in OURS)
    return float(best - np.mean(printed["K-means"]))


def ours_inside(rows: Rows, printed: Printed, pairs: Sequence[str], replicates: int) -> Findings:
    """How many of the paper's own cells lie inside our ranges, and how many should.

    One more draw falls between the least and the largest of n with probability (n − 1)/(n + 1).
    """
    inside = inside_ranges(rows, printed, OURS, pairs)
    expected = len(inside) * (replicates - 1) / (replicates + 1)
    counted = {"value": inside.sum(), "of": len(inside)}
    return {"ours-inside": counted, "ours-inside-if-exact": expected}


def off_the_print(rows: Rows, printed: Printed, pairs: Sequence[str]) -> Findings:
    """How far networks are from the numbers of Table 1 or 2 on the paper's own images."""
    found: Findings = {}
    for short, names in COMPARED.items():
        off = off_printed(rows, printed, names, pairs)
        found |= {f"{short}-rows-difference": np.median(off), f"{short}-rows-largest": off.max()}
    return found


def off_table_2(table: str, rows: Rows, printed: Printed, pairs: Sequence[str]) -> Findings:
    """How far what needs no luck is from the printed numbers on the paper's images.

    Args:
        table: What the names start with.
        rows: Rows of this table.
        printed: Those of the paper's Table 2.
        pairs: Its columns.
    """
    baselines = off_printed(rows, printed, BASELINES, pairs)
    equal = {"value": (baselines < 0.05).sum(), "of": len(baselines)}
    return {
        f"{table}-baselines-equal": equal,
        f"{table}-baselines-largest-difference": baselines.max(),
        f"{table}-linear-median-difference": np.median(off_printed(rows, printed, LINEAR, pairs)),
    }


def of_float32_steps(results: Iterable[Mapping[str, Any]]) -> Findings:
    """Points whose step the paper's code enlarged, and what they then moved: median and range."""
    results = list(results)
    return {
        "tripled": median_range(numbers_of(results, "tripled percent")),
        "own-units": median_range(numbers_of(results, "own units")),
    }


def of_table_3(rows: Rows) -> Findings:
    """How good the kernelized CNN is, and how bad the skip network."""
    best = "kernelized CNN"
    skip = rows["relative ResNet"].drop("5v9", level=0)
    return {
        "pairs-convolutional-kernelized-best": against_the_rest(rows, [best]),
        "convolutional-kernelized-mean": over_replicates(rows[best], bounds=(50, 100)),
        "skip-relative-mean-without-5v9": over_replicates(skip, bounds=(50, 100)),
        "skip-relative-highest-without-5v9": highest_pair(skip),
    }


def of_table_4(rows: Rows) -> Findings:
    """The kernelized CNN against the autoencoder, and against ResNet-152 where its row is there.

    Other pretrained networks have records of their own, by the last word of their name.
    """
    cnn = [rows["squared, kernelized (CNN)"]]
    found = {"pairs-kernelized-over-autoencoder": pairs_won(cnn, [rows["AutoEncoder"]])}
    for title in [t for t in PRETRAINED_ROWS if t in rows]:
        name = "pretrained" if title == "ResNet-152" else title.lower()
        found[f"pairs-{name}-over-kernelized"] = pairs_won([rows[title]], cnn)
        found[f"pairs-kernelized-over-{name}"] = pairs_won(cnn, [rows[title]])
    return found


def of_table_5(rows: Rows) -> Findings:
    """Trained against random weights."""
    return {
        f"pairs-{o}-trained-over-random": pairs_won([rows[f"{o} trained"]], [rows[f"{o} random"]])
        for o in BOTH
    }


def of_table_6(rows: Rows) -> Findings:
    """The margin of 3 and 9 over the best of the other auxiliary classes."""
    return {f"auxiliary-{o}-margin": margin(rows[f"squared, {o}"], "3,9") for o in BOTH}


def of_table_7(rows: Rows) -> Findings:
    """What normalising the kernel gains with the squared loss."""
    plain, normalized = (
        rows[f"squared, {name}"] for name in ("kernelized", "normalized-kernelized")
    )
    return {
        "pairs-normalized-over-kernelized": pairs_won([normalized], [plain]),
        "normalized-kernelized-mean-gain": over_replicates(normalized - plain),
    }


def of_table_8(rows: Rows) -> Findings:
    """Normalised against unnormalised pixels."""
    return {
        f"pairs-{o}-data-normalized-over-unnormalized": pairs_won(
            [rows[f"squared, {o} normalized"]], [rows[f"squared, {o} unnormalized"]]
        )
        for o in BOTH
    }


def printed_findings(tables: Mapping[int, Printed], pairs: Sequence[str]) -> dict[str, float]:
    """What He & Su's printed Tables 3, 5, 6 and 7 say, counted.

    Args:
        tables: Printed rows by number of the table.
        pairs: Columns of Tables 3, 5 and 7; the first column of Table 6 is 3 and 9.

    Returns:
        Of Table 3 ``convolutional-best``, the pairs on which the kernelized CNN is best;
        ``convolutional-mean``; ``skip-highest``, outside 5 against 9. Of Table 5 ``random-3v5``
        and ``trained-3v5``. Of Table 7 ``normalized-better`` (pairs) and ``normalized-gain``
        (points). Of Table 6 ``relative-margin`` and ``kernelized-margin`` of the first column.
    """
    networks, weights, kernels = (
        pd.DataFrame(tables[number]).set_axis(list(pairs)) for number in (3, 5, 7)
    )
    gain = kernels["squared, normalized-kernelized"] - kernels["squared, kernelized"]
    found = {
        "convolutional-best": (networks.idxmax(axis=1) == "kernelized CNN").sum(),
        "convolutional-mean": networks["kernelized CNN"].mean(),
        "skip-highest": networks["relative ResNet"].drop("5v9").max(),
        "random-3v5": weights["relative random"]["3v5"],
        "trained-3v5": weights["relative trained"]["3v5"],
        "normalized-better": (gain > 0).sum(),
        "normalized-gain": gain.mean(),
    }
    for option in BOTH:
        first, *others = tables[6][f"squared, {option}"]
        found[f"{option}-margin"] = first - max(others)
    return {name: float(number) for name, number in found.items()}
