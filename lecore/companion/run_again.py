"""What a downloaded notebook asks, and shows, when it is run again."""

import ast
from collections.abc import Iterable, Sequence
from typing import Any

from lecore.arguments.names import check_name
from lecore.companion.parameters import parameters
from lecore.companion.records import recorded

INJECTED = "# Parameters\n"
"""How papermill begins the cell that it puts below the parameters."""

TOLD = (
    "*Numbers in the text are those of the book's own run; its settings stand in the parameters "
    "cell, and the last paragraph says where it was run. If you run this notebook, the last cell "
    "shows your numbers. It needs the package `lecore[companion]`.*"
)
CHECK = "from lecore.companion.run_again import check_settings\n\ncheck_settings(In, {})"
SHOW = "from lecore.companion.run_again import numbers_of_this_run\n\nnumbers_of_this_run()"


def to_run_again(notebook: Any) -> Any:
    """A download that refuses settings it does not have, and ends with the numbers of a new run."""
    from nbformat.v4 import new_code_cell, new_markdown_cell

    (place,) = (
        number
        for number, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", [])
    )
    check = CHECK.format(sorted(parameters(notebook)))
    hidden = {"tags": ["hide-input"]}
    notebook.cells.insert(place + 1, new_code_cell(check, metadata=hidden))
    notebook.cells.insert(1, new_markdown_cell(TOLD))
    notebook.cells.append(new_code_cell(SHOW))
    return notebook


def check_settings(cells: Sequence[str], known: Iterable[str]) -> None:
    """Refuse a setting that the notebook does not have, which papermill only warns about.

    Args:
        cells: The cells run so far, IPython's ``In``.
        known: The notebook's settings.

    Raises:
        LecoreError: If a cell that papermill put in sets something else.
    """
    settings = list(known)
    for cell in cells:
        for line in ast.parse(cell).body if cell.startswith(INJECTED) else ():
            for target in line.targets if isinstance(line, ast.Assign) else ():
                check_name("setting", ast.unparse(target), settings)


def numbers_of_this_run() -> None:
    """Print the value, the interval and n of each number that this execution recorded."""
    import pandas as pd

    found = pd.DataFrame.from_dict(recorded(), orient="index")
    print(found.reindex(columns=["value", "low", "high", "n"]).to_string(na_rep=""))
