"""Figures of classifiers in training, from records of this build or of the reference run."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lecore.companion.figures import (
    COLOURS,
    DIVERGING,
    MARKERS,
    PAPER,
    draw_recorded,
    label_ends,
    legend_above,
    panels,
    sample,
    tones,
)
from lecore.companion.records import key
from lecore.studies.dan.ranks import BLOCKS, COMPARED, KINDS, OWN_MEASURES, RANKED
from lecore.studies.dan.sizes_in_training import DEFINED, SIZES, size_name

FITS = {
    "training loss": ("-", "o"),
    "training accuracy": ("-", "o"),
    '"test" accuracy': ("--", "s"),
    "held-out accuracy": (":", "^"),
}
"""Line of each quantity, and mark of the released one."""
MOMENTS = ("start", "first epoch", "end")
OWN = 2.6
"""Width of the line of the class that steps are taken on."""


class Shown(NamedTuple):
    """Which run the figures show.

    Attributes:
        records: Its records.
        origin: Its name.
        released: Dan et al.'s numbers on the same images, empty if there are none.
    """

    records: Mapping[str, Mapping[str, Any]]
    origin: str
    released: Mapping[str, Any]

    @property
    def epochs(self) -> Any:
        """Times of the looks."""
        return self.records["looks"]["epochs"]

    @property
    def classes(self) -> Any:
        """Names of the classes."""
        return self.records["looks"]["classes"]


def shown(
    here: Mapping[str, Mapping[str, Any]],
    earlier: Mapping[str, Mapping[str, Any]],
    data: str,
    paper: Mapping[str, Any],
) -> Shown:
    """The reference run where this build is on images that the paper doesn't have, else this build.

    Args:
        here: Records of this build.
        earlier: Records of the reference run, empty if there is none.
        data: Images of this build.
        paper: Released numbers by images.
    """
    if data not in paper and "looks" in earlier:
        return Shown(earlier, "reference run, CIFAR-10", paper["cifar10"])
    return Shown(here, f"this build, {data}", paper.get(data, {}))


def training(run: Shown) -> Any:
    """Loss and accuracies by epoch, with the released ones."""
    fig, axes = panels(1, 2, height=4)
    for name, (style, marker) in FITS.items():
        ax = axes[0, 0 if "loss" in name else 1]
        entry = run.records[key(name, "curve")]
        x = [*range(1, len(entry["curve"]) + 1)]
        draw_recorded(ax, x, entry, style, color=COLOURS["ink"], label=name.split()[0])
        if name in run.released:
            mean, error = (run.released[name][part] for part in ("mean", "deviation"))
            ax.errorbar(x, mean, yerr=error, fmt=marker, color=PAPER, markersize=4)
    axes[0, 0].set_ylabel("training loss (cross-entropy)")
    axes[0, 1].set_ylabel("accuracy (share)")
    for ax in axes[0]:
        ax.set_xlabel("epochs")
    label_ends(axes[0, 1])
    fig.suptitle(f"{run.origin}{'; grey: released' if run.released else ''}")
    return fig


def by_update_class(
    run: Shown,
    rows: Sequence[tuple[str, str]],
    *,
    control: tuple[str, str] | None = None,
    logarithmic: int = 0,
) -> Any:
    """Class means through training, with the released ones dashed, a column an update class.

    Args:
        run: What to show.
        rows: A definition and a step for each row of panels.
        control: Another one, dotted.
        logarithmic: How many rows have a logarithmic axis.
    """
    height = 1.5 + 2.3 * len(rows)
    fig, grid = panels(len(rows), 3, height=height, sharex=True, sharey="row")
    for axes, row in zip(grid, rows, strict=True):
        for update, ax in enumerate(axes):
            _class_curves(ax, run, row, control, update)
        axes[0].set_ylabel(f"{row[0]},\n{row[1]} step")
    for update, ax in enumerate(grid[0]):
        ax.set_title(f"steps on {run.classes[update]}")
    for ax in grid[:logarithmic].ravel():
        ax.set_yscale("log")
    for colour, name in zip(tones(3), run.classes, strict=True):
        sample(grid[0, 0], f"effect on {name}", color=colour)
    sample(grid[0, 0], "on the steps' own class", linewidth=OWN)
    if run.released and rows[0][0].endswith("as coded"):
        sample(grid[0, 0], "released", "--", color=PAPER)
    if control:
        sample(grid[0, 0], "no update", ":")
    for ax in grid[-1]:
        ax.set_xlabel("epochs")
    legend_above(fig, run.origin)
    return fig


def _class_curves(
    ax: Any, run: Shown, row: tuple[str, str], control: tuple[str, str] | None, update: int
) -> None:
    """One panel of :func:`by_update_class`: steps on one class."""
    kind = row[0].partition(",")[0] if row[0].endswith("as coded") else ""
    for test, colour in enumerate(tones(3)):
        pair = (str(update), str(test))
        entry = run.records[key("mean", *row, *pair)]
        width = OWN if test == update else 1.3
        draw_recorded(ax, run.epochs[1:], entry, color=colour, linewidth=width)
        if control:
            still = run.records[key("mean", *control, *pair)]["curve"]
            ax.plot(run.epochs[1:], still, ":", color=colour, linewidth=width)
        if kind in run.released:
            released = run.released[kind]["mean"][update][test]
            ax.plot(run.epochs[1:], released, "--", color=PAPER, linewidth=0.7 * width)


def superiority(run: Shown) -> Any:
    """Chance that the same class is higher: own measures above, definitions below."""
    fig, grid = panels(2, 2, height=6.6, sharex=True, sharey=True)
    for axes, names in zip(grid, (OWN_MEASURES, RANKED), strict=True):
        measures = list(dict.fromkeys(_measure(name) for name in names))
        colours = dict(zip(measures, tones(len(measures)), strict=True))
        for ax, place in zip(axes, ("training", "held-out"), strict=True):
            for name in names:
                style = ":" if "no update" in name else "--" if "Adam" in name else "-"
                entry = run.records[key("superiority", name, place)]
                look = {"color": colours[_measure(name)], "label": name}
                draw_recorded(ax, run.epochs, entry, style, **look)
            ax.axhline(0.5, color=PAPER, linewidth=0.8)
            ax.set(ylim=(0, 1.02))
        axes[0].set_ylabel("chance that the\nsame class is higher")
        label_ends(axes[1])
    for ax, place in zip(grid[0], ("training", "held-out"), strict=True):
        ax.set_title(f"{place} test points")
    for ax in grid[1]:
        ax.set_xlabel("epochs")
    fig.suptitle(run.origin)
    return fig


def _measure(name: str) -> str:
    """The measure of a name, without its step."""
    return name.removesuffix(", Adam").removesuffix(", no update")


def class_blocks(run: Shown) -> Any:
    """Matrices over classes of three measures at three moments."""
    fig, axes = panels(3, 3, height=7.2, sharex=True, sharey=True)
    for row, name in zip(axes, BLOCKS, strict=True):
        blocks = [run.records[key("block", name, moment)]["block"] for moment in MOMENTS]
        top = max(1e-9, np.abs(blocks).max())
        for ax, block in zip(row, blocks, strict=True):
            ax.imshow(block, cmap=DIVERGING, vmin=-top, vmax=top)
            for (i, j), value in np.ndenumerate(np.array(block)):
                colour = COLOURS["ground" if abs(value) > 0.6 * top else "ink"]
                ax.text(
                    j, i, f"{value:.2g}".replace("-", "−"), ha="center", va="center", color=colour
                )
            ticks = {"xticks": range(3), "yticks": range(3)}
            ax.set(**ticks, xticklabels=run.classes, yticklabels=run.classes)
        row[0].set_ylabel(f"{name}\nupdate class")
    for ax, moment in zip(axes[0], MOMENTS, strict=True):
        ax.set_title(moment)
    for ax in axes[-1]:
        ax.set_xlabel("test class")
        ax.tick_params(axis="x", rotation=30)
    fig.suptitle(run.origin)
    return fig


def direction_or_size(run: Shown) -> Any:
    """Chance that the same class is higher, for two directions at two sizes."""
    fig, axes = panels(height=4)
    ax = axes[0, 0]
    shifts = np.linspace(-0.3, 0.3, len(COMPARED))
    looks = zip(COMPARED, shifts, tones(len(COMPARED)), MARKERS, strict=False)
    for (name, shift, colour, mark), (x, kind) in itertools.product(looks, enumerate(KINDS)):
        entry = run.records[key("direction or size", name, kind)]
        ends = [entry["low"], entry["high"]]
        ax.plot([x + shift] * 2, ends, color=colour, alpha=0.5, lw=3)
        ax.plot(x + shift, entry["value"], mark, color=colour, label=None if x else name)
    ax.axhline(0.5, color=PAPER, linewidth=0.8)
    ax.set(xticks=range(len(KINDS)), xticklabels=KINDS, ylim=(0, 1), xlabel="step")
    ax.set_ylabel("chance that the\nsame class is higher")
    legend_above(fig, run.origin, columns=2)
    return fig


def sizes_in_training(run: Shown) -> Any:
    """Chance that the same class is higher through training, for four sizes of Adam's step."""
    fig, axes = panels(1, len(DEFINED), height=3.4, sharey=True)
    epochs = run.records["sizes-looks"]["epochs"]
    for ax, name in zip(axes[0], DEFINED, strict=True):
        for size, colour in zip(SIZES, tones(len(SIZES)), strict=True):
            entry = run.records[key("size in training", name, size_name(size))]
            draw_recorded(ax, epochs, entry, "-", color=colour, label=size_name(size))
        ax.axhline(0.5, color=PAPER, linewidth=0.8)
        ax.set(ylim=(0, 1), xlabel="epochs", title=name)
    axes[0, 0].set_ylabel("chance that the\nsame class is higher")
    legend_above(fig, "part of Adam's step", columns=len(SIZES))
    return fig
