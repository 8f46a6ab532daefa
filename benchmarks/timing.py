"""Interleaved times, and peak memory of a process of its own."""

import multiprocessing
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.bars import NotMeasuredError, Settings, Times


def interleaved(settings: Settings, **functions: Callable[[], Any]) -> Times:
    """Seconds of each function, in turn, ``settings.repeats`` times after one warm-up each."""
    for function in functions.values():
        function()
    times: Times = {name: [] for name in functions}
    for _ in range(settings.repeats):
        for name, function in functions.items():
            times[name].append(seconds(function, settings.device))
    return times


def seconds(function: Callable[[], Any], device: torch.device) -> float:
    """Time of one call, until the device is done."""
    _wait(device)
    start = time.perf_counter()
    function()
    _wait(device)
    return time.perf_counter() - start


def medians(times: Times) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory(function: Callable[..., Any], *arguments: Any) -> tuple[int, int]:
    """Bytes that a process of its own holds at most, and those it held before the call."""
    if not Path("/proc/self/status").exists():
        raise NotMeasuredError("peak memory is measured on Linux only")
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measured, (function, arguments))


def _measured(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[int, int]:
    before = psutil.Process().memory_info().rss
    function(*arguments)
    # not ru_maxrss, which a process inherits from the one that started it
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024, before  # type: ignore[index]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
