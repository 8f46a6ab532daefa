"""Every figure is as wide as a page, legible, labelled and within its canvas."""

import ast
import inspect
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import is_color_like
from matplotlib.text import Text

from lecore.companion import figure
from lecore.companion import figures as style
from lecore.data.manifolds import torus
from lecore.errors import LecoreError
from lecore.studies.dan.figures import analytical, classification, regression
from lecore.studies.dan.phase_controls import CONTROLS
from lecore.studies.dan.ridge import VARIANTS
from lecore.studies.dan.small_models import MOMENTS, NUMBERS
from lecore.studies.he_su.figure1 import correlation_table
from lecore.studies.he_su.figure1_placements import PLACEMENTS
from lecore.studies.he_su.figure1_runs import Measured
from lecore.studies.he_su.figures import algorithm1, clusterings, figure1, limits, luck, pixels
from lecore.studies.he_su.problems import CIFAR10_PAIRS, MNIST_PAIRS
from lecore.studies.neighbours import bayesian_estimate, polynomial_elasticity
from lecore.studies.neighbours.equivalent_networks import Bounds
from lecore.studies.neighbours.figures import (
    added_layers,
    equivalent_networks,
    held_out,
    ks_calibration,
    polynomial_nets,
)
from lecore.studies.neighbours.figures import bayesian_robustness as bayesian
from lecore.studies.neighbours.ks_elasticity import Path as Calibrating
from lecore.studies.own import figures as own
from lecore.uncertainty import Interval

MODULES = (
    figure1, limits, algorithm1, clusterings, pixels, classification, regression, analytical, own,
    held_out, ks_calibration, added_layers,
    bayesian,
    polynomial_nets, equivalent_networks,
)  # fmt: skip
HELPERS = {"rates_recorded", "shown", "off_the_print", "sampling_chart"}
RNG = np.random.default_rng(0)
CURVES = torus(32)
DISTANCE = CURVES.distance[np.ix_(CURVES.primary, CURVES.primary)]
FALLING = np.exp(-DISTANCE)
SOME = RNG.uniform(0.5, 1.5, size=(3, 4))
TIMES = np.array([0, 10, 100, 8000])
MEASURED = Measured(FALLING, DISTANCE, DISTANCE, 1.0)
UNITS = ("relu", "linear", "tanh")
OFF = pd.DataFrame({"row": pixels.ROWS, "pair": "car v horse"})
ENTRY: dict[str, Any] = {
    "value": 0.6, "low": 0.5, "high": 0.7, "runs": [0.5, 0.7], "n": 2, "ratio": 1.1, "pair": "5v8",
    "curve": [0.5, 0.7, 0.6], "lowest": [0.4, 0.6, 0.5], "highest": [0.6, 0.8, 0.7],
    "block": [[0.5, -0.25, 0.125]] * 3, "epochs": [0, 1, 2, 3], "classes": ["cat", "dog", "car"],
}  # fmt: skip
LOOKS = {part: [*ENTRY[part], 0.6] for part in ("curve", "lowest", "highest")}


class Everything(dict[str, Any]):
    """A record under each name."""

    def __missing__(self, name: str) -> Any:
        return ENTRY | LOOKS if name.startswith("superiority") else ENTRY


EVERYTHING = Everything()
PER_CLASS = {"mean": [[[0.5, 0.6, 0.5]] * 3] * 3}
RELEASED = {
    name: {"mean": [0.5, 0.6, 0.5], "deviation": [0.1] * 3}
    for name in ("training loss", "training accuracy", '"test" accuracy')
}
RUN = classification.Shown(EVERYTHING, "reference run", RELEASED | {"new": PER_CLASS})
RIDGE_PAPER = {
    "loss times": TIMES, "loss": defaultdict(lambda: [9, 4, 2, 1]), "end": defaultdict(lambda: 0.2)
}  # fmt: skip


def placed() -> pd.DataFrame:
    cases = pd.MultiIndex.from_product([["torus", "boxes"], UNITS])
    columns = pd.MultiIndex.from_product([PLACEMENTS, [0, 1]])
    return pd.DataFrame(RNG.uniform(-1, 0, size=(len(cases), len(columns))), cases, columns)


def all_sets() -> Any:
    cases = [("torus", "relu"), ("torus", "linear")]
    seeds = [(*case, s, w) for case in cases for s in (0, 1) for w in ("random", "trained")]
    table = correlation_table(dict.fromkeys(seeds, MEASURED))
    return figure1.all_sets_figure(table, cases, {cases[1]: -0.5})


def rates() -> Any:
    rows = [(name, x == 2, x, -0.5, 9.0) for name in UNITS[:2] for x in (0.5, 1, 2, 4)]
    columns = ["activation", "paper", "share", "correlation", "peak"]
    return figure1.rates_figure(pd.DataFrame(rows, columns=columns), -0.37)


def sweep_records() -> dict[str, Any]:
    return {
        f"{variable}-{option}-5v8-{at}": ENTRY
        for variable, places in (("rate-share", (0.125, 2)), ("width", (64, 1024)))
        for option in ("relative", "kernelized")
        for at in places
    }


def phases() -> Any:
    kinds = ("two layers", "tanh", "linear regression")
    return regression.phase_numbers(
        dict.fromkeys(kinds, EVERYTHING), dict.fromkeys(CONTROLS, EVERYTHING)
    )


def trained(*_: Any) -> Any:
    path = {"steps": np.array([0, 1, 10]), "trained": np.array([1, 0.9, 0.5])}
    return [SimpleNamespace(**path, losses=np.array([1, 0.1, 0.01]))] * 2


def small_runs() -> list[dict[str, Any]]:
    names = ["ReLU gate"]
    names += [f"homogeneous, degree {d}" for d in NUMBERS]
    names += [f"deep linear, depth {d}" for d in NUMBERS]
    return [{name: RNG.uniform(0.5, 1, size=(2, len(MOMENTS))) for name in names} for _ in "ab"]


def sampling_paths() -> pd.DataFrame:
    found = bayesian_estimate.sampling_path([True] * 400, bayesian_estimate.Scheme())
    return pd.concat([found.assign(image=f"{name} 3") for name in ("safe", "torn", "lost")])


TWO = {"relu": FALLING, "linear": FALLING}
R = dict.fromkeys(TWO, Interval(-0.5, -0.625, -0.25, 8))
CHANGES: Any = [pd.DataFrame(SOME, [0.25, 1, 4])] * 2
FOLDED = np.array([0, 1] * 8)
MOVED: Any = [SimpleNamespace(similar=SOME[0], distant=SOME[1])] * 2


def on_the_torus(*places: str) -> pd.DataFrame:
    cases = itertools.product(polynomial_elasticity.ON_THE_TORUS, places, range(3))
    rows = [(name, place, s, -0.3 - s / 10) for name, place, s in cases]
    return pd.DataFrame(rows, columns=["network", "place", "seed", "correlation"])


DRAWS: dict[str, Callable[[], Any]] = {
    "one_step_figure": lambda: figure1.one_step_figure(
        CURVES.points[CURVES.primary], TWO, 2, CURVES.points[CURVES.labels == 0]
    ),
    "similarity_figure": lambda: figure1.similarity_figure(DISTANCE, TWO, R),
    "figure1_again": lambda: figure1.figure1_again(
        {(name, units): MEASURED for name in ("torus", "boxes") for units in TWO},
        defaultdict(lambda: -0.5),
    ),
    "all_sets_figure": all_sets,
    "placements_figure": lambda: figure1.placements_figure(placed()),
    "along_figure": lambda: figure1.along_figure(
        {name: dict(zip(("shift", "scale"), CHANGES, strict=True)) for name in UNITS}
    ),
    "rates_figure": rates,
    "objective_figure": lambda: luck.objective_figure(
        {"objective-lowest-5v8": {"value": 60, "excess": [0, 1], "accuracy": [60, 90]}},
        ["5v8", "4v9", "7v9", "5v9", "3v5", "3v8"], "a run",
    ),
    "draws_figure": lambda: figure1.draws_figure(
        pd.DataFrame({"correlation": [-0.3, -0.1], "similarity": [0.6, 0.7]}), (-0.4, 0.65)
    ),
    "finite_step_figure": lambda: limits.finite_step_figure([1e-3, 1e-2], [2.0, 30.0]),
    "equation4_figure": lambda: limits.equation4_figure([64, 256, 1024], SOME),
    "overlap_figure": lambda: limits.overlap_figure(DISTANCE, FALLING),
    "infinite_width_figure": lambda: limits.infinite_width_figure(
        [64, 256, 1024], SOME, DISTANCE, FALLING
    ),
    "heat_maps": lambda: algorithm1.heat_maps(
        {"relative": FALLING, "kernelized": FALLING}, FOLDED, (5, 9)
    ),
    "maps_of_the_plane": lambda: algorithm1.maps_of_the_plane(
        {"random weights": FALLING, "trained weights": FALLING}, FOLDED, (5, 9)
    ),
    "elasticity_figure": lambda: clusterings.elasticity_figure(
        {f"elasticity-of-{pair}": ENTRY | {"pair": pair} for pair in MNIST_PAIRS}, "this build"
    ),
    "looks_figure": lambda: clusterings.looks_figure(
        {f"looks-{q}-as-in-the-paper-{t}": ENTRY for q in clusterings.LOOKED_AT for t in (0, 9)},
        "this build",
    ),
    "sweep_figure": lambda: clusterings.sweep_figure(sweep_records(), ["5v8"], "this build"),
    "suspects_figure": lambda: pixels.suspects_figure(
        {name: OFF.assign(points=p) for name, p in {"red alone": 0, "all three": 8.5}.items()},
        list(CIFAR10_PAIRS), "reference run on CIFAR-10",
    ),
    "training": lambda: classification.training(RUN),
    "by_update_class": lambda: classification.by_update_class(
        RUN, [("new, as coded", "Adam")] * 2, control=("new, as coded", "none"), logarithmic=1
    ),
    "superiority": lambda: classification.superiority(RUN),
    "class_blocks": lambda: classification.class_blocks(RUN),
    "direction_or_size": lambda: classification.direction_or_size(RUN),
    "sizes_in_training": lambda: classification.sizes_in_training(
        RUN._replace(records=Everything({"sizes-looks": {"epochs": [0, 1, 2]}}))
    ),
    "similarity_and_loss": lambda: regression.similarity_and_loss(
        defaultdict(trained), ["linear", "sine"]
    ),
    "corner_or_curve": lambda: regression.corner_or_curve({"two layers": trained()[0]}),
    "phase_numbers": phases,
    "ridge_losses": lambda: analytical.ridge_losses(
        TIMES, {p: dict(zip("abc", SOME, strict=True)) for p in (10, 100)}, RIDGE_PAPER
    ),
    "ridge_similarities": lambda: analytical.ridge_similarities(
        TIMES, dict.fromkeys((10, 100), dict.fromkeys(VARIANTS, SOME.T[:, :, None])), RIDGE_PAPER
    ),
    "ridge_draws": lambda: analytical.ridge_draws(
        {p: defaultdict(lambda: 1 + SOME.ravel()) for p in (10, 100)}, RIDGE_PAPER
    ),
    "small_models": lambda: analytical.small_models(small_runs()),
    "time_figure": lambda: own.time_figure([100, 200, 400, 800], SOME),
    "sketch_figure": lambda: own.sketch_figure([64, 256, 1024], SOME, SOME),
    "similar_figure": lambda: own.similar_figure(
        dict.fromkeys(("trained", "random", "linear"), MOVED), "4", "9", "0"
    ),
    "class_movement_figure": lambda: own.class_movement_figure(SOME[:, :3], ["cat", "dog", "frog"]),
    "same_words_figure": lambda: own.same_words_figure(
        {name: dict.fromkeys(("a word", "neither"), Interval(0.5, 0.4, 0.6, 3)) for name in "abcd"}
    ),
    "caught_figure": lambda: own.caught_figure(
        [0.1, 0.2, 0.3, 0.4], {"loss": SOME - 0.5, "harm": SOME - 0.6}
    ),
    "tokens_figure": lambda: own.tokens_figure(
        {"learnt": [("A", None), (" $step", 0.5)], "most helped": [(" on it", -0.2)] * 12}
    ),
    "order_figure": lambda: own.order_figure([1e-3, 1e-2, 0.1], {"a": SOME, "b": SOME / 9}),
    "squeezed_figure": lambda: own.squeezed_figure(
        {name: {"one step": SOME[0], "in proportion": SOME[1]} for name in ("gain", "falling")}
    ),
    "runs_figure": lambda: held_out.runs_figure(
        {"first": {"as trained": [5.0, 6.0], "spline": [0.5, 0.7]}, "second": {"a": [1], "b": [1]}},
        "KS error (%)", mark={"first": 0.4, "second": 0.3}, mark_label="by chance",
    ),
    "training_figure": lambda: ks_calibration.training_figure(
        [Calibrating(np.array([0, 1, 10, 100]), *([0.1, 0.3, 0.2, k] for k in range(4)))] * 2
    ),
    "knots_figure": lambda: ks_calibration.knots_figure(
        [3, 6, 12, 24], {"5000 images": SOME, "50000 images": SOME / 2}, 0.9, 0.3
    ),
    "similarity_maps": lambda: added_layers.similarity_maps(
        {"steps on f": FALLING, "steps on g": FALLING}, np.arange(len(FALLING)) % 5
    ),
    "robustness_figure": lambda: bayesian.robustness_figure(
        [0.1, 0.2, 0.3, 0.4], SOME / 4, SOME / 3, SOME / 2
    ),
    "coverage_figure": lambda: bayesian.coverage_figure(
        TIMES / 8000, dict.fromkeys(("Massart", "released", "Chernoff"), (SOME[0], SOME[1])), 0.9
    ),
    "scatter_figure": lambda: bayesian.scatter_figure(*SOME),
    "correlations_figure": lambda: bayesian.correlations_figure(
        [dict.fromkeys(bayesian.LABELS, R["relu"])] * 3
    ),
    "sampling_figure": lambda: bayesian.sampling_figure(sampling_paths(), 0.075),
    "on_the_torus_figure": lambda: polynomial_nets.on_the_torus_figure(
        on_the_torus("as it is", "moved", "an eighth"), on_the_torus("as it is"),
        polynomial_elasticity.ON_THE_TORUS,
    ),
    "image_networks_figure": lambda: polynomial_nets.image_networks_figure(
        dict.fromkeys(("-1 to 1", "0 to 1"), dict.fromkeys(("relu", "NCP-skip"), SOME[0])),
        dict.fromkeys(("relu", "linear", "NCP-skip"), SOME[1]), "this build on digits",
    ),
    "stable_units_figure": lambda: equivalent_networks.stable_units_figure(
        dict.fromkeys(("with l1", "without l1"), 2 * [Bounds(SOME[0] - 1, SOME[1], SOME[0] < 0)])
    ),
    "same_function_figure": lambda: equivalent_networks.same_function_figure(
        dict.fromkeys(("itself", "off removed", "rescaled"), FALLING), [0.1, 0.5, 2, 10],
        dict.fromkeys(("with l1", "without l1"), SOME / 2),
    ),
    "table_figure": lambda: style.table_figure(
        "t", rows := ["K-means", "squared, kernelized (ReLU)"], list(MNIST_PAIRS), EVERYTHING,
        "this build", published={row: [60.0] * 6 for row in rows},
    ),
}  # fmt: skip


NAMES = [
    pytest.param(name, marks=[pytest.mark.thorough] if number % 6 else [])
    for number, name in enumerate(DRAWS)
]
"""One in six, the same ones for all questions; drawing takes longer than all that is asked."""


class Drawn(dict[str, Any]):
    """Figures by name, each drawn when it is asked for."""

    def __missing__(self, name: str) -> Any:
        self[name] = DRAWS[name]()
        self[name].canvas.draw()
        return self[name]


@pytest.fixture(scope="module")
def drawn() -> Iterator[dict[str, Any]]:
    with mpl.rc_context({"figure.max_open_warning": 0}):
        style.use_style()
        yield Drawn()
    plt.close("all")


@pytest.mark.parametrize("module", MODULES)
def test_every_figure_is_looked_at(module: ModuleType) -> None:
    here = {
        name
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert here - HELPERS <= set(DRAWS)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_as_wide_as_a_page(drawn: dict[str, Any], name: str) -> None:
    assert drawn[name].get_figwidth() == style.WIDTH


@pytest.mark.parametrize("name", NAMES)
def test_no_text_is_smaller_than_ten_points(drawn: dict[str, Any], name: str) -> None:
    assert min(text.get_fontsize() for text in drawn[name].findobj(Text)) >= 10


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_at_the_edge(drawn: dict[str, Any], name: str) -> None:
    fig = drawn[name]
    inside, sheet = fig.get_tightbbox(fig.canvas.get_renderer()), fig.get_size_inches()
    assert (inside.min > -0.01).all(), inside
    assert (inside.max < sheet + 0.01).all(), inside


@pytest.mark.parametrize("name", NAMES)
def test_no_two_labels_of_a_panel_lie_on_each_other(drawn: dict[str, Any], name: str) -> None:
    fig = drawn[name]
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            labels = [
                tick.label1.get_window_extent()
                for tick in axis.get_major_ticks()
                if low <= tick.get_loc() <= high and tick.label1.get_visible()
            ]
            turned = any(tick.label1.get_rotation() % 90 for tick in axis.get_major_ticks())
            if ax.name != "3d" and not turned:
                assert not any(a.overlaps(b) for a, b in itertools.pairwise(labels))


@pytest.mark.parametrize("name", NAMES)
def test_every_axis_says_what_it_shows(drawn: dict[str, Any], name: str) -> None:
    fig = drawn[name]
    for ax in fig.axes:
        across = ax.get_shared_x_axes().get_siblings(ax)
        beside = ax.get_shared_y_axes().get_siblings(ax)
        x = any([fig.get_supxlabel(), *(other.get_xlabel() for other in across)])
        y = any([fig.get_supylabel(), *(other.get_ylabel() for other in beside)])
        names = [text.get_text() for other in beside for text in other.get_yticklabels()]
        y |= any(name[:1].isalpha() for name in names)
        assert (x or y) if ax.get_label() == "<colorbar>" else (x and y), ax


def test_no_figure_has_a_colour_of_its_own() -> None:
    for module in MODULES:
        tree = ast.parse(Path(inspect.getfile(module)).read_text(encoding="utf-8"))
        texts = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        own_ones = {text for text in texts if is_color_like(text) or text in mpl.colormaps}
        assert own_ones <= {"none"}, module.__name__


def test_each_colour_has_one_meaning() -> None:
    assert len(set(style.COLOURS.values())) == len(style.COLOURS)


def test_tones_go_from_dark_to_light() -> None:
    lightness = [sum(mpl.colors.to_rgb(tone)) for tone in style.tones(5)]
    assert lightness == sorted(lightness)
    assert style.tones(1) == [style.COLOURS["several"]]


def test_lines_are_named_at_their_ends_and_apart() -> None:
    fig, axes = style.panels()
    for name, height in (("a", 0.5), ("b", 0.501), ("c", 1)):
        axes[0, 0].plot([0, 1], [0, height], label=name)
    style.label_ends(axes[0, 0])
    fig.canvas.draw()
    places = {text.get_text(): text.get_window_extent() for text in axes[0, 0].texts}
    assert list(places) == ["a", "b", "c"]
    assert not places["a"].overlaps(places["b"])
    assert places["a"].y1 < places["c"].y0
    plt.close(fig)


def test_a_figure_wider_than_a_page_is_refused() -> None:
    fig = plt.figure(figsize=(9, 3))
    with pytest.raises(LecoreError, match=r"'wide' is 9 inches wide, and a page 7") as refused:
        figure("wide", fig)
    assert "panels()" in str(refused.value)
    plt.close(fig)
