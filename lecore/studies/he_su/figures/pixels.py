"""Which pixels the paper saw: cells of its tables that need no luck, less the printed numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lecore.companion.figures import MARKERS, PAPER, legend_above, panels, sample, tones
from lecore.companion.records import key
from lecore.studies.he_su.findings import BASELINES, LINEAR

PANELS = {"K-means and PCA + K-means": BASELINES, "linear networks": LINEAR}
ROWS = BASELINES + LINEAR


def off_the_print(
    records: Mapping[str, Mapping[str, Any]],
    table: str,
    printed: Mapping[str, Sequence[float]],
    pairs: Sequence[str],
) -> pd.DataFrame:
    """Recorded cells on the paper's own images, the first run of each, less the printed numbers.

    Args:
        records: Of a run, by name; cells that it lacks are left out.
        table: What the names of its cells start with.
        printed: The paper's rows, of which those without a nonlinear network are compared.
        pairs: Its columns.

    Returns:
        Columns ``row``, ``pair`` and ``points``, to the printed digit.
    """
    found = [
        (row, pair, round(round(cell["runs"][0], 1) - number, 1))
        for row in ROWS
        for pair, number in zip(pairs, printed[row], strict=True)
        if (cell := records.get(key(table, row, pair)))
    ]
    return pd.DataFrame(found, columns=["row", "pair", "points"])


def suspects_figure(off: Mapping[str, pd.DataFrame], pairs: Sequence[str], title: str) -> Any:
    """Differences from the printed numbers, a mark for each cell.

    Args:
        off: By what was normalised, from :func:`off_the_print`.
        pairs: Columns of the table.
        title: Says which run is shown.
    """
    fig, axes = panels(2, 1, height=5.4, sharex=True, sharey=True)
    colours = tones(3)[::2]
    for ax, (kind, rows) in zip(axes[:, 0], PANELS.items(), strict=True):
        ax.axhline(0, color=PAPER, linewidth=1)
        for side, (cells, colour) in enumerate(zip(off.values(), colours, strict=True)):
            for nth, row in enumerate(rows):
                of_row = cells[cells.row == row].set_index("pair").points
                at = [place + 0.3 * nth + 0.1 * side - 0.2 for place in range(len(pairs))]
                points = [of_row.get(pair, float("nan")) for pair in pairs]
                ax.plot(at, points, MARKERS[side], color=colour, markersize=6)
        ax.set(title=kind, xticks=range(len(pairs)), ylabel="ours less printed\n(points)")
    for name, colour, marker in zip(off, colours, MARKERS, strict=False):
        sample(axes[0, 0], f"{name} in [−1, 1]", marker, color=colour)
    axes[1, 0].set_xlabel("pair of classes")
    axes[1, 0].set_xticklabels([pair.replace(" v ", "\nagainst ") for pair in pairs])
    legend_above(fig, title)
    return fig
