"""Tables of runs."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lecore import uncertainty
from lecore.companion import figures, records, reference_runs, repeated_runs
from lecore.uncertainty import over_runs

PAIRS = ["5v8", "4v9"]


def row(*replicates: list[float]) -> pd.Series:
    index = pd.MultiIndex.from_product([range(len(replicates)), PAIRS]).swaplevel()
    return pd.Series([v for replicate in replicates for v in replicate], index=index)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def keep(name: str, data: Any, record: dict[str, Any] | None = None) -> None:
        if record is not None:
            found[name] = record

    monkeypatch.setattr(records, "glue", keep)
    return found


def test_cells_are_medians_with_all_their_runs(recorded: dict[str, Any]) -> None:
    here = repeated_runs.record_cells(
        "table 1", {"K-means": row([50, 60], [53, 70], [58, 80])}, PAIRS
    )
    assert here["table-1-k-means-5v8"] == {
        "value": 53, "low": 50, "high": 58, "digits": 1, "n": 3, "runs": [50, 53, 58],
    }  # fmt: skip
    assert recorded == here


def test_figures_show_the_reference_run_where_there_is_one() -> None:
    here, there = {"a": {"value": 1}}, {"a": {"value": 2}}
    assert reference_runs.run_to_show(there, here, "MNIST", "digits") == (
        there,
        "reference run on MNIST",
    )
    assert reference_runs.run_to_show({}, here, "MNIST", "digits") == (here, "this build on digits")


def test_a_reference_run_is_found_by_its_settings() -> None:
    chapter = "dynamics/classification"
    main, other = reference_runs.reference(chapter), reference_runs.reference(chapter, seeds=6)
    assert other == reference_runs.reference(chapter, "cifar100") != main
    assert reference_runs.reference(chapter, seeds=5) == {}


def test_numbers_intervals_and_whole_entries_are_recorded_alike(recorded: dict[str, Any]) -> None:
    interval = uncertainty.median_range([3.0, 1.0, 2.0, 5.0])
    entries = {"plain": 1, ("Two words", "a, b"): interval, "of": {"value": 2, "of": 3}}
    found = records.record_all(entries, digits=1)
    assert found == recorded == {
        "plain": {"value": 1.0},
        "two-words-a-b": {"value": 2.5, "low": 1.0, "high": 5.0, "digits": 1, "n": 4},
        "of": {"value": 2.0, "of": 3},
    }  # fmt: skip


def test_all_columns_are_recorded_if_none_are_named(recorded: dict[str, Any]) -> None:
    rows = {"a": row([50, 60]), "b": row([70, 80])}
    assert repeated_runs.record_cells("t", rows) == repeated_runs.record_cells("t", rows, PAIRS)


def test_curves_are_means_with_their_range(recorded: dict[str, Any]) -> None:
    entry = repeated_runs.record_curve("falling", np.array([[3.0, 1.0], [5.0, 1.23456]]))
    expected = {"curve": [4.0, 1.117], "lowest": [3.0, 1.0], "highest": [5.0, 1.235]}
    assert entry == recorded["falling"] == {"value": 1.117} | expected
    fig, ax = plt.subplots()
    figures.draw_recorded(ax, [0, 1], entry, "--", color="black", label="ours")
    assert ax.lines[0].get_ydata().tolist() == [4.0, 1.117]
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (1.0, 5.0)
    plt.close(fig)


def test_runs_are_recorded_as_their_mean_with_its_interval(recorded: dict[str, Any]) -> None:
    entry = repeated_runs.record_runs("share", [0.2, 0.9, 1.0], bounds=(0, 1), digits=3, unit="m")
    mean, low, high, n = over_runs([0.2, 0.9, 1.0], bounds=(0, 1))
    assert high == 1
    assert entry == recorded["share"] == {
        "value": mean, "low": low, "high": high, "digits": 3, "n": n, "unit": "m",
    }  # fmt: skip


def test_names_of_records_are_words_joined_by_hyphens() -> None:
    assert records.key("table 1", "squared, relative (ReLU)", "car v cat") == (
        "table-1-squared-relative-relu-car-v-cat"
    )


def test_the_figure_has_a_panel_for_each_column(recorded: dict[str, Any]) -> None:
    columns = [*PAIRS, "7v9", "5v9", "3v5", "3v8"]
    here = repeated_runs.record_cells("t", {"K-means": row([50, 60], [53, 70], [52, 65])}, PAIRS)
    fig = figures.table_figure(
        "t", ["K-means"], columns, here, "title", published={"K-means": [55.0] * 6}
    )
    assert [ax.get_title() for ax in fig.axes] == [c.replace("v", " against ") for c in columns]
    assert np.ravel(fig.axes[0].lines[1].get_xdata()).tolist() == [50, 53, 52]
