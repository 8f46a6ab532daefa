"""The front door, its page and the README name the same things."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import lecore

ROOT = Path(__file__).parents[1]
HOMES = {
    name.name: f"lecore.{door.module}"
    for door in ast.parse((ROOT / "lecore" / "__init__.pyi").read_text(encoding="utf-8")).body
    if isinstance(door, ast.ImportFrom)
    for name in door.names
}


def test_the_door_opens_to_each_name_once():
    assert sorted(lecore.__all__) == sorted(HOMES)
    for name, home in HOMES.items():
        assert getattr(lecore, name) is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("name", sorted(HOMES.keys() - {"__version__"}))
def test_each_name_is_explained_and_has_a_place_on_its_page(name):
    assert getattr(lecore, name).__doc__
    page = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
    table = page.partition(f".. currentmodule:: {HOMES[name]}\n")[2].partition(".. current")[0]
    assert f"   {name}\n" in table
    in_full = (ROOT / "book" / "api" / "core.md").read_text(encoding="utf-8")
    assert f".. automodule:: {HOMES[name]}\n   :members:" in in_full


def test_the_readme_takes_nothing_else_from_the_door():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"from lecore import (\(.*?\)|.*)", readme)
    assert {w for names in named for w in re.findall(r"\w+", names)} <= HOMES.keys()
