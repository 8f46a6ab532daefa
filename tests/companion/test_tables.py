"""Tables of runs."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lecore.companion import figures, records, tables
from lecore.studies.he_su import tables as he_su
from lecore.studies.he_su.runs import he_su_run
from lecore.uncertainty import over_runs

PAIRS = ["5v8", "4v9"]


def row(*replicates: list[float]) -> pd.Series:
    index = pd.MultiIndex.from_product([range(len(replicates)), PAIRS]).swaplevel()
    return pd.Series([v for replicate in replicates for v in replicate], index=index)


def test_one_line_for_each_clustering() -> None:
    runs = [he_su_run("digits", (5, 8), (3,), seed=s) for s in (0, 1)]
    scores = {"relative": {"official": (60.0, 0.1, 0.2), "single starts": [51.0, 52.0]}}
    result = {"scores": scores, "within over between": {"relative": 1.5}, "seconds": 3.0}
    found = [result, {"diverged": "loss is 1e31", "seconds": 1.0}]
    table = he_su.clusterings(runs, found, {"5v8": ((5, 8), (3,))})
    assert he_su.accuracies(table, similarity="relative").to_dict() == {("5v8", 0): 60.0}
    assert he_su.accuracies(table, procedure="single start", loss="cross-entropy").empty
    assert table.procedure.tolist() == ["official", "single start", "single start"]
    assert table.accuracy.tolist() == [60.0, 51.0, 52.0]
    assert table["within over between"].tolist() == [1.5] * 3
    assert set(table.seed) == {0}
    assert table.information.iloc[0] == 0.2


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def keep(name: str, data: Any, record: dict[str, Any] | None = None) -> None:
        if record is not None:
            found[name] = record

    monkeypatch.setattr(records, "glue", keep)
    return found


def test_cells_are_medians_with_all_their_runs(recorded: dict[str, Any]) -> None:
    here = records.record_cells("table 1", {"K-means": row([50, 60], [53, 70], [58, 80])}, PAIRS)
    assert here["table-1-k-means-5v8"] == {
        "value": 53, "low": 50, "high": 58, "digits": 1, "runs": [50, 53, 58],
    }  # fmt: skip
    assert recorded == here
    one = {"value": 61.0, "low": 61.0, "high": 61.0, "runs": [61.0]}
    shown = tables.side_by_side(
        "table 1", ["K-means"], PAIRS, published={"K-means": [50.4, 54.5]},
        reference={"table-1-k-means-4v9": one}, here=here,
    )  # fmt: skip
    shown = shown.data
    assert shown.loc[("K-means", "paper")].tolist() == ["50.4", "54.5 ↓"]
    assert shown.loc[("K-means", "reference run")].tolist() == ["—", "61.0"]
    assert shown.loc[("K-means", "this build"), "5v8"] == "53.0\n50.0–58.0"


def test_mean_scores_are_means_over_pairs_of_medians(recorded: dict[str, Any]) -> None:
    runs = [
        he_su_run("digits", p, (3,), seed=s, network="pixels")
        for p in ((5, 8), (4, 9))
        for s in (0, 1, 2)
    ]
    official = [(50.0, 0.0, 0.0), (60.0, 0.1, 0.0), (90.0, 0.2, 0.3), *[(70.0, 0.5, 0.6)] * 3]
    found = [{"scores": {"features": {"official": s, "many starts": s}}} for s in official]
    table = he_su.clusterings(runs, found, {"5v8": ((5, 8), (3,)), "4v9": ((4, 9), (3,))})
    shown = he_su.mean_scores(table, {"accuracy-k-means": {"value": 80.0}}).data
    assert shown.loc["K-means", ("accuracy (%)", "reference run")] == 80.0
    assert shown.loc["K-means", ("accuracy (%)", "this build")] == (60 + 70) / 2
    assert shown.loc["K-means", ("adjusted Rand", "this build")] == pytest.approx(0.3)
    assert recorded.keys() == {
        "accuracy-k-means", "many-starts-k-means", "adjusted-rand-k-means",
        "mutual-information-k-means",
    }  # fmt: skip


def test_names_in_tables_show_as_they_stand() -> None:
    frame = pd.DataFrame({"<b>": ["<i>"]}, index=["<u>"])
    html = tables.styled(frame).to_html()
    assert all(f"&lt;{tag}&gt;" in html and f"<{tag}>" not in html for tag in "biu")


def test_curves_are_means_with_their_range(recorded: dict[str, Any]) -> None:
    entry = records.record_curve("falling", np.array([[3.0, 1.0], [5.0, 1.23456]]))
    expected = {"curve": [4.0, 1.117], "lowest": [3.0, 1.0], "highest": [5.0, 1.235]}
    assert entry == recorded["falling"] == {"value": 1.117} | expected
    fig, ax = plt.subplots()
    figures.draw_recorded(ax, [0, 1], entry, "--", color="black", label="ours")
    assert ax.lines[0].get_ydata().tolist() == [4.0, 1.117]
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (1.0, 5.0)
    plt.close(fig)


def test_runs_are_recorded_as_their_mean_with_its_interval(recorded: dict[str, Any]) -> None:
    entry = records.record_runs("share", [0.2, 0.9, 1.0], bounds=(0, 1), digits=3, unit="m")
    mean, low, high = over_runs([0.2, 0.9, 1.0], bounds=(0, 1))
    assert high == 1
    assert entry == recorded["share"] == {
        "value": mean, "low": low, "high": high, "digits": 3, "unit": "m",
    }  # fmt: skip


def test_names_of_records_are_words_joined_by_hyphens() -> None:
    assert records.key("table 1", "squared, relative (ReLU)", "car v cat") == (
        "table-1-squared-relative-relu-car-v-cat"
    )


def test_published_numbers_are_compared_at_their_printed_digit() -> None:
    cell = {"low": 50.44, "high": 53.0}
    assert tables.inside(50.4, cell)
    assert not tables.inside(50.3, cell)
    assert not tables.inside(53.1, cell)


def test_pairs_won_within_each_replicate() -> None:
    better = [row([60, 50], [60, 90]), row([55, 70], [60, 90])]
    worse = [row([59, 70], [61, 40])]
    # replicate 0: 60 > 59, 70 = 70; replicate 1: 60 < 61, 90 > 40
    assert he_su.pairs_won(better, worse).value == 1.0
    assert he_su.pairs_won(better, worse, ties=True) == over_runs([2, 1], bounds=(0, 2))


def test_pairs_won_leaves_out_replicates_that_a_row_lacks() -> None:
    assert he_su.pairs_won([row([60, 60], [60, 60])], [row([50, 70])]) == over_runs([1])


def test_intervals_stand_below_their_numbers_if_they_have_a_width() -> None:
    wide = {"value": 0.5, "low": 0.25, "high": 1.0}
    narrow = {"value": 0.5, "low": 0.4999, "high": 0.5001}
    shown = tables.interval_table(
        ["a", "b", "c"], ["x", "y"], lambda row, column: f"{row}-{column}",
        reference={"a-x": wide}, here={"a-x": narrow, "a-y": {"value": 1 / 3}, "b-y": narrow},
    ).data  # fmt: skip
    assert shown.index.tolist() == [
        ("a", "reference run"), ("a", "this build"), ("b", "this build")
    ]  # fmt: skip
    assert shown["x"].tolist() == ["0.50\n0.25–1.00", "0.50", "—"]
    assert shown["y"].tolist() == ["—", "0.33", "0.50"]


def test_the_figure_has_a_panel_for_each_column(recorded: dict[str, Any]) -> None:
    columns = [*PAIRS, "7v9", "5v9", "3v5", "3v8"]
    here = records.record_cells("t", {"K-means": row([50, 60], [53, 70])}, PAIRS)
    fig = figures.table_figure(
        "t", ["K-means"], columns, here, "title", published={"K-means": [55.0] * 6}
    )
    assert [ax.get_title() for ax in fig.axes] == [c.replace("v", " against ") for c in columns]
    assert np.ravel(fig.axes[0].lines[1].get_xdata()).tolist() == [50, 53]
