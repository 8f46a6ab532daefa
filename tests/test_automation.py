"""What runs by itself: workflows, containers, and the locked versions, held against the rest."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([\w./-]+):(?!=)", MAKEFILE, re.M))
SETTINGS = set(re.findall(r"\b([A-Z_]+)=", MAKEFILE))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in yaml.safe_load(read(path))["jobs"].values() for step in job["steps"]]


def commands() -> dict[str, str]:
    found = {path.name: "\n".join(s.get("run", "") for s in steps(path)) for path in WORKFLOWS}
    container = json.loads(read(ROOT / ".devcontainer" / "devcontainer.json"))
    blocks = re.findall(r"^```.*?\n(.*?)^```", read(ROOT / "book" / "rerun.md"), re.M | re.S)
    return found | {
        "devcontainer.json": container["postCreateCommand"],
        "Dockerfile": "\n".join(re.findall(r"^RUN (.*)", read(ROOT / "Dockerfile"), re.M)),
        "rerun.md": "\n".join(blocks),
    }


@pytest.mark.parametrize("place", commands())
def test_make_is_asked_for_what_it_makes(place: str) -> None:
    for line in re.findall(r"^make (.*)", commands()[place], re.M):
        words = re.sub(r"\$\{\{.*?\}\}", "x", line).split()
        assert {word for word in words if "=" not in word} <= TARGETS, line
        assert {word.split("=")[0] for word in words if "=" in word} <= SETTINGS, line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_those_of_github_at_a_major_version(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", name) for name in used)


def test_the_book_is_published_only_after_it_was_made() -> None:
    publish = ROOT / ".github" / "workflows" / "publish.yml"
    runs = [step["run"] for step in steps(publish) if "run" in step]
    assert runs[0].startswith("make book")
    assert "git push" in runs[-1]


def locked() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", read(ROOT / "requirements.lock"), re.M):
        found.setdefault(name.lower(), []).append(version)
    return found


def test_locked_versions_are_within_the_tested_ranges() -> None:
    lines = [line.split("#")[0].strip() for line in read(ROOT / "requirements.txt").splitlines()]
    versions = locked()
    for wanted in (Requirement(line) for line in lines if line and not line.startswith("-")):
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        assert versions[name], name
        assert all(version in wanted.specifier for version in versions[name]), name


def test_each_locked_version_has_hashes_and_no_place_of_its_own() -> None:
    text = read(ROOT / "requirements.lock")
    entries = re.split(r"\n(?=[\w-])", text)[1:]
    assert len(entries) == sum(map(len, locked().values()))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"^-|://| @ |\+cpu", text, re.M)
