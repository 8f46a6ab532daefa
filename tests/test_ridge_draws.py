"""Draws of pairs of the ridge experiment, against the curves of one draw."""

import numpy as np
import pytest

from lecore.studies.dan import ridge, ridge_draws

TIMES = np.array([0, 400, 2000, 6000, 8000])


@pytest.fixture(scope="module")
def run():
    return ridge.released_flow(10, TIMES, pairs=3, starts=2)


def test_a_draw_is_the_mean_over_pairs_and_starts(run):
    drawn = ridge_draws.draw_numbers(run, 2, seed=1)
    assert {len(values) for values in drawn.values()} == {2}
    for k, seed in enumerate(np.random.SeedSequence(1).generate_state(2)):
        curves = {
            name: ridge.pair_similarities(run, name, seed=int(seed)) for name in ridge.VARIANTS
        }
        coded, consistent, matched, within, own = (
            curves[name].mean(axis=(1, 2))
            for name in (
                "as coded, interclass", "consistent, interclass",
                "penalty of the printed loss, interclass", "as coded, intraclass",
                "consistent, intraclass",
            )
        )  # fmt: skip
        median = np.median(curves["consistent, interclass"], axis=(1, 2))
        expected = {
            "as coded end": coded[4] / 20, "as coded rise": coded[4] / coded[0],
            "as coded late change": coded[4] / coded[3],
            "as coded steadiness": coded.min() / coded.max(),
            "as coded class ratio": within[4] / coded[4], "consistent interclass": consistent[4],
            "consistent intraclass": own[4],
            "consistent mean range": consistent.max() / consistent.min(),
            "consistent median range": median.max() / median.min(),
            "consistent steadiness": median.min() / median.max(),
            "matched penalty range": matched.max() / matched.min(),
        }  # fmt: skip
        assert {name: values[k] for name, values in drawn.items()} == pytest.approx(expected)


def test_draws_differ_and_are_of_the_seed(run):
    ends = [ridge_draws.draw_numbers(run, 3, seed=s)["as coded end"] for s in (0, 0, 1)]
    assert len(set(ends[0])) == 3
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


def test_records_of_known_draws():
    names = ("as coded end", "as coded late change", "as coded rise", "consistent mean range")
    drawn = dict.fromkeys(names, np.array([1.0, 2.0, 4.0, 8.0]))
    drawn["as coded late change"] = np.array([1.0, 1.05, 1.2, 0.85])
    found = ridge_draws.draw_records(drawn, 7, published=4.0)
    records = {name: found["ridge", name, "7 features"] for _, name, _ in found}
    assert records["as coded rise"]["value"] == pytest.approx(8**0.5)
    assert records["end near"]["value"] == 3 / 4
    assert records["late flat"]["value"] == 2 / 4
    assert records["near and flat"]["value"] == 1 / 4
    assert records["nearly constant"]["value"] == 2 / 4
    assert records["as coded end spread"]["value"] == 3
    assert records["as coded end spread"]["low"] == pytest.approx(1.075)
    assert all(entry["n"] == 4 for entry in records.values())


def test_losses_are_over_data_sets_and_the_released_one_is_seed_5():
    sizes = {"pairs": 2, "starts": 2}
    found = ridge_draws.loss_records(10, 3, seed=4, **sizes)
    ends, kept = [], []
    for seed in (4, 5, 6):
        flow = ridge.released_flow(10, np.array([7200, 8000]), seed=seed, **sizes)
        late, end = ridge.losses(flow)["as coded"]
        ends.append(end)
        kept.append(end / late)
    released = ridge.losses(ridge.released_flow(10, np.array([8000]), **sizes))["as coded"]
    assert ends[1] == pytest.approx(released[0])
    end = found["ridge", "loss as coded end", "10 features"]
    assert end["value"] == pytest.approx(np.prod(ends) ** (1 / 3))
    assert end["low"] < end["value"] < end["high"]
    decrease = found["ridge", "loss as coded late decrease", "10 features"]
    assert decrease["value"] == pytest.approx(1 - np.prod(kept) ** (1 / 3))
    assert decrease["low"] < decrease["value"] < decrease["high"]
    assert decrease["n"] == 3
