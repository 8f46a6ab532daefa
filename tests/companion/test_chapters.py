"""Chapters, profiles, parameters, and what a chapter's key depends on."""

import re
import shutil
from pathlib import Path

import pytest

from lecore.companion import parameters
from lecore.companion import project as chapters


def key(root: Path, chapter: str = "first/mean", **values: object) -> str:
    return chapters.chapter_key(root, chapters.read_notebook(root, chapter), values)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_root_is_found_from_below(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fresh / "book" / "first")
    assert chapters.project_root() == fresh


def test_chapters_are_pages_with_code_in_order(fresh: Path) -> None:
    assert chapters.chapters(fresh) == ["first/mean", "first/images", "second/slow"]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ((), ["first/mean", "first/images", "second/slow"]),
        (("first",), ["first/mean", "first/images"]),
        (("second/slow", "first/mean"), ["first/mean", "second/slow"]),
        (("book/first/mean.md",), ["first/mean"]),
    ],
)
def test_select(fresh: Path, names: tuple[str, ...], chosen: list[str]) -> None:
    assert chapters.select(fresh, names) == chosen


def test_parameters_are_read_from_the_page(fresh: Path) -> None:
    known = parameters.parameters(chapters.read_notebook(fresh, "first/mean"))
    assert list(known) == ["seed", "device", "points", "rate"]
    assert known["points"] == parameters.Parameter("points", "int", "3", "how many")
    assert parameters.effective_parameters(known, {"points": 4}) == {
        "seed": 0,
        "device": "cpu",
        "points": 4,
        "rate": 0.5,
    }


def test_page_without_parameters_cell_is_refused(fresh: Path) -> None:
    path = fresh / "book" / "first" / "mean.md"
    path.write_text(path.read_text().replace(":tags: [parameters]\n", ""))
    with pytest.raises(ValueError, match="no cell tagged 'parameters'"):
        parameters.parameters(chapters.read_notebook(fresh, "first/mean"))


@pytest.mark.parametrize("value", ["3", 3.0, True, None, [3]])
def test_wrong_type_is_refused(fresh: Path, value: object) -> None:
    known = parameters.parameters(chapters.read_notebook(fresh, "first/mean"))
    with pytest.raises(ValueError, match="points must be int"):
        parameters.check_parameters("first/mean", known, {"points": value})


def test_int_will_do_for_float(fresh: Path) -> None:
    known = parameters.parameters(chapters.read_notebook(fresh, "first/mean"))
    parameters.check_parameters("first/mean", known, {"rate": 1})
    with pytest.raises(ValueError, match="rate must be float"):
        parameters.check_parameters("first/mean", known, {"rate": True})


def test_profile_that_names_an_unknown_chapter_is_refused(fresh: Path) -> None:
    (fresh / "book" / "profiles" / "odd.yml").write_text("{timeout: 1, chapters: {no/such: {}}}")
    with pytest.raises(ValueError, match="no/such"):
        chapters.load_profile(fresh, "odd")


def test_key_follows_the_code_the_page_imports_and_nothing_else(fresh: Path) -> None:
    before = key(fresh)
    append(fresh / "lecore" / "other.py", "\n# edited\n")
    append(fresh / "book" / "first" / "mean.md", "\nMore prose.\n")
    assert key(fresh) == before
    append(fresh / "lecore" / "helper.py", '\n"""Imported through science."""\n')
    assert key(fresh) != before


def test_key_follows_parameters_and_cells(fresh: Path) -> None:
    before = key(fresh, points=3)
    assert key(fresh, points=4) != before
    page = fresh / "book" / "first" / "mean.md"
    page.write_text(page.read_text().replace("n=points)", "n=points + 0)"))
    assert key(fresh, points=3) != before


def test_key_follows_the_images(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LECORE_DATA", str(tmp_path))
    (tmp_path / "mine.npz").write_bytes(b"one")
    before = key(fresh, "first/images", data="mine")
    (tmp_path / "mine.npz").write_bytes(b"two")
    assert key(fresh, "first/images", data="mine") != before


def test_key_follows_a_file_of_sentences(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LECORE_DATA", str(fresh))
    (fresh / "mine.tsv").write_text("sea\tFish swim.\n")
    before = key(fresh, text="mine.tsv")
    (fresh / "mine.tsv").write_text("sea\tWhales swim.\n")
    assert key(fresh, text="mine.tsv") != before
    assert key(fresh, text="docstrings") == key(fresh, text="docstrings")


def test_key_holds_the_reference_results_that_the_code_names(fresh: Path) -> None:
    path = fresh / "book" / "first" / "mean.md"
    results = fresh / "book" / "results" / "first" / "mean.json"
    results.parent.mkdir(parents=True)
    before = key(fresh)
    results.write_text("1")
    assert key(fresh) == before
    append(path, '\n```{code-cell} ipython3\nnamed = "first/mean"\n```\n')
    named = key(fresh)
    results.write_text("2")
    assert len({before, named, key(fresh)}) == 3


def test_key_holds_the_reference_results_of_other_settings_too(fresh: Path) -> None:
    path = fresh / "book" / "first" / "mean.md"
    append(path, '\n```{code-cell} ipython3\nnamed = "first/mean"\n```\n')
    before = key(fresh)
    other = fresh / "book" / "results" / "first" / "mean" / "narrow.json"
    other.parent.mkdir(parents=True)
    other.write_text("1")
    assert key(fresh) != before


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files() -> dict[str, set[str]]:
    """What each chapter of the book depends on, by its path below ``lecore``."""

    def found(chapter: str) -> set[str]:
        cells = chapters.read_notebook(ROOT, chapter).cells
        code = [cell.source for cell in cells if cell.cell_type == "code"]
        return {str(f.relative_to(ROOT / "lecore")) for f in chapters.dependencies(code, ROOT)}

    return {chapter: found(chapter) for chapter in chapters.chapters(ROOT)}


CLOSED_FORMS = "dynamics/analytical-models"


@pytest.mark.parametrize(
    "file", ["engine/kernel_matrix.py", "engine/tiling/stores.py", "engine/routes/two_layer.py"]
)
def test_all_but_the_page_of_closed_forms_depend_on_the_engine(
    files: dict[str, set[str]], file: str
) -> None:
    assert {chapter for chapter in files if file not in files[chapter]} == {CLOSED_FORMS}


@pytest.mark.parametrize(
    ("file", "chapter"),
    [
        ("theory/closed_forms.py", CLOSED_FORMS),
        ("studies/dan/accuracies.py", "dynamics/classification"),
        ("studies/dan/step_comparison.py", "dynamics/size-of-the-step"),
        ("studies/dan/phases.py", "dynamics/regression"),
        ("studies/he_su/limits.py", "phenomenon/tangent-kernel"),
        ("studies/own/pretrained.py", "beyond/pretrained-networks"),
    ],
)
def test_a_study_belongs_to_its_own_chapter(
    files: dict[str, set[str]], file: str, chapter: str
) -> None:
    assert {name for name in files if file in files[name]} == {chapter}


def test_mending_a_store_leaves_the_key_of_closed_forms(tmp_path: Path) -> None:
    for folder in ("book", "lecore"):
        unneeded = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=unneeded)
    shutil.copy(ROOT / "_toc.yml", tmp_path)
    page, other = CLOSED_FORMS, "phenomenon/tangent-kernel"
    before = key(tmp_path, page), key(tmp_path, other)
    append(tmp_path / "lecore" / "engine" / "tiling" / "stores.py", "MENDED = True\n")
    assert key(tmp_path, page) == before[0]
    assert key(tmp_path, other) != before[1]


def test_modules_that_pages_name_have_a_place_in_the_api() -> None:
    api = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "book/api").glob("*.md"))
    shown = set(re.findall(r"automodule:: (\S+)", api))
    for page in sorted((ROOT / "book").rglob("*.md")):
        named = set(re.findall(r"\{mod\}`~?(lecore[\w.]*)`", page.read_text(encoding="utf-8")))
        assert named <= shown, page.name
