"""The picture of a drill over time: faults above; campaigns, jobs and credits below."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.lab.drill.timeline import Sample, Span

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE_INCHES, _DPI = (12.0, 8.0), 100
_INK, _QUIET, _GRID, _AFTER = "#222222", "#777777", "#e4e4e4", "#f3f3ee"
_RED, _BLUE, _GREEN, _VIOLET = "#b5482f", "#2c6e9b", "#4d7d3f", "#7a5c99"
_STRIP_INCHES = 0.15
_LINES_APART = 0.17  # of a panel's height: closer labels would overlap
_MINUTES_FROM_SECONDS = 300
_STRIKES_SHOWN = 60  # more vertical lines would hide the panels


def draw(path: Path, samples: Sequence[Sample], spans: Sequence[Span], settled: float | None, title: str) -> None:
    """Draw the picture as PNG, 1200 x 800.

    Args:
        path: The file.
        samples: The state of the platform over time.
        spans: The faults.
        settled: When the faults stopped, in seconds; None if they never did.
        title: The heading.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra, and slow to load
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            "matplotlib is not installed, and is needed to draw the picture",
            mend="install it with: pip install 'campaign_ops[lab]'",
        ) from None
    names = list(dict.fromkeys(span.name for span in sorted(spans, key=lambda span: span.begins)))
    end = max([1.0, *(sample.seconds for sample in samples), *(span.ends for span in spans)])
    figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    strip = max(_STRIP_INCHES * len(names), 0.3)
    rest = (_SIZE_INCHES[1] - 0.95 - strip) / 4
    grid = figure.add_gridspec(
        4, 1, height_ratios=[strip, 2 * rest, rest, rest], left=0.2, right=0.9, top=0.925, bottom=0.045, hspace=0.14
    )
    above, *panels = (figure.add_subplot(grid[row, 0]) for row in range(4))
    figure.text(0.012, 0.957, title, fontsize=13, color=_INK, weight="bold")
    for axes in (above, *panels):
        _prepare(axes, end, settled)
    _draw_faults(above, names, spans)
    if settled is not None:
        side = "left" if settled < 0.8 * end else "right"
        above.text(settled, -1.1, " no more faults ", fontsize=8.5, color=_QUIET, va="bottom", ha=side)
    seconds = [sample.seconds for sample in samples]
    campaigns, jobs, held = panels
    _draw_lines(
        campaigns,
        "campaigns",
        seconds,
        {
            ("sending", _BLUE): [float(sample.sending) for sample in samples],
            ("stuck", _RED): [float(sample.stuck) for sample in samples],
        },
    )
    depth = [nan if sample.live_jobs is None else float(sample.live_jobs) for sample in samples]
    _draw_lines(jobs, "jobs in the queue", seconds, {("live jobs", _GREEN): depth})
    _draw_lines(held, "credits", seconds, {("held", _VIOLET): [sample.held for sample in samples]})
    for axes in panels:
        for span in spans if len(spans) <= _STRIKES_SHOWN else ():
            axes.axvline(span.begins, color=_RED, alpha=0.14, linewidth=0.8, zorder=0)
    held.tick_params(labelbottom=True, labelsize=9, colors=_QUIET)
    in_minutes = end > _MINUTES_FROM_SECONDS
    held.xaxis.set_major_formatter(lambda at, _: f"{at / 60:g} min" if in_minutes else f"{at:g} s")
    figure.savefig(path, dpi=_DPI, format="png")


def _prepare(axes: Axes, end: float, settled: float | None) -> None:
    """Set up one panel: no frame, a pale grid, and a shaded background after the faults."""
    step = next(step for step in (5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, end) if end / step <= 12)
    axes.set_xlim(0, end)
    axes.set_xticks([number * step for number in range(int(end / step) + 1)])
    axes.tick_params(length=0, labelbottom=False, labelsize=9, colors=_QUIET)
    axes.grid(visible=True, color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    if settled is not None:
        axes.axvspan(settled, end, color=_AFTER, zorder=-2, linewidth=0)
        axes.axvline(settled, color=_QUIET, linewidth=0.9, linestyle=(0, (3, 2)))


def _draw_faults(axes: Axes, names: Sequence[str], spans: Sequence[Span]) -> None:
    """Draw one row per fault: a dot at each injection, a bar for its duration. Labels never overlap."""
    rows = {name: row for row, name in enumerate(names)}
    for span in spans:
        axes.plot([span.begins, span.ends], [rows[span.name]] * 2, color=_RED, linewidth=3.2, alpha=0.45)
        axes.plot(span.begins, rows[span.name], "o", color=_RED, markersize=4.2, clip_on=False)
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.tick_params(axis="y", labelsize=8.2, labelcolor=_INK)
    axes.grid(visible=False, axis="x")


def _draw_lines(axes: Axes, title: str, seconds: Sequence[float], lines: dict[tuple[str, str], list[float]]) -> None:
    """Draw the lines of one panel, each labelled at its end with its name in its colour."""
    top = max([1.0, *(value for values in lines.values() for value in values if not isnan(value))]) * 1.08
    axes.set_ylim(0, top)
    axes.locator_params(axis="y", nbins=4, integer=True)
    axes.set_ylabel(title, rotation=0, ha="left", va="center", color=_INK, fontsize=11)
    axes.yaxis.set_label_coords(-0.268, 0.5)
    width = 1.6 if len(seconds) < 600 else 1.0
    for (_, colour), values in lines.items():
        axes.plot(seconds, values, color=colour, linewidth=width, drawstyle="steps-post")
        axes.fill_between(seconds, values, step="post", color=colour, alpha=0.12, linewidth=0)
    placed = -1.0
    names = list(lines)
    # If two lines end at the same height, the first gets the upper label.
    for last, place in sorted((_last(values), -place) for place, values in enumerate(lines.values())):
        name, colour = names[-place]
        height = placed = max(last / top, placed + _LINES_APART, 0.05)
        label = f"{name} {last:,.0f}"
        axes.text(1.01, height, label, transform=axes.transAxes, color=colour, fontsize=10, va="center")


def _last(values: Sequence[float]) -> float:
    return next((value for value in reversed(values) if not isnan(value)), 0.0)
