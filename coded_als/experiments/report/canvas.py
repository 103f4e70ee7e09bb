"""Empty axes in the style of all figures, and the figure class that saves itself offline and with its fonts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coded_als.errors import UsageError

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
except ImportError:
    raise UsageError("figures need matplotlib; it is not installed. pip install 'coded-als[report]'.") from None

from coded_als.experiments.report.numbers import axis_number, power_of_ten
from coded_als.experiments.report.styles import GRID, INK, SOFT

__all__ = ["Axes", "ReportFigure", "add_legend", "new_axes", "scale_x", "scale_y", "spans_decades"]
# narrow enough to be read at the width of a phone, and one column of a paper
WIDTH_IN, HEIGHT_IN = 5.6, 3.7
# a linear axis hides what is below a twentieth of its end
DECADES = 20.0
# of the width of a figure, what a legend may take: its own margin is outside of what can be measured
LEGEND_SHARE = 0.95

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.labelsize": 10.5,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    # text stays text in SVG; TrueType in PDF, which publishers ask for
    "svg.fonttype": "none",
    "svg.hashsalt": "coded-als",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


class ReportFigure(Figure):
    """A matplotlib figure that is saved in the style of the report and shows itself in a notebook."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save like `matplotlib.figure.Figure.savefig`, with fonts embedded and nothing that depends on the time.

        Parameters
        ----------
        fname
            A path or a file object.
        **options
            Those of matplotlib.
        """
        suffix = options.get("format") or str(fname).rpartition(".")[2]
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix, {})
        with rc_context(STYLE):
            super().savefig(fname, **{**options, "metadata": {**undated, **options.get("metadata", {})}})

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=130)
        return buffer.getvalue()


def new_axes(x_label: str, y_label: str, *, height: float = HEIGHT_IN) -> tuple[ReportFigure, Axes]:
    """An empty figure with one pair of labelled axes.

    Parameters
    ----------
    x_label, y_label
        Labels, with units where there are any.
    height
        Inches.
    """
    with rc_context(STYLE):
        figure = ReportFigure(figsize=(WIDTH_IN, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
    return figure, axes


def scale_x(axes: Axes, values: Sequence[float], *, whole: bool = False) -> None:
    """Scale the x axis for these values: logarithmic where they span decades; ``whole`` marks each of them.

    Parameters
    ----------
    axes
        To be scaled.
    values
        What is drawn.
    whole
        Whether to mark each value.
    """
    if whole:
        ticks = sorted(set(values))
        axes.xaxis.set_major_locator(FixedLocator(_thinned(ticks)))
        axes.xaxis.set_major_formatter(FuncFormatter(axis_number))
        room = 0.06 * (ticks[-1] - ticks[0]) or 0.5
        axes.set_xlim(ticks[0] - room, ticks[-1] + room)
        return
    _scale(axes, "x", values)


def scale_y(axes: Axes, values: Sequence[float], *, counts: bool = False) -> None:
    """Scale the y axis for these values: logarithmic where they span decades, else from zero; ``counts`` are whole.

    Parameters
    ----------
    axes
        To be scaled.
    values
        What is drawn.
    counts
        Whether they are whole numbers.
    """
    if counts:
        axes.set_ylim(-0.06 * max(values), 1.06 * max(values))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        return
    _scale(axes, "y", values)


def spans_decades(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis shows these values better."""
    positive = [value for value in values if value > 0]
    return len(positive) == len(values) and max(values) / min(values) >= DECADES


def _scale(axes: Axes, which: str, values: Sequence[float]) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    if spans_decades(values):
        low, high = min(values), max(values)
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        room = max(1.3, (high / low) ** 0.05)
        (axes.set_xlim if which == "x" else axes.set_ylim)(low / room, high * room)
        few = high / low < 2e3
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 200 else (1.0,), numticks=12))
        axis.set_minor_locator(LogLocator(subs="auto") if few else NullLocator())
        axis.set_minor_formatter(NullFormatter())
    else:
        top = max([*values, 0.0])
        bottom = min([*values, 0.0])
        room = 0.06 * (top - bottom) or 0.5
        (axes.set_xlim if which == "x" else axes.set_ylim)(bottom - room * (bottom < 0), top + room)
    wide = spans_decades(values) and max(values) / min(values) > 1e5
    axis.set_major_formatter(FuncFormatter(power_of_ten if wide else axis_number))


def _thinned(ticks: Sequence[float], most: int = 12) -> list[float]:
    """At most so many of the ticks, evenly, the last one among them."""
    stride = -(-len(ticks) // most)
    return list(ticks[::-1][::stride][::-1])


def add_legend(figure: ReportFigure, columns: int = 3) -> None:
    """The names of the series above the axes, in at most so many columns, and in fewer where they are too wide.

    Parameters
    ----------
    figure
        Whose series.
    columns
        Names in a line.
    """
    handles, labels = figure.axes[0].get_legend_handles_labels()
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    with rc_context(STYLE):
        for count in range(min(columns, len(labels)), 0, -1):
            legend = figure.legend(handles, labels, loc="outside upper left", ncols=count)
            if count == 1 or legend.get_window_extent(renderer).width <= LEGEND_SHARE * figure.bbox.width:
                return
            legend.remove()
