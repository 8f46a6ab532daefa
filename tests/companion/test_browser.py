"""Charts to play with, moved in a real browser: their numbers are those of ``lecore``."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from lecore.companion.interactive import chart_html, stage_scripts
from lecore.companion.reference_runs import reference
from lecore.data.manifolds import placed, torus
from lecore.models import two_layer
from lecore.similarity import correlation_with_distance
from lecore.studies.dan.figures.two_ratios import AFTER, BEFORE, two_ratios_chart
from lecore.studies.dan.two_ratios import two_ratios
from lecore.studies.he_su import past_the_edge
from lecore.studies.he_su.figures.luck import luck_chart
from lecore.studies.he_su.figures.past_the_edge import past_the_edge_chart
from lecore.studies.he_su.figures.pulled_torus import SIZES, pulled_torus_chart
from lecore.studies.he_su.figures.step_sizes import step_sizes_chart
from lecore.studies.he_su.luck import single_starts
from lecore.studies.he_su.pulled_torus import pulled_torus, wide_similarity
from lecore.studies.he_su.runs import Run
from lecore.studies.he_su.step_sizes import StepSizes, step_sizes
from lecore.studies.neighbours import polynomial_elasticity
from lecore.studies.neighbours.bayesian_estimate import Scheme, sampling_path
from lecore.studies.neighbours.calibration_error import ks_error, top
from lecore.studies.neighbours.figures.bayesian_robustness import sampling_chart
from lecore.studies.neighbours.figures.polynomial_torus import polynomial_torus_chart
from lecore.studies.neighbours.figures.temperature import temperature_chart
from lecore.studies.neighbours.ks_calibration import recalibrated, temperature

from .conftest import CHROMIUM

PICTURE = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: charts were not moved"),
]


def charts() -> Mapping[str, Mapping[str, Any]]:
    """All of them, by name."""
    torus_at = pulled_torus(400, 0, sizes=SIZES.values(), shifts=range(13))
    return {
        "torus": pulled_torus_chart(torus_at),
        "divergence": two_ratios_chart(),
        "step": step_sizes_chart(steps()),
        "edge": past_the_edge_chart(*edges(), ("5", "9"), "a run"),
        "polynomial": polynomial_torus_chart(
            polynomial_elasticity.polynomial_torus(
                400, 0, degrees=range(1, 13), sizes=SIZES.values()
            )
        ),
        "luck": luck_chart(starts(), {"5v9": 67.8, "3v5": 71.5}, "a run"),
        "temperature": temperature_chart(
            *stated(), recalibrated(stated(), *stated()), temperature(*stated())
        ),
        "samples": sampling_chart(sampled(), 0.075),
    }


def stated() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits that are too sure, to two digits as in the chart, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 90)
    return (rng.normal(size=(90, 4)) * 3 + 4 * np.eye(4)[labels]).round(2), labels


@cache
def edges() -> tuple[list[past_the_edge.Path], Any]:
    images = {"per_class": 10, "auxiliary_size": 10, "batch_size": 10}
    run = Run(data="digits", primary=(5, 9), auxiliary=(4,), width=32, epochs=2, looks=4, **images)
    return past_the_edge.paths(run, [0.5, 8, 1e6])


@cache
def starts() -> pd.DataFrame:
    records = reference("clustering/training-or-luck")
    return single_starts(records, ["5v9", "3v5"])


@cache
def sampled() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    chances = {"mostly robust": 0.95, "robust by half": 0.5}
    paths = {name: sampling_path(rng.random(292) < p, Scheme()) for name, p in chances.items()}
    return pd.concat(path.assign(image=name) for name, path in paths.items())


@cache
def steps() -> StepSizes:
    x = torch.tensor(torus(40, 0).points[::2])
    rates = [10**power for power in np.arange(-7, 1.1, 0.5)]
    return step_sizes(two_layer(3, 256, seed=0), x, torch.ones(len(x), 1).double(), 0, rates)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page for each chart, and one without."""
    folder = tmp_path_factory.mktemp("book")
    script, style = stage_scripts(folder)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += "<script>const _ = 0;</script>"  # as Sphinx's scripts do
    head += f'<link rel="stylesheet" href="{style}"><script src="{script}"></script>'
    pages = {
        name: chart_html(name, spec, PICTURE, "What it shows") for name, spec in charts().items()
    }
    for name, body in {**pages, "none": "<p>No chart.</p>"}.items():
        page = f"<!doctype html><html><head>{head}</head><body>{body}</body></html>"
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return folder


class Page:
    """A page in the browser, and what went wrong on it."""

    def __init__(self, browser: Any, address: str, width: int) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.faults: list[str] = []
        self.loaded: list[str] = []
        self.page.on("console", lambda said: self.faults.append(said.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.loaded.append(request.url))
        self.page.goto(address)

    def numbers(self) -> list[float]:
        """All numbers of the sentence below the chart."""
        said = self.page.locator(".chart-words").inner_text().replace("−", "-")
        return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e[+-]\d+)?", said)]

    def slide(self, label: str, value: float) -> None:
        slider = self.page.get_by_label(label)
        slider.fill(str(value))

    def choose(self, group: str, label: str) -> None:
        self.page.get_by_role("group", name=group).get_by_label(label, exact=True).check()


@pytest.fixture(scope="module")
def pages(browser: Any) -> Iterator[dict[str, Page]]:
    """The last one of each chart: it takes seconds to open, and others may do with it."""
    opened: dict[str, Page] = {}
    yield opened
    for one in opened.values():
        one.page.close()


@pytest.fixture
def opened(browser: Any, book: Path, pages: dict[str, Page]) -> Iterator[Any]:
    seen: list[Page] = []

    def show(name: str, width: int = 800, *, anew: bool = True) -> Page:
        if anew or name not in pages:
            if name in pages:
                pages[name].page.close()
            pages[name] = Page(browser, (book / f"{name}.html").as_uri(), width)
        one = pages[name]
        seen.append(one)
        one.page.set_viewport_size({"width": width, "height": 900})
        if name != "none":
            narrow = (
                f"document.querySelector('.chart-drawn')?.narrow === {str(width < 500).lower()}"
            )
            one.page.wait_for_function(narrow)
        return one

    yield show
    for one in seen:
        assert one.faults == []
        assert all(url.startswith(("file:", "data:")) for url in one.loaded)


def pulled(units: str | int, size: float, shift: float, point: int) -> list[float]:
    """Movement near and far, and the correlations, from ``lecore``; units or a degree."""
    curves = torus(400, 0)
    own = curves.primary[np.argsort(curves.coordinates[curves.primary, 0])]
    there = placed(curves, scale=size, shift=shift).points[own]
    if isinstance(units, int):
        s = polynomial_elasticity.wide_similarity(there, units)
    else:
        s = wide_similarity(there, units)
    d = curves.distance[np.ix_(own, own)]
    row, apart = s[point], d[point]
    one = np.corrcoef(row, apart)[0, 1]
    near, far = row[apart < 0.5].mean(), row[apart > 2.6].mean()
    return [near, far, one, correlation_with_distance(s, d)]


def test_a_pulled_torus_says_what_lecore_computes(opened: Any) -> None:
    page = opened("torus")
    assert page.numbers() == pytest.approx(pulled("ReLU", 1, 0, 100), abs=0.006)
    page.choose("hidden units", "linear")
    assert page.numbers() == pytest.approx(pulled("linear", 1, 0, 100), abs=0.006)
    page.slide("moved up by", 8)
    page.slide("pull at point", 17)
    assert page.numbers() == pytest.approx(pulled("linear", 1, 8, 17), abs=0.006)
    page.choose("hidden units", "tanh")
    page.choose("size of the torus", "¼")
    assert page.numbers() == pytest.approx(pulled("tanh", 0.25, 8, 17), abs=0.006)


def test_a_point_is_pulled_by_the_pointer_and_the_slider_follows(opened: Any) -> None:
    page = opened("torus")
    box = page.page.locator(".chart-view svg").bounding_box()
    page.page.mouse.move(box["x"] + 90, box["y"] + 300)
    page.page.mouse.move(box["x"] + 80, box["y"] + 300)
    point = int(page.page.get_by_label("pull at point").input_value())
    assert point != 100
    assert page.numbers() == pytest.approx(pulled("ReLU", 1, 0, point), abs=0.006)


def test_a_polynomial_of_any_degree_says_what_lecore_computes(opened: Any) -> None:
    page = opened("polynomial")
    assert page.numbers() == pytest.approx([1, *pulled(1, 1, 0, 100)], abs=0.006)
    page.slide("degree", 4)
    page.slide("pull at point", 17)
    assert page.numbers() == pytest.approx([4, *pulled(4, 1, 0, 17)], abs=0.006)
    page.choose("size of the torus", "⅛")
    page.slide("degree", 11)
    assert page.numbers() == pytest.approx([11, *pulled(11, 0.125, 0, 17)], abs=0.006)


def test_both_ratios_are_those_of_lecore(opened: Any) -> None:
    page = opened("divergence")
    assert page.numbers() == pytest.approx(two_ratios(BEFORE, AFTER), abs=0.006)
    page.slide("p⁺ of class 1", 0.34)
    page.slide("p⁺ of class 2", 0.43)
    without_update = page.numbers()
    assert without_update == pytest.approx(two_ratios(BEFORE, BEFORE), abs=0.006)
    assert without_update[:2] == [0, 0]
    page.slide("p of class 1", 0.9)
    page.slide("p of class 2", 0.9)  # no more than 0.08 is left
    expected = two_ratios((0.9, 0.08, 0.02), (0.34, 0.43, 0.23))
    assert page.numbers() == pytest.approx(expected, abs=0.006)


def test_a_step_of_any_size_says_what_lecore_computes(opened: Any) -> None:
    page, found = opened("step"), steps()
    for power in (-1.5, 1.0):
        page.slide("learning rate", power)
        k = int(np.argmin(np.abs(found.rates - 10**power)))
        _, flipped, distance = page.numbers()[-3:]
        assert flipped == pytest.approx(100 * found.flipped[k], abs=0.06)
        assert distance == pytest.approx(found.distance[k], rel=0.06)
        shown = page.page.evaluate("document.querySelector('.lecore-chart').view.signal('k')")
        assert shown == k


def test_training_past_the_edge_says_what_was_recorded(opened: Any) -> None:
    page, (paths, _) = opened("edge"), edges()
    assert paths[2].diverged
    for share, path in zip(("0.5", "8", "1e+06"), paths, strict=True):
        page.choose("rate / largest stable one", share)
        for moment in (0, 2):
            page.slide("moment", moment)
            k = min(moment, len(path.steps) - 1)
            expected = [path.steps[k], path.loss[k], path.silent[k]]
            assert page.numbers()[1:4] == pytest.approx(expected, rel=0.05, abs=0.6)
    assert "run away" in page.page.locator(".chart-words").inner_text()


def test_a_temperature_says_the_error_that_lecore_computes(opened: Any) -> None:
    page, (z, y) = opened("temperature"), stated()
    ways = recalibrated((z, y), z, y)
    fixed = [temperature(z, y), *(100 * ks_error(*ways[w]) for w in ("temperature", "spline"))]
    for t in (1.0, 0.5, 2.3, 6.0):
        page.slide("temperature", t)
        scores, hits = top(softmax(z / t, axis=1), y)
        now = [t, 100 * ks_error(scores, hits), 100 * abs(scores.mean() - hits.mean())]
        assert page.numbers() == pytest.approx(now + fixed, abs=0.06)


def test_another_start_is_counted_and_named(opened: Any) -> None:
    page, drawn = opened("luck"), starts()
    page.page.get_by_role("button", name="another start").click()
    page.page.get_by_role("button", name="another start").click()

    def expected(pair: str, weights: str, n: int) -> list[float]:
        some = drawn[(drawn["pair"] == pair) & (drawn.weights == weights)].accuracy[:n]
        paper = {"5v9": 67.8, "3v5": 71.5}[pair]
        return [n, some.iloc[-1], some.min(), some.max(), paper]

    assert page.numbers() == pytest.approx(expected("5v9", "trained", 7), abs=0.06)
    page.choose("digits", "3 against 5")
    page.choose("similarities of", "random weights")
    page.slide("starts", 40)
    assert page.numbers() == pytest.approx(expected("3v5", "random weights", 40), abs=0.06)


def test_samples_are_drawn_until_the_scheme_stops(opened: Any) -> None:
    page, paths = opened("samples"), sampled()

    def expected(image: str, n: int) -> list[float]:
        some = paths[paths["image"] == image]
        last = some.iloc[min(n, len(some)) - 1]
        return [last[name] for name in ("n", "k", "value", "low", "high", "needed")]

    page.page.get_by_role("button", name="another one").click()
    assert page.numbers() == pytest.approx(expected("mostly robust", 21), abs=6e-4)
    assert "goes on" in page.page.locator(".chart-words").inner_text()
    page.choose("image", "robust by half")
    page.slide("posterior samples", 100)
    assert page.numbers() == pytest.approx(expected("robust by half", 100), abs=6e-4)
    page.choose("image", "mostly robust")
    page.slide("posterior samples", 292)
    assert page.numbers() == pytest.approx(expected("mostly robust", 292), abs=6e-4)
    assert "and stops" in page.page.locator(".chart-words").inner_text()


def test_a_chart_takes_the_colour_of_the_text_in_either_theme(opened: Any) -> None:
    page = opened("torus", anew=False)
    colour = "getComputedStyle(document.querySelector('.chart-view text')).fill"
    page.page.evaluate("document.body.style.color = 'rgb(1, 2, 3)'")
    assert page.page.evaluate(colour) == "rgb(1, 2, 3)"
    page.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    turned = "getComputedStyle(document.querySelector('.chart-view svg')).filter"
    assert page.page.evaluate(turned) == "invert(1) hue-rotate(180deg)"


@pytest.mark.parametrize(
    "name", ["torus", "divergence", "step", "edge", "luck", "temperature", "samples", "polynomial"]
)
def test_a_phone_shows_a_chart_without_scrolling_sideways(opened: Any, name: str) -> None:
    page = opened(name, 390, anew=False)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.page.locator(".chart-still").is_hidden()


def test_turning_a_phone_keeps_what_was_chosen(opened: Any) -> None:
    page = opened("torus", 390)
    page.choose("hidden units", "linear")
    page.slide("pull at point", 17)
    page.page.set_viewport_size({"width": 800, "height": 390})
    page.page.wait_for_function("document.querySelector('.lecore-chart').narrow === false")
    assert page.numbers() == pytest.approx(pulled("linear", 1, 0, 17), abs=0.006)


def test_a_page_without_a_chart_does_not_load_vega(opened: Any) -> None:
    page = opened("none")
    page.page.wait_for_load_state("load")
    assert not [url for url in page.loaded if "vega" in url]


@pytest.mark.thorough
def test_print_shows_the_still_picture(opened: Any) -> None:
    page = opened("torus", anew=False)
    page.page.emulate_media(media="print")
    assert page.page.locator(".chart-still").is_visible()
    assert page.page.locator(".chart-live").is_hidden()
