"""Where a result comes from: device, versions, commit, and the paragraph that says so."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("lecore", "torch", "numpy", "scipy", "scikit-learn")
"""Packages whose versions belong to a result."""


def versions() -> dict[str, str]:
    """Versions of Python and of :data:`PACKAGES`."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def paragraph(result: Mapping[str, Any]) -> str:
    """The paragraph at the foot of a chapter that says where its numbers come from."""
    data = "synthetic sets, drawn from the seed"
    if result["data"]:
        data = f"{plain(result['data'])}, SHA-256 `{result['data_sha256'][:12]}`"
    elif text := text_of(result):
        data = f"text {plain(text)}"
    versions = plain(", ".join(f"{name} {number}" for name, number in result["versions"].items()))
    return (
        ":::{admonition} Where these numbers come from\n:class: note dropdown\n"
        f"Profile **{plain(result['profile'])}** · data: {data} · "
        f"device: {plain(result['device'])} · "
        f"seed {result['seed']} · {versions} · commit {plain(result['commit'] or 'unknown')} · "
        f"executed {result['started'][:10]}; {result['seconds']:.0f} s with the runs it reads. "
        "All parameters of this run stand in the parameters cell.\n:::\n"
    )


def text_of(result: Mapping[str, Any]) -> str:
    """The text that a chapter reads, if its parameter of that name says so."""
    return str(result.get("parameters", {}).get("text", ""))


def plain(text: str) -> str:
    """Text for a Markdown page that shows as it stands, whatever it holds.

    Each mark that Markdown, MyST or HTML could read as markup gets a backslash.
    """
    return re.sub(r"[!-/:-@\[-`{-~]", r"\\\g<0>", " ".join(text.split()))


def device_name(device: str) -> str:
    """A device in words; the GPU's own name where there is one."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return f"{device} ({os.cpu_count()} cores, {platform.machine()})"


def commit(root: Path) -> str | None:
    """Short hash of the checkout, "+ changes" if it was edited, None outside git."""
    if not (root / ".git").exists():  # installed, maybe inside somebody else's checkout
        return None

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, encoding="utf-8", errors="replace"
        )

    try:
        head = git("rev-parse", "--short", "HEAD")
        if head.returncode:
            return None
        dirty = git("status", "--porcelain", "--untracked-files=no").stdout.strip()
    except FileNotFoundError:
        return None
    return head.stdout.strip() + (" + changes" if dirty else "")
