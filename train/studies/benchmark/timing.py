"""Ways of doing something, timed in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from train.evaluate.tables import markdown_table

Way = Callable[[], object]
Times = dict[str, np.ndarray]  # what each way is called → seconds of each round


def alternate(ways: Mapping[str, Way], rounds: int) -> Times:
    """The seconds of each way in `rounds` rounds, the ways strictly one after the other, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def spread(values: np.ndarray, digits: int) -> str:
    """The median, with the 10th and 90th percentile in brackets."""
    low, median, high = np.percentile(values, (10, 50, 90))
    return f"{median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def table(times: Times, reference: str) -> str:
    """Markdown: milliseconds, and ratios of the same round to `reference`."""
    rows = [(name, spread(1000 * t, 1), spread(t / times[reference], 2)) for name, t in times.items()]
    return markdown_table(("median (10–90 %)", "ms", f"times {reference}"), rows)


def ratio(name: str, above: np.ndarray, below: np.ndarray) -> str:
    return f"{name}: {spread(above / below, 2)}"


def speeds(times: Times, photographs: int) -> str:
    """Markdown: photographs a second, and ratios of the same round to the first way."""
    first, *_ = times.values()
    rows = [(name, spread(photographs / t, 1), spread(first / t, 2)) for name, t in times.items()]
    return markdown_table(("median (10–90 %)", "photographs/s", "times the first"), rows)
