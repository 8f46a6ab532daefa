"""The command line: execute chapters, build the book, check the claims, look after data."""

import io
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import yaml

from lecore.companion import project
from lecore.companion.documents import VERDICTS
from lecore.companion.parameters import parameters
from lecore.errors import LecoreError, extra

HELP = {"help_option_names": ["-h", "--help"]}


class _Group(click.Group):
    """A group that turns what users can cause into one line and exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with extra("companion"):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            _stop_kernels()
            click.echo("\nlecore: interrupted; the same command goes on from here", err=True)
            os._exit(130)  # threads may still wait for their kernels
        except (ValueError, OSError) as error:
            click.echo(f"lecore: {_one_line(error, ctx)}", err=True)
            ctx.exit(2)


def _one_line(error: Exception, ctx: click.Context) -> str:
    if isinstance(error, OSError) and error.strerror:
        from lecore.companion.execution import told

        return told(error, Path(ctx.params["build_dir"]).absolute())
    return " ".join(str(error).split())


def _stop_kernels() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        child.kill()


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    with suppress(ValueError, OSError):  # outside a checkout there is nothing to complete
        names = project.chapters(project.project_root())
        return [n for n in [*names, *{n.split("/")[0] for n in names}] if n.startswith(incomplete)]
    return []


def _profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    with suppress(ValueError, OSError):
        return [p for p in project.profiles(project.project_root()) if p.startswith(incomplete)]
    return []


@click.group(
    cls=_Group, context_settings=HELP, epilog="lecore measure --help: a report on your own network."
)
@click.version_option(package_name="lecore")
@click.option(
    "--build-dir",
    default="_build",
    show_default=True,
    envvar="LECORE_BUILD_DIR",
    type=click.Path(path_type=Path),
    help="Folder for everything made.",
)
@click.pass_context
def main(ctx: click.Context, build_dir: Path) -> None:
    """Execute, build and check the companion to two papers on local elasticity.

    \b
    lecore run                     every chapter, quick profile
    lecore run phenomenon --set seeds=2
    lecore build && lecore check
    """  # noqa: D301 - \b is click's sign for "as it stands"
    ctx.obj = build_dir.absolute()
    for stream in (sys.stdout, sys.stderr):  # ✗ and ✓ in any locale
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")


@main.command()
@click.argument("chapter", nargs=-1, shell_complete=_names)
@click.option("--profile", default="quick", show_default=True, shell_complete=_profiles)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, mps.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of every chosen chapter.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Another parameter.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--force", is_flag=True, help="Execute up-to-date chapters too.")
@click.pass_obj
def run(
    build: Path,
    chapter: tuple[str, ...],
    profile: str,
    device: str,
    seed: int | None,
    settings: tuple[str, ...],
    jobs: int,
    force: bool,
) -> None:
    """Execute chapters, or those of a part, that are not up to date.

    \b
    lecore run clustering/mnist --profile paper
    lecore run phenomenon --device cuda --jobs 2
    """  # noqa: D301 - \b is click's sign for "as it stands"
    from lecore.companion import execution

    root = project.project_root()
    chosen = project.select(root, chapter)
    sizes = project.load_profile(root, profile)
    overrides = dict(_setting(s) for s in settings)
    _check_device(device)
    tasks = execution.plan(root, chosen, sizes, overrides, device=device, seed=seed)
    outcome = execution.run(root, build, tasks, jobs=jobs, force=force)
    click.echo(
        f"{len(outcome.executed)} executed, {len(outcome.skipped)} up to date, "
        f"{len(outcome.failed)} failed"
    )
    for name, reason in outcome.failed.items():
        click.echo(f"lecore: {name}: {reason}", err=True)
    sys.exit(2 if outcome.failed else 0)


@main.command()
@click.option("--pdf", is_flag=True, help="Print it, too: needs Chromium.")
@click.pass_obj
def build(build: Path, pdf: bool) -> None:
    """Build the executed chapters into a book, with warnings as errors."""
    from lecore.companion.book import build_book

    for line in build_book(project.project_root(), build, pdf=pdf):
        click.echo(line)


@main.command()
@click.option("--profile", default="quick", show_default=True, shell_complete=_profiles)
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write JSON.")
@click.pass_obj
def check(build: Path, profile: str, junit: Path | None, json_file: Path | None) -> None:
    """Compare the records with the claims; exit 1 if a verdict changed.

    The expectation is that of the profile a chapter ran in; --profile is for chapters that did
    not run.
    """
    from lecore.companion import claims, verdicts

    root = project.project_root()
    project.load_profile(root, profile)
    results, reference = claims.check(root, build, profile), claims.reference_results(root)
    final = {r.id: claims.settled(r, reference.get(r.id)) for r in results}
    for r in results:
        mark = "✗" if r.changed else "·" if r.expected is None else "✓"
        note = f"expected {r.expected}" if r.changed else r.reason
        note = note or ("no expectation for this profile" if r.expected is None else "")
        here = verdicts.measured(r.headline) if r.outcome != verdicts.NOT_RUN else ""
        here += f" (paper {verdicts.number(r.paper)})" if here else ""
        if final[r.id].verdict != r.verdict:
            note = f"{note}; ".lstrip("; ") + f"reference run: {final[r.id].verdict}"
        click.echo(f"{mark} {r.id:8} {r.verdict:14} {here} {note}".rstrip())
    for whose, counts in zip(claims.WHOSE, claims.tally(final.values()), strict=True):
        words = ", ".join(f"{counts[v]} {v}" for v in VERDICTS if v in counts)
        click.echo(f"{sum(counts.values())} {whose}: {words}")
    for stale in claims.stale_chapters(root, build):
        click.echo(f"lecore: {stale} is older than the code; run `lecore run {stale}`", err=True)
    if junit:
        claims.write_junit(junit, results)
    if json_file:
        claims.write_check_json(json_file, results)
    changed = [r for r in results if r.changed]
    for r in changed:
        click.echo(f"lecore: {r.id} is {r.outcome}, expected {r.expected}: {r.claim}", err=True)
    sys.exit(1 if changed else 0)


@main.command()
@click.argument("chapter", nargs=-1, shell_complete=_names)
def chapters(chapter: tuple[str, ...]) -> None:
    """List chapters with their parameters."""
    root = project.project_root()
    for name in project.select(root, chapter):
        click.echo(name)
        for p in parameters(project.read_notebook(root, name)).values():
            click.echo(f"    {p.name}: {p.type} = {p.default}  {p.help}")


@main.group()
def data() -> None:
    """List, download and verify image sets."""


@data.command("list")
def list_data() -> None:
    """Say which image sets are here."""
    from lecore.data import images

    click.echo(f"data folder: {images.data_folder()}")
    for name, description in images.DATASETS.items():
        try:
            state = f"here, SHA-256 {images.fingerprint(name)[:12]}…"
        except FileNotFoundError:
            state = "not here"
        click.echo(f"{name:10} {description}: {state}")


@data.command("fetch")
@click.argument("name", nargs=-1, required=True)
def fetch_data(name: tuple[str, ...]) -> None:
    """Download image sets, such as mnist cifar10 cifar100 svhn."""
    from lecore.data import images

    for one in name:
        images.fetch(one)
        click.echo(images.verify(one))


@data.command("verify")
@click.argument("name", nargs=-1, required=True)
def verify_data(name: tuple[str, ...]) -> None:
    """Read image sets in full, checksums included."""
    from lecore.data import images

    for one in name:
        click.echo(images.verify(one))


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script: eval "$(lecore completion bash)"."""
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(main, {}, "lecore", "_LECORE_COMPLETE").source())


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise LecoreError(f"--set wants NAME=VALUE, not {text!r}")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise LecoreError(f"--set {text!r}: the value is not valid YAML") from None
    if isinstance(parsed, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", parsed):
        return name, float(parsed)  # YAML 1.1 takes 1e-3 for a word
    return name, parsed


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        return
    import torch

    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in found or not (index or "0").isdigit():
        raise LecoreError(f"no device {device!r}", "choose cpu, cuda, cuda:N or mps")
    if not found[kind] or (index and int(index) >= torch.cuda.device_count()):
        raise LecoreError(
            f"device {device!r} is not on this machine", "leave --device out for the CPU"
        )
