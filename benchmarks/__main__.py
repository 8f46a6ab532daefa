"""``python -m benchmarks [BAR …]``: measure, print a table, write ``_build/benchmarks.json``."""

import json
import os
import sys
from pathlib import Path

import click
import torch

from benchmarks import (
    growth,
    influence,
    language,
    self_check,
    structured,
    tracking,
    training,
    two_layer,
    vision,
)
from benchmarks.bars import HEAD, Settings, bars_of, line

BARS = bars_of(
    two_layer, structured, influence, language, training, growth, tracking, self_check, vision
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bars", nargs=-1, metavar="[BAR]...")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1))
@click.option("--list", "listed", is_flag=True, help="Only list the bars.")
@click.option(
    "--output",
    default="_build/benchmarks.json",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
)
def main(bars: tuple[str, ...], device: str, repeats: int, listed: bool, output: Path) -> None:
    """Measure lecore against its bars, all of them or those named.

    Results of other bars stay in the output file. Exit status 1 says that a bar was missed.
    """
    unknown = [name for name in bars if name not in BARS]
    if unknown:
        raise click.UsageError(f"there is no bar {unknown[0]!r}; see --list")
    if listed:
        for name, bar in BARS.items():
            click.echo(f"{name:28}{(bar.measure.__doc__ or '').splitlines()[0]}")
        return
    try:
        settings = Settings(torch.empty(0, device=device).device, repeats)
    except (RuntimeError, AssertionError) as error:
        raise click.UsageError(f"device {device!r} is not available here") from error
    try:
        known = json.loads(output.read_text()) if output.exists() else []
        results = {result["id"]: result for result in known if result["id"] in BARS}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise click.UsageError(f"{output} holds no results; delete it or take another") from error
    click.echo(HEAD)
    missed = False
    for name in bars or BARS:
        results[name] = BARS[name].result(settings)
        missed |= results[name]["met"] is False
        click.echo(line(results[name]))
        if results[name]["note"]:
            click.echo(f"  {results[name]['note']}", err=True)
        _write(output, [results[known] for known in BARS if known in results])
    sys.exit(int(missed))


def _write(output: Path, results: list[dict]) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    temporary.write_text(json.dumps(results, indent=1, ensure_ascii=False))
    temporary.replace(output)


if __name__ == "__main__":
    main()
