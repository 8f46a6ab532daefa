"""The repository's address, from its one place: ``repository: url:`` of ``_config.yml``.

An empty address means no buttons, and downloads that install nothing.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from lecore.companion.documents import read_yaml
from lecore.errors import LecoreError

PUBLISHED = {"branch": "gh-pages", "path_to_book": "_sources"}
"""Where the published book keeps its executed notebooks, see ``.github/workflows/publish.yml``."""

INSTALLS = """\
# On a machine without lecore, Colab for one, this cell installs it.
import importlib.util

if importlib.util.find_spec("lecore") is None:
    %pip install --quiet "lecore[companion] @ git+{url}"\
"""


def repository(root: Path) -> str:
    """The repository's address; empty if nobody has said it.

    Raises:
        LecoreError: If it is no address of a repository.
    """
    url: str = (read_yaml(root / "_config.yml").get("repository") or {}).get("url") or ""
    if url and not re.fullmatch(r"https://[\w.-]+(/[\w.-]+){2,}", url):
        raise LecoreError(
            f"{url!r} is no address of a repository",
            "write https://HOST/OWNER/NAME, or nothing",
            f"{root / '_config.yml'}: repository.url",
        )
    return url


def configuration(root: Path) -> str:
    """``_config.yml`` with the buttons that the address allows."""
    config = read_yaml(root / "_config.yml")
    if url := repository(root):
        config.setdefault("html", {})["use_repository_button"] = True
        config["repository"] = {"url": url} | PUBLISHED
        if url.startswith("https://github.com/"):  # Colab opens notebooks of no other host
            colab = "https://colab.research.google.com"
            config["launch_buttons"] = {"colab_url": colab}
    return yaml.safe_dump(config, allow_unicode=True, sort_keys=False)


def self_installing(notebook: Any, root: Path) -> Any:
    """A download that begins by installing ``lecore`` where it is missing."""
    from nbformat.v4 import new_code_cell

    if url := repository(root):
        cell = new_code_cell(INSTALLS.format(url=url), metadata={"tags": ["hide-input"]})
        notebook.cells.insert(1, cell)  # below the title
    return notebook
