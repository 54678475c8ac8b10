"""The plot of growth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.rounds import Seconds

COLOURS = {"sweep": "#2563eb", "floor": "#6b7280"}


def draw(path: Path, axes: Mapping[str, Mapping[int, Mapping[str, Seconds]]]) -> None:
    """Draw a panel for each axis: medians as a line, the spread as bars."""
    import matplotlib as mpl  # noqa: PLC0415 - no other measure needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, panels = plt.subplots(1, len(axes), figsize=(5.5 * len(axes), 4), layout="constrained", squeeze=False)
    for panel, (axis, points) in zip(panels[0], axes.items(), strict=True):
        for name, colour in COLOURS.items():
            seconds = [of[name] for of in points.values()]
            medians = [taken.median for taken in seconds]
            below = [taken.median - min(taken.rounds) for taken in seconds]
            above = [max(taken.rounds) - taken.median for taken in seconds]
            panel.errorbar(list(points), medians, yerr=[below, above], marker="o", capsize=3, label=name, color=colour)
        panel.set_xlabel(axis)
        panel.set_ylabel("seconds")
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
        panel.set_xticks(list(points), [f"{at:,}" for at in points], rotation=20)
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
