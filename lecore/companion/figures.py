"""One look for all figures: colour-blind-safe, white ground, readable in print and dark mode."""

import matplotlib.pyplot as plt
import seaborn as sns

COLOURS = dict(
    zip(
        ("relu", "linear", "sigmoid", "tanh", "gelu", "softplus"),
        sns.color_palette("colorblind", 6).as_hex(),
        strict=True,
    )
)
"""Colour of each activation, the same in every figure."""

PAPER = "#555555"
"""Colour of the paper's own numbers."""


def use_style() -> None:
    """Set the style for all figures of a chapter."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update(
        {
            "figure.dpi": 100,
            "savefig.dpi": 160,
            "savefig.bbox": "tight",
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
        }
    )
