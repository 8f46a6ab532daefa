"""The book's own files: whatever else they hold is one line with the file and the key."""

import json
from pathlib import Path
from typing import Any

import pytest

from lecore.companion import documents
from lecore.companion import project as chapters
from lecore.errors import LecoreError

from .conftest import Command

ROOT = Path(__file__).parents[2]
CLAIMS, TOC, PROFILE = "book/claims.yml", "_toc.yml", "book/profiles/quick.yml"


def one_line(done: Any, *words: str) -> None:
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("lecore: ")
    assert len(line) < 700
    for word in words:
        assert word in line


def test_the_books_own_files_pass() -> None:
    assert len(chapters.book_pages(ROOT)) > 13
    for name in chapters.profiles(ROOT):
        chapters.load_profile(ROOT, name)
    assert len(chapters.load_claims(ROOT)) > 40
    for path in (ROOT / "book" / "results").rglob("*.json"):
        documents.read_json(path, documents.RUN)
    for path in (ROOT / "book" / "published").glob("*.json"):
        documents.read_json(path, documents.PUBLISHED)


@pytest.mark.every(6)
@pytest.mark.parametrize("file", [CLAIMS, TOC, PROFILE])
@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"3", b"text", b"[[]]", b"[3]", b"{a: [}", b"\xff\xfe", b"{1: 2}",
        b"&a [*a]", b"{a: 1, a: 2}", b"? [1]\n: 2", b"[" * 5000, b"!!python/object:os.system x",
        b"2020-13-45", b"{a: b", b"\x00", b"---\na: 1\n---\nb: 2",
    ],
)  # fmt: skip
def test_files_that_hold_something_else(
    fresh: Path, command: Command, file: str, content: bytes
) -> None:
    (fresh / file).write_bytes(content)
    one_line(command("check"), file)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (CLAIMS, "at_least: 0.5", "at_least: .nan", ["C-1: criteria[0].at_least", "nan"]),
        (CLAIMS, "at_least: 0.5", "at_least: .inf", ["C-1: criteria[0].at_least"]),
        (CLAIMS, "at_least: 0.5", "at_least: true", ["C-1: criteria[0].at_least"]),
        (CLAIMS, "at_least: 0.5", "at_least: 1e400", ["C-1: criteria[0].at_least"]),
        (CLAIMS, "at_least: 0.5", "at_least: half", ["C-1: criteria[0].at_least"]),
        (CLAIMS, "at_least: 0.5", "at_least: 5", ["C-1", "within the bounds of mean"]),
        (CLAIMS, "quick: reproduced", "quik: reproduced", ["C-1", "no profile 'quik'"]),
        (CLAIMS, "paper: A, place: p. 1", "papr: A, place: p. 1", ["C-1", "papr"]),
        (CLAIMS, "published: 1.0", "published: .nan", ["C-1: published"]),
        (CLAIMS, "published: 1.0", "published: [1]", ["C-1: published"]),
        (CLAIMS, "id: C-1", "id: 7", ["7: id"]),
        (CLAIMS, "id: C-1", "id: <b>", ["<b>: id"]),
        (CLAIMS, "chapter: third/later", "chapter: ../later", ["C-4: chapter"]),
        (TOC, "root: book/intro", "root: book/none", ["no page book/none.md"]),
        (TOC, "root: book/intro", "root: ../book/intro", ["root"]),
        (TOC, "root: book/intro", "rot: book/intro", ["rot"]),
        (TOC, "file: book/first/images", "file: book/first/mean", ["book/first/mean stands twice"]),
        (TOC, "file: book/first/images", "fil: book/first/images", ["parts[0].chapters[1]", "fil"]),
        (TOC, "jb-book", "jb-article", ["format"]),
        (PROFILE, "timeout: 60", "timeout: -1", ["timeout", "-1"]),
        (PROFILE, "timeout: 60", "timeout: 0", ["timeout"]),
        (PROFILE, "timeout: 60", "timeout: 0.5", ["timeout"]),
        (PROFILE, "timeout: 60", "timeout: .inf", ["timeout", "inf"]),
        (PROFILE, "timeout: 60", "timeout: .nan", ["timeout", "nan"]),
        (PROFILE, "timeout: 60", "timeout: 1.0e+300", ["timeout"]),
        (PROFILE, "timeout: 60", "timeout: true", ["timeout"]),
        (PROFILE, "timeout: 60", "timeuot: 60", ["timeuot"]),
        (PROFILE, "chapters: {}", "chapters: null", ["chapters"]),
        (PROFILE, "chapters: {}", "chapters: {first/mena: {}}", ["no chapter 'first/mena'"]),
        (PROFILE, "chapters: {}", "chapters: {first/mean: 3}", ["chapters", "first/mean"]),
        (PROFILE, "chapters: {}", "chapters: {first/mean: {pionts: 3}}", ["parameter 'pionts'"]),
        (PROFILE, "chapters: {}", "chapters: {first/mean: {points: many}}", ["points must be int"]),
        (PROFILE, "chapters: {}", "chapters: {first/mean: {rate: .nan}}", ["rate must be finite"]),
    ],
)
def test_wrong_keys_and_values(
    fresh: Path, command: Command, file: str, old: str, new: str, words: list[str]
) -> None:
    path = fresh / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    one_line(command("check"), *words)


RUN: dict[str, Any] = {
    "chapter": "first/mean", "profile": "paper", "parameters": {}, "key": "k", "device": "cpu",
    "data": None, "data_sha256": None, "seed": 0, "versions": {}, "commit": None,
    "started": "2026-01-01T00:00:00", "seconds": 1.0, "records": {"mean": {"value": 1.0}},
}  # fmt: skip


@pytest.mark.every(6)
@pytest.mark.parametrize("place", ["book/results", "_build/records"])
@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("null", "None is not of type"),
        ("[]", "[] is not of type"),
        (RUN | {"records": []}, "records"),
        (RUN | {"records": {"mean": 3}}, "records.mean"),
        (RUN | {"records": {"mean": {"value": "one"}}}, "records.mean.value"),
        (RUN | {"records": {"mean": {"value": float("nan")}}}, "NaN"),
        (RUN | {"records": {"mean": {"value": 1.0, "low": 0.0}}}, "records.mean"),
        (RUN | {"records": {"mean": {"low": 0.0}}}, "records.mean"),
        (RUN | {"extra": 1}, "extra"),
        ({k: v for k, v in RUN.items() if k != "key"}, "key"),
        (RUN | {"chapter": "first/images"}, "is of chapter first/images"),
        (RUN | {"started": "yesterday"}, "started"),
        (RUN | {"versions": [1]}, "versions"),
    ],
)
def test_record_files(fresh: Path, command: Command, place: str, content: Any, word: str) -> None:
    path = fresh / place / "first" / "mean.json"
    path.parent.mkdir(parents=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    one_line(command("check"), "first/mean.json", word)


def test_a_record_file_that_is_not_utf8(fresh: Path, command: Command) -> None:
    path = fresh / "book" / "results" / "first" / "mean.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff")
    one_line(command("check"), "mean.json", "is not UTF-8")


@pytest.mark.parametrize("verb", ["run", "check", "build", "chapters"])
def test_a_missing_or_unreadable_page_is_named(fresh: Path, command: Command, verb: str) -> None:
    page = fresh / "book" / "first" / "mean.md"
    page.write_bytes(b"# Caf\xe9\n")
    one_line(command(verb), "first/mean.md", "is not UTF-8")
    page.unlink()
    one_line(command(verb), "_toc.yml", "no page book/first/mean.md")


def test_a_page_with_a_broken_head_is_named(fresh: Path, command: Command) -> None:
    page = fresh / "book" / "first" / "mean.md"
    text = page.read_text(encoding="utf-8").replace("jupytext: {", "jupytext: [{")
    page.write_text(text, encoding="utf-8")
    one_line(command("run"), "first/mean.md")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("points=-5", "points must lie in 1 … 2147483647, not -5"),
        ("points=0", "points must lie in 1 … 2147483647, not 0"),
        ("seed=9223372036854775808", "seed must lie in 0 … 2147483647, not 9223372036854775808"),
        ("seed=-1", "seed must lie in 0 …"),
        ("rate=.nan", "rate must be finite, not nan"),
        ("rate=-.inf", "rate must be finite, not -inf"),
        ("rate=1" + 400 * "0", "rate must lie in"),
        ("points=1" + 30 * "0", "points must lie in 1 …"),
    ],
)
def test_parameters_out_of_range(fresh: Path, command: Command, setting: str, message: str) -> None:
    one_line(command("run", "first/mean", "--set", setting), message)


def test_published_numbers_of_the_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    from lecore.companion.published import published, published_numbers, published_table
    from lecore.companion.reference_runs import reference

    monkeypatch.chdir(ROOT)
    for look, known in (
        (published, "HS-1"),
        (published_numbers, "dan-2021, he-su-2020"),
        (published_table, "table 1, table 2"),
        (reference, "clustering/mnist"),
    ):
        with pytest.raises(LecoreError, match=f"'none'; choose from .*{known}"):
            look("none")
