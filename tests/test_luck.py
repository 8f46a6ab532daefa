"""Single starts, as the records of the chapter hold them."""

from lecore.studies.he_su.figures.luck import luck_chart
from lecore.studies.he_su.luck import single_starts

RECORDS = {
    "sources-trained-one-start-5v9": {"runs": [57.6, 95.4, 57.6]},
    "sources-random-weights-one-start-5v9": {"runs": [60.0]},
    "sources-trained-one-start-4v9": {"runs": [66.2, 66.2]},
}


def test_starts_are_numbered_as_drawn_and_missing_pairs_left_out():
    found = single_starts(RECORDS, ["4v9", "5v9", "3v5"])
    assert found.values.tolist() == [
        ["4v9", "trained", 1, 66.2],
        ["4v9", "trained", 2, 66.2],
        ["5v9", "trained", 1, 57.6],
        ["5v9", "trained", 2, 95.4],
        ["5v9", "trained", 3, 57.6],
        ["5v9", "random weights", 1, 60.0],
    ]


def test_the_pair_that_luck_moves_most_comes_first():
    starts = single_starts(RECORDS, ["4v9", "5v9"])
    chart = luck_chart(starts, {"4v9": 63.8, "5v9": 67.8}, "a run")
    (pair,) = (param for param in chart["params"] if param["name"] == "pair")
    assert pair["value"] == "5v9"
    assert pair["bind"]["labels"] == ["5 against 9", "4 against 9"]
