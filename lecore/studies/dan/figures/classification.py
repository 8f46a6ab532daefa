"""Figures of classifiers in training, from records of this build or of the reference run."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from lecore.companion.figures import COLOURS, PAPER, draw_recorded
from lecore.companion.records import key
from lecore.studies.dan.ranks import BLOCKS, COMPARED, KINDS, OWN_MEASURES, RANKED

FITS = ("training loss", "training accuracy", '"test" accuracy', "held-out accuracy")
MOMENTS = ("start", "first epoch", "end")


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
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    for name, colour in zip(FITS, COLOURS.values(), strict=False):
        ax = axes[0 if "loss" in name else 1]
        entry = run.records[key(name, "curve")]
        x = [*range(1, len(entry["curve"]) + 1)]
        draw_recorded(ax, x, entry, color=colour, label=name)
        if name in run.released:
            mean, error = (run.released[name][part] for part in ("mean", "deviation"))
            circles = {"color": colour, "fillstyle": "none", "label": f"{name}, released"}
            ax.errorbar(x, mean, yerr=error, fmt="o", **circles)
    for ax in axes:
        ax.set(xlabel="epochs")
        ax.legend(fontsize=8)
    axes[0].set(ylabel="cross-entropy")
    axes[1].set(ylabel="accuracy")
    fig.suptitle(run.origin)
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
    size = (10, 0.6 + 2.9 * len(rows))
    fig, grid = plt.subplots(len(rows), 3, figsize=size, sharex=True, sharey="row", squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        for update, ax in enumerate(axes):
            _class_curves(ax, run, row, control, update)
            ax.set_title(f"steps on {run.classes[update]}")
        axes[0].set_ylabel(f"{row[0]},\n{row[1]} step")
    for ax in grid[:logarithmic].ravel():
        ax.set_yscale("log")
    if control:
        grid[0, 0].plot([], [], ":", color="black", label="no update")
    if run.released and rows[0][0].endswith("as coded"):
        grid[0, 0].plot([], [], "--", color=PAPER, lw=1, label="released")
    for ax in grid[-1]:
        ax.set_xlabel("epochs")
    grid[0, 0].legend(fontsize=7)
    fig.suptitle(run.origin)
    return fig


def _class_curves(
    ax: Any, run: Shown, row: tuple[str, str], control: tuple[str, str] | None, update: int
) -> None:
    """One panel of :func:`by_update_class`: steps on one class."""
    kind = row[0].partition(",")[0] if row[0].endswith("as coded") else ""
    for test, colour in zip(range(3), COLOURS.values(), strict=False):
        pair = (str(update), str(test))
        entry = run.records[key("mean", *row, *pair)]
        draw_recorded(ax, run.epochs[1:], entry, color=colour, label=f"on {run.classes[test]}")
        if control:
            still = run.records[key("mean", *control, *pair)]["curve"]
            ax.plot(run.epochs[1:], still, ":", color=colour)
        if kind in run.released:
            released = run.released[kind]["mean"][update][test]
            ax.plot(run.epochs[1:], released, "--", color=colour, lw=1, alpha=0.6)


def superiority(run: Shown) -> Any:
    """Chance that the same class is higher: own measures above, definitions below."""
    fig, grid = plt.subplots(2, 2, figsize=(10, 7), sharex=True, sharey=True)
    for axes, names in zip(grid, (OWN_MEASURES, RANKED), strict=True):
        for ax, place in zip(axes, ("training", "held-out"), strict=True):
            for name, colour in zip(names, COLOURS.values(), strict=False):
                style = ":" if "no update" in name else "--" if "Adam" in name else "-"
                entry = run.records[key("superiority", name, place)]
                draw_recorded(ax, run.epochs, entry, style, color=colour, label=name)
            ax.axhline(0.5, color=PAPER, linewidth=0.8)
            ax.set(title=f"{place} test points", ylim=(0, 1.02))
        axes[0].set_ylabel("chance that the same class is higher")
        axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    for ax in grid[1]:
        ax.set_xlabel("epochs")
    fig.suptitle(run.origin)
    return fig


def class_blocks(run: Shown) -> Any:
    """Matrices over classes of three measures at three moments."""
    fig, axes = plt.subplots(3, 3, figsize=(8, 7.4), sharex=True, sharey=True)
    for row, name in zip(axes, BLOCKS, strict=True):
        blocks = [run.records[key("block", name, moment)]["block"] for moment in MOMENTS]
        top = max(1e-9, np.abs(blocks).max())
        for ax, moment, block in zip(row, MOMENTS, blocks, strict=True):
            ax.imshow(block, cmap="RdBu_r", vmin=-top, vmax=top)
            for (i, j), value in np.ndenumerate(np.array(block)):
                colour = "white" if abs(value) > 0.6 * top else "black"
                ax.text(j, i, f"{value:.2g}", ha="center", va="center", color=colour)
            ticks = {"xticks": range(3), "yticks": range(3)}
            ax.set(**ticks, xticklabels=run.classes, yticklabels=run.classes)
            ax.set_title(f"{name}, {moment}", fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("test class")
    for ax in axes[:, 0]:
        ax.set_ylabel("update class")
    fig.suptitle(run.origin)
    return fig


def direction_or_size(run: Shown) -> Any:
    """Chance that the same class is higher, for two directions at two sizes."""
    fig, ax = plt.subplots(figsize=(8, 3.4))
    shifts = np.linspace(-0.3, 0.3, len(COMPARED))
    looks = zip(COMPARED, shifts, COLOURS.values(), strict=False)
    for (name, shift, colour), (x, kind) in itertools.product(looks, enumerate(KINDS)):
        entry = run.records[key("direction or size", name, kind)]
        ends = [entry["low"], entry["high"]]
        ax.plot([x + shift] * 2, ends, color=colour, alpha=0.5, lw=3)
        ax.plot(x + shift, entry["value"], "o", color=colour, label=None if x else name)
    ax.axhline(0.5, color=PAPER, linewidth=0.8)
    ax.set(xticks=range(len(KINDS)), xticklabels=KINDS, ylim=(0, 1))
    ax.set_ylabel("chance that the same class is higher")
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.set_title(run.origin)
    return fig
