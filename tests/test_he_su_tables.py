"""He & Su's tables: their rows, who wins, what they say, and where accuracies come from."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from lecore.companion.published import published_table
from lecore.studies.he_su import comparisons, elasticity, findings, sources, tables
from lecore.studies.he_su.comparisons import total_of_shares
from lecore.studies.he_su.figures import clusterings as figures
from lecore.studies.he_su.problems import AUXILIARY_TO_5V8, MNIST_PAIRS
from lecore.studies.he_su.runs import he_su_run
from lecore.uncertainty import median_range, over_runs, proportion

PAIRS = ["5v8", "4v9"]
BOTH_PAIRS = [MNIST_PAIRS[pair] for pair in PAIRS]


def row(*replicates):
    """A row of a table: one list of accuracies by pair for each replicate."""
    index = pd.MultiIndex.from_product([range(len(replicates)), PAIRS]).swaplevel()
    return pd.Series(np.ravel(replicates), index=index.set_names(["pair", "replicate"]))


def result(accuracy, *named, numbers=None, looks=(), ratio=1.0):
    """What a run gives whose every clustering has one accuracy."""
    scores = dict.fromkeys(tables.PROCEDURES, (accuracy, accuracy / 100, accuracy / 200))
    scores["single starts"] = [accuracy - 2, accuracy + 3]
    clusterings = [
        {"similarity": name, "way": way, "within over between": ratio, "scores": scores}
        for name, way in named or [("relative", "exact"), ("kernelized", "exact")]
    ]
    return {
        "clusterings": clusterings, "numbers": numbers or {}, "looks": looks, "diverged": None,
    }  # fmt: skip


DIVERGED = {"clusterings": [], "numbers": {}, "looks": (), "diverged": "loss is 1e31"}


def test_one_line_for_each_clustering():
    runs = [he_su_run("digits", (5, 8), (3, 9), seed=s) for s in (4, 5)]
    scores = {"official": (60.0, 0.1, 0.2), "single starts": [51.0, 52.0]}
    named = {"similarity": "relative", "way": "exact", "within over between": 1.5}
    found = DIVERGED | {"clusterings": [named | {"scores": scores}], "numbers": {"last loss": 3.0}}
    table = tables.clusterings(runs, [DIVERGED, found | {"diverged": None}], MNIST_PAIRS)
    assert tables.network_row(table, "relative").to_dict() == {("5v8", 1): 60.0}
    assert tables.accuracies(table, procedure="single start", loss="cross-entropy").empty
    assert table.procedure.tolist() == ["official", "single start", "single start"]
    assert table.accuracy.tolist() == [60.0, 51.0, 52.0]
    for name, value in (("within over between", 1.5), ("last loss", 3.0), ("pair", "5v8")):
        assert table[name].tolist() == [value] * 3
    assert table.information.iloc[0] == 0.2


def test_numbers_are_of_the_runs_that_have_them():
    results = [result(60, numbers={"largest loss": 2.0}), DIVERGED, result(60)]
    assert tables.numbers_of(results, "largest loss") == [2.0]
    assert tables.diverged(results) == 1


def features(accuracies, method="pixels"):
    """A table of features, a list of accuracies over replicates for each pair."""
    runs = [
        he_su_run("digits", *pair, seed=s, method=method)
        for pair, values in zip(BOTH_PAIRS, accuracies, strict=True)
        for s in range(len(values))
    ]
    found = [result(value, (None, None)) for values in accuracies for value in values]
    return tables.clusterings(runs, found, MNIST_PAIRS)


def test_mean_scores_are_means_over_pairs_of_medians():
    means = tables.mean_scores(features([[50.0, 60.0, 90.0], [70.0, 70.0, 70.0]]))
    scores = ["accuracy (%)", "many starts (%)", "adjusted Rand", "mutual information"]
    assert list(means) == scores
    np.testing.assert_allclose(means.loc["K-means"], [65, 65, 0.65, 0.325])
    assert tables.means_over_pairs("m", {"a": row([50, 60], [70, 60])}) == {("m", "a"): 60.0}


def network_table(**ways):
    """One run of each kind on 5 against 8; every kind and similarity has an accuracy of its own."""
    runs, found = [], []
    for activation in ("relu", "linear"):
        for loss in ("squared", "cross-entropy"):
            runs.append(he_su_run("digits", (5, 8), (3, 9), activation=activation, loss=loss))
            ways = ("exact",) if loss == "squared" else ("exact", "logits", "as coded")
            clusterings = [
                result(50 + 10 * len(found) + 3 * k + way, (name, words))["clusterings"][0]
                for way, words in enumerate(ways)
                for k, name in enumerate(("relative", "kernelized", "normalized kernelized"))
            ]
            found.append(result(0) | {"clusterings": clusterings})
    return tables.clusterings(runs, found, MNIST_PAIRS)


def test_rows_with_the_cross_entropy_are_as_coded_and_in_the_paper_s_order():
    table = network_table()
    rows = tables.comparison_rows(table)
    assert {name: values["5v8", 0] for name, values in rows.items()} == {
        "squared, relative (linear)": 70, "squared, kernelized (linear)": 73,
        "cross-entropy, relative (linear)": 82, "cross-entropy, kernelized (linear)": 85,
        "squared, relative (ReLU)": 50, "squared, kernelized (ReLU)": 53,
        "cross-entropy, relative (ReLU)": 62, "cross-entropy, kernelized (ReLU)": 65,
    }  # fmt: skip
    assert list(rows) == list(published_table("table 1"))[2:]
    assert list(published_table("table 1"))[6:] == list(tables.OURS)


def test_the_same_networks_are_measured_in_three_ways():
    rows = tables.cross_entropy_rows(network_table())
    assert {name: values["5v8", 0] for name, values in rows.items()} == {
        "relative, as coded": 62, "relative, exact, probability": 60, "relative, exact, logit": 61,
        "kernelized, as coded": 65, "kernelized, exact, probability": 63,
        "kernelized, exact, logit": 64,
    }  # fmt: skip
    printed = tables.printed_as_coded(published_table("table 1"))
    assert printed["kernelized, as coded"][0] == 52.1
    assert set(printed) <= set(rows)


def test_tables_3_to_8_have_the_paper_s_rows_and_columns():
    nothing = network_table()[:0]
    found = {
        3: tables.table_3(nothing), 4: tables.table_4(nothing), 5: tables.table_5(nothing, nothing),
        6: tables.table_6(nothing), 7: tables.table_7(nothing), 8: tables.table_8(nothing, nothing),
    }  # fmt: skip
    for number, rows in found.items():
        ours = {name for name in rows if not name.endswith(" normalized")}  # the control
        assert ours == set(published_table(f"table {number}")) - {"ResNet-152"}
    assert AUXILIARY_TO_5V8["3,9"] == MNIST_PAIRS["5v8"][1]


def test_a_pretrained_network_has_a_row_of_table_4_where_it_ran():
    table = features([[90.0], [80.0]], method="efficientnet-lite2")
    rows = tables.table_4(table)
    assert rows["EfficientNet-Lite2"].tolist() == [90, 80]
    assert not {"ResNet-152", "EfficientNet-Lite0"} & set(rows)
    rows["squared, kernelized (CNN)"] = row([60, 95])
    rows["AutoEncoder"] = row([50, 50])
    found = findings.of_table_4(rows)
    assert found["pairs-efficientnet-lite2-over-kernelized"].value == 1
    assert found["pairs-kernelized-over-efficientnet-lite2"].value == 1
    rows["ResNet-152"] = row([70, 99])
    assert findings.of_table_4(rows)["pairs-pretrained-over-kernelized"].value == 2


def test_table_6_has_the_auxiliary_classes_as_columns():
    runs = [he_su_run("digits", (5, 8), classes) for classes in AUXILIARY_TO_5V8.values()]
    runs += [he_su_run("digits", *MNIST_PAIRS["4v9"])]
    table = tables.clusterings(runs, map(result, range(60, 67)), MNIST_PAIRS)
    found = tables.table_6(table)["squared, relative"]
    assert found.to_dict() == {(name, 0): 60 + k for k, name in enumerate(AUXILIARY_TO_5V8)}
    usual = tables.usual_auxiliary(table, MNIST_PAIRS)
    assert set(zip(usual.pair, usual.auxiliary, strict=True)) == {
        ("5v8", (3, 9)), ("4v9", (5, 7)),
    }  # fmt: skip


def test_tables_5_and_7_choose_weights_and_normalisation():
    table = network_table()
    rows = tables.table_5(table[table.activation == "relu"], table[table.activation == "linear"])
    assert {name: values["5v8", 0] for name, values in rows.items()} == {
        "relative random": 70, "kernelized random": 73,
        "relative trained": 50, "kernelized trained": 53,
    }  # fmt: skip
    rows = tables.table_7(table[table.activation == "relu"])
    assert [values["5v8", 0] for values in rows.values()] == [53, 56, 65, 68]


def test_pairs_won_within_each_replicate():
    better = [row([60, 50], [60, 90]), row([55, 70], [60, 90])]
    worse = [row([59, 70], [61, 40])]
    # replicate 0: 60 > 59, 70 = 70; replicate 1: 60 < 61, 90 > 40
    assert comparisons.pairs_won(better, worse).value == 1.0
    assert comparisons.pairs_won(better, worse, ties=True) == total_of_shares([1, 2], 2)
    rows = {"a": better[0], "b": worse[0], "c": better[1]}
    assert comparisons.against_the_rest(rows, ["a", "c"]) == comparisons.pairs_won(better, worse)


def test_pairs_won_leaves_out_replicates_that_a_row_lacks():
    found = comparisons.pairs_won([row([60, 60], [60, 60])], [row([50, 70])])
    assert found == total_of_shares([1, 0], 1)


def test_the_paper_s_images_are_compared_with_the_paper_to_the_printed_digit():
    rows, printed = {"a": row([50.44, 61.0], [90, 90])}, {"a": [50.4, 60.5]}
    off = comparisons.off_printed(rows, printed, ["a"], PAIRS)
    np.testing.assert_allclose(off, [0, 0.5], atol=1e-12)


def test_printed_numbers_lie_inside_a_range_to_their_digit():
    rows = {"a": row([50.44, 61.0], [53.0, 62.0]), "b": row([50, 50], [60, 60])}
    inside = comparisons.inside_ranges(rows, {"a": [50.4, 62.1], "b": [49.9, 55]}, "ab", PAIRS)
    assert inside.tolist() == [True, False, False, True]


def test_margins_and_gains_are_over_replicates():
    wide = row([60, 50], [70, 65])
    assert comparisons.margin(wide, "5v8") == over_runs([10, 5])
    third = row([20, 20], [80, 20]).drop("4v9", level=0).rename({"5v8": "7v9"})
    assert comparisons.margin(pd.concat([wide, third]), "5v8") == over_runs([10, -10])
    assert comparisons.over_replicates(wide, bounds=(50, 60)) == over_runs(
        [55, 67.5], bounds=(50, 60)
    )


def all_ten(**ours):
    plain = dict.fromkeys(published_table("table 1"), row([55, 55], [55, 55]))
    return plain | {f"squared, {name} (ReLU)": values for name, values in ours.items()}


def test_what_tables_1_and_2_say():
    rows = all_ten(relative=row([60, 50], [60, 50]), kernelized=row([70, 55], [80, 54]))
    found = findings.of_table_1({n: v.rename({"4v9": "5v9"}) for n, v in rows.items()})
    assert found["pairs-won"] == found["pairs-kernelized-over-linear"] == total_of_shares([2, 0], 2)
    assert (found["relative-5v8"].value, found["relative-5v9"].value) == (60, 50)
    assert found["chance-of-all-pairs"] == 0  # one pair is never won
    assert found["relative-5v8-share-from-70"] == proportion(0, 2)
    assert found["relative-cross-entropy-as-coded-highest"]["value"] == 55
    assert found["relative-cross-entropy-as-coded-mean"] == over_runs([55, 55])
    found = findings.of_table_2(rows)
    assert found["pairs-won-or-tied"] == total_of_shares([2, 2], 2)  # the cross-entropy rows tie
    assert found["pairs-relative-best"].value == 0
    assert found["best-mean-above-kmeans"] == (75 + 54.5) / 2 - 55


def test_how_far_both_kinds_of_networks_are_from_the_printed_numbers():
    rows = all_ten(relative=row([60, 50], [0, 0]), kernelized=row([70, 55], [0, 0]))
    printed = dict.fromkeys(rows, (54.0, 55.0))
    assert findings.off_the_print(rows, printed, PAIRS) == {
        "linear-rows-difference": 0.5, "linear-rows-largest": 1.0,
        "relu-rows-difference": 5.5, "relu-rows-largest": 16.0,
        "cross-entropy-linear-rows-difference": 0.5, "cross-entropy-linear-rows-largest": 1.0,
        "cross-entropy-relu-rows-difference": 0.5, "cross-entropy-relu-rows-largest": 1.0,
    }  # fmt: skip
    assert findings.off_table_2("t", rows, printed, PAIRS) == {
        "t-baselines-equal": {"value": 2, "of": 4}, "t-baselines-largest-difference": 1.0,
        "t-linear-median-difference": 0.5,
    }  # fmt: skip
    inside = findings.ours_inside(rows, dict.fromkeys(rows, (54.0, 55.0)), PAIRS, 2)
    assert inside["ours-inside"] == {"value": 5, "of": 8}
    assert inside["ours-inside-if-exact"] == pytest.approx(8 / 3)


def test_one_more_draw_falls_inside_the_range_as_often_as_expected():
    draws = np.random.default_rng(0).normal(size=(20000, 5))
    inside = (draws[:, 0] > draws[:, 1:].min(1)) & (draws[:, 0] < draws[:, 1:].max(1))
    rows = dict.fromkeys(tables.OURS, row([50, 50]))
    found = findings.ours_inside(rows, dict.fromkeys(rows, (50, 50)), PAIRS, 4)
    assert found["ours-inside-if-exact"] / 8 == pytest.approx(inside.mean(), abs=0.01)


def test_what_the_printed_tables_say():
    printed = {number: published_table(f"table {number}") for number in (3, 5, 6, 7)}
    found = findings.printed_findings(printed, list(MNIST_PAIRS))
    assert found["convolutional-best"] == 5  # 7 against 9 too; 5 against 8 is the FNN's
    assert found["skip-highest"] == 55.5
    assert (found["random-3v5"], found["trained-3v5"]) == (58.5, 50.3)
    assert found["relative-margin"] == pytest.approx(75.9 - 60.6)
    assert found["kernelized-margin"] == pytest.approx(71.0 - 54.4)


def test_findings_of_the_other_tables_compare_the_rows_that_they_name():
    high, low = row([70, 70], [80, 80]), row([60, 75], [60, 60])
    won = comparisons.pairs_won([high], [low])
    rows = {"squared, kernelized (CNN)": high, "AutoEncoder": low}
    assert findings.of_table_4(rows) == {"pairs-kernelized-over-autoencoder": won}
    rows = {f"{o} {s}": v for o in tables.BOTH for s, v in (("trained", high), ("random", low))}
    assert set(findings.of_table_5(rows).values()) == {won}
    rows = {"squared, normalized-kernelized": high, "squared, kernelized": low}
    assert findings.of_table_7(rows) == {
        "pairs-normalized-over-kernelized": won,
        "normalized-kernelized-mean-gain": over_runs([2.5, 20]),
    }
    rows = {
        f"squared, {o} {s}": v
        for o in tables.BOTH
        for s, v in (("normalized", high), ("unnormalized", low))
    }
    assert set(findings.of_table_8(rows).values()) == {won}
    by_auxiliary = high.rename({"5v8": "3,9", "4v9": "9"})
    rows = {f"squared, {o}": by_auxiliary for o in tables.BOTH}
    assert set(findings.of_table_6(rows).values()) == {over_runs([0, 0])}


def test_what_table_3_says():
    names = [f"{o} {n}" for n in ("FNN", "CNN", "ResNet") for o in tables.BOTH]
    rows = dict.fromkeys(names, row([55, 55], [65, 65]).rename({"4v9": "5v9"}))
    rows["kernelized CNN"] = row([60, 50], [90, 90]).rename({"4v9": "5v9"})
    assert findings.of_table_3(rows) == {
        "pairs-convolutional-kernelized-best": total_of_shares([2, 1], 2),
        "convolutional-kernelized-mean": over_runs([55, 90], bounds=(50, 100)),
        "skip-relative-mean-without-5v9": over_runs([55, 65]),
        "skip-relative-highest-without-5v9": over_runs([55, 65])._asdict()
        | {"pair": "5v8", "digits": 1},
    }


def test_float32_steps_are_said_by_median_and_range():
    results = [result(60, numbers={"tripled percent": p, "own units": p / 10}) for p in (10, 40)]
    found = findings.of_float32_steps(iter([*results, DIVERGED]))
    assert found == {"tripled": median_range([10, 40]), "own-units": median_range([1, 4])}


def elastic_table():
    rng = np.random.default_rng(0)
    runs = [
        he_su_run("digits", *pair, seed=s, epochs=epochs)
        for pair in BOTH_PAIRS for s in (3, 4, 5) for epochs in (0, 5)
    ]  # fmt: skip
    names = [("relative", "exact"), ("normalized kernelized", "exact"), ("kernelized", "exact")]
    names += [("relative", "logits")]
    ratios = rng.uniform(1, 2, len(runs))
    results = [result(50 + 10 * r, *names, ratio=r) for r in ratios]
    return tables.clusterings(runs, results, MNIST_PAIRS)


def test_elastic_models_are_the_exact_relative_and_normalised_similarities():
    models = elasticity.elastic_models([elastic_table()])
    assert len(models) == 12 * 2
    assert set(models.procedure) == {"many starts"}
    assert set(models.model[models.pair == "5v8"]) == {
        f"two-layer squared {state}  {name} 3,9"
        for state in ("random", "trained")
        for name in ("relative", "normalized kernelized")
    }
    assert all(name.endswith(" ") for name in models.model[models.pair == "4v9"])


def test_models_that_cluster_as_they_are_elastic_have_correlation_one():
    table = elastic_table()
    found = elasticity.rank_correlations(elasticity.elastic_models([table]))
    assert set(found.values()) == {(1, 1, 1, 3)}
    table.loc[table.pair == "4v9", "accuracy"] = 100 - table.accuracy
    models = elasticity.elastic_models([table])
    found = elasticity.rank_correlations(models)
    assert found["elasticity-accuracy-within-pairs"].value == 0
    parts = [models[models.replicate == r] for r in (0, 1, 2)]
    expected = [spearmanr(p["within over between"], p.accuracy).statistic for p in parts]
    assert found["elasticity-accuracy"].value == pytest.approx(np.mean(expected))


def test_points_are_medians_over_replicates_and_drawn_by_pair():
    models = elasticity.elastic_models([elastic_table()])
    points = elasticity.elasticity_points(models)
    assert len(points) == 8
    (words, model, pair), point = next(iter(points.items()))
    chosen = models[(models.model == model) & (models.pair == pair)]
    assert words == "elasticity of"
    assert point == {
        "value": chosen.accuracy.median(), "ratio": chosen["within over between"].median(),
        "pair": pair,
    }  # fmt: skip
    entries = {f"elasticity-of-{k}": entry for k, entry in enumerate(points.values())}
    fig = figures.elasticity_figure(entries | {"other": {"value": 1}}, "title")
    assert [len(line.get_xdata()) for line in fig.axes[0].lines] == [4, 4, 0, 0, 0, 0]
    plt.close(fig)


def test_sources_tell_weights_procedures_and_similarities_apart():
    runs = [
        he_su_run("digits", *pair, **kind)
        for pair in BOTH_PAIRS
        for kind in ({"method": "pixels"}, {"epochs": 0}, {})
    ]
    results = [result(60, (None, None)), result(70), result(80)] * 2
    rows = sources.sources(tables.clusterings(runs, results, MNIST_PAIRS))
    means = {name: tables.mean_over_pairs(values) for name, values in rows.items()}
    assert means == {
        "permuted": 80, "pixels, many starts": 60,
        "random weights, one start": 70.5, "random weights, many starts": 70,
        "trained, one start": 80.5, "trained, many starts": 80, "trained, spectral": 80,
        "trained, relative, many starts": 80, "trained, relative, spectral": 80,
    }  # fmt: skip
    assert sources.start_spread(rows["trained, one start"]) == 5


def test_the_spread_of_starts_is_within_one_matrix():
    starts = pd.concat([row([50, 80], [90, 60]), row([53, 81], [97, 60])])
    assert sources.start_spread(starts) == 7


def trained_runs():
    numbers = {"rate over limit": 2.0, "largest loss": 9.0, "silent percent": 40.0}
    looks = [
        {"step": step, "loss": 1.0 + step, "accuracies": {"relative": 50.0, "kernelized": 60.0}}
        for step in (0, 10)
    ]
    pairs = [MNIST_PAIRS[pair] for pair in ("5v8", "4v9", "3v5")]
    runs = [he_su_run("digits", *pair, seed=s, width=8) for pair in pairs for s in (0, 1)]
    results = [result(60 + k, numbers=numbers, looks=looks) for k in range(len(runs) - 1)]
    return runs, [*results, DIVERGED]


def test_the_end_of_training_is_said_of_runs_that_finished():
    runs, results = trained_runs()
    table = tables.clusterings(runs, results, MNIST_PAIRS)
    assert sources.end_of_training(table, results) == {
        "finished": {"value": 5, "of": 6},
        "rate over limit": (2, 2, 2, 5), "largest loss": (9, 9, 9, 5), "silent percent": 40,
        "rates mean relative": (60.5 + 62.5 + 64) / 3,
        "rates mean kernelized": (60.5 + 62.5 + 64) / 3,
    }  # fmt: skip
    assert list(sources.named(sources.at_end(table), "fast")) == [
        "relative, fast", "kernelized, fast",
    ]  # fmt: skip


def test_looks_are_means_over_pairs_with_the_same_steps():
    runs, results = trained_runs()
    results[0]["looks"][0]["loss"] = 5.0  # shared by all
    results[4] = result(60, looks=[{"step": 3, "loss": 0.0, "accuracies": {}}])  # of 3v5
    rows = sources.mean_looks(sources.looks_during_training(runs, results, MNIST_PAIRS))
    assert rows["loss"].to_dict() == {
        ("0", 0): 5.0, ("10", 0): 11.0, ("0", 1): 5.0, ("10", 1): 11.0,
    }  # fmt: skip
    assert set(rows["kernelized"]) == {60.0}


def test_sweeps_have_the_setting_as_columns():
    runs = [he_su_run("digits", *pair, rate_share=r) for pair in BOTH_PAIRS for r in (0.5, 2.0)]
    table = tables.clusterings(runs, map(result, (60, 70, 80, 90)), MNIST_PAIRS)
    rows = sources.sweep_rows(table, "rate_share")
    assert list(rows) == [f"{o} {pair}" for pair in PAIRS for o in tables.BOTH]
    assert rows["relative 4v9"].to_dict() == {("0.5", 0): 80, ("2", 0): 90}


def recorded(names):
    return {name: {"value": 60.0, "low": 55.0, "high": 65.0} for name in names}


def test_looks_are_drawn_for_the_rates_that_were_recorded():
    records = recorded(
        f"looks-{quantity}-{rate}-{step}"
        for rate in ("as-in-the-paper", "4096-units-stable")
        for quantity in sources.LOOKED_AT
        for step in (0, 1, 10)
    )
    assert figures.rates_recorded(records) == ["as in the paper", "4096 units stable"]
    fig = figures.looks_figure(records, "title")
    assert [len(ax.lines) for ax in fig.axes] == [2, 2, 2]
    assert [ax.get_yscale() for ax in fig.axes] == ["log", "linear", "linear"]
    assert fig.axes[1].lines[0].get_xdata().tolist() == [0, 1, 10]
    plt.close(fig)


def test_sweeps_are_drawn_for_each_pair_and_similarity():
    records = recorded(
        f"{variable}-{option}-5v8-{at}"
        for variable, places in (("rate-share", (0.125, 2)), ("width", (64, 256, 1024)))
        for option in tables.BOTH
        for at in places
    )
    fig = figures.sweep_figure(records, ["5v8"], "title")
    shares, widths = fig.axes
    assert [line.get_label() for line in shares.lines] == [
        "relative, 5 against 8",
        "kernelized, 5 against 8",
    ]
    assert widths.lines[0].get_xdata().tolist() == [64, 256, 1024]
    plt.close(fig)


def test_the_papers_best_row_against_k_means():
    printed = dict.fromkeys(tables.OURS, (50.0, 52.0)) | {"K-means": (50.0, 50.0)}
    printed |= {tables.OURS[-1]: (53.0, 54.0), "PCA + K-means": (90.0, 90.0)}
    assert findings.best_above_kmeans(printed) == 3.5
