"""Figures of a report: their numbers, colours and axes, and the kinds of figures with all that stands beside each."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import numpy as np

from coded_als.errors import UsageError

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Okabe and Ito, Color Universal Design (2008), without the yellow that white paper swallows; near-black comes first
COLOURS = ("#0f1113", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", "*", ">", "p")
DASHES = ("-", "--", "-.", ":")
INK, SOFT, GRID, WAY = "#1c1e21", "#5d636b", "#e4e1db", "#b9b5ad"
# opacity of a band
BAND = 0.18
# colours that a page replaces, so that its figures follow its light and dark themes
THEME = {
    INK: "ink",
    SOFT: "soft",
    GRID: "grid",
    WAY: "way",
    **{colour: f"c{index}" for index, colour in enumerate(COLOURS)},
}
# narrow enough to be read at the width of a phone, and one column of a paper
WIDTH_IN, HEIGHT_IN = 5.6, 3.7
MOST_WIDTH_IN = 100.0
# a linear axis hides values below a twentieth of its end
DECADES = 20.0
# greatest width of a legend as a share of the figure's; less than 1, as the legend's own margin cannot be measured
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
LONGEST_NAME = 120


def plain(value: float, digits: int = 3) -> str:
    """``value`` to so many significant digits: ``190``, ``0.0031``, ``2.5e-7``; never ``1.9e+02``.

    Examples
    --------
    >>> plain(190.4, 2), plain(0.00312), plain(2.51e-7, 2), plain(46125000.0)
    ('190', '0.00312', '2.5e-7', '4.61e7')
    """
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-4 <= abs(value) < 10**6:
        return np.format_float_positional(float(f"{value:.{digits - 1}e}"), trim="-")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def axis_number(value: float, _position: Any = None) -> str:
    """``value`` beside an axis: ``0.02``, ``1500``, ``10⁻⁹``, ``2·10⁷``.

    Examples
    --------
    >>> axis_number(0.02), axis_number(1500.0), axis_number(1e-9), axis_number(2e7)
    ('0.02', '1500', '10⁻⁹', '2·10⁷')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}".replace("-", "−")
    return power_of_ten(value)


def power_of_ten(value: float, _position: Any = None) -> str:
    """A positive ``value`` as a power of ten, for axes of many decades.

    Examples
    --------
    >>> power_of_ten(0.01), power_of_ten(2e7)
    ('10⁻²', '2·10⁷')
    """
    mantissa, exponent = f"{value:.0e}".split("e")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPTS)
    return power if mantissa == "1" else f"{mantissa}·{power}"


def memory(count: float) -> str:
    """Bytes in a unit that fits.

    Examples
    --------
    >>> memory(4_092_000)
    '4.09 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{plain(count)} {unit}"
        count /= 1000
    raise AssertionError


@dataclass(frozen=True)
class SeriesStyle:
    """How one series is drawn, the same in every figure of a report."""

    colour: str
    marker: str
    dash: str

    @property
    def line(self) -> dict[str, Any]:
        """Keyword arguments of matplotlib's ``plot``."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.dash}

    @property
    def mark(self) -> dict[str, Any]:
        """The same without a line."""
        return {"color": self.colour, "marker": self.marker, "linestyle": "none"}


def style_of(index: int) -> SeriesStyle:
    """Style of the series at this place; no two of the first 77 share both colour and marker."""
    return SeriesStyle(
        COLOURS[index % len(COLOURS)],
        MARKERS[index % len(MARKERS)],
        DASHES[(index // len(COLOURS)) % len(DASHES)],
    )


def styles(names: Iterable[str]) -> dict[str, SeriesStyle]:
    """One style for each name, in order of first appearance."""
    return {name: style_of(index) for index, name in enumerate(dict.fromkeys(names))}


try:
    from matplotlib import RcParams, rc_context
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
except ImportError:
    raise UsageError("figures need matplotlib; it is not installed. pip install 'coded-als[report]'.") from None


__all__ = ["Axes", "ReportFigure", "add_legend", "new_axes", "rc_context", "scale_x", "scale_y", "spans_decades"]


# The wishes of a caller in place of the style and the width of reports.
_ASKED: dict[Any, Any] = {}
_WIDTH: list[float] = []


# The sizes of text and marks that shrink with the font, and how small a narrow figure makes them.
_SIZES = ("font.size", "axes.labelsize", "legend.fontsize", "lines.markersize")
SMALLEST = 0.75


def _narrowed() -> float:
    """The width that was asked for as a part of the usual one, from `SMALLEST` to 1."""
    return min(1.0, max(SMALLEST, _WIDTH[0] / WIDTH_IN)) if _WIDTH else 1.0


def style() -> dict[Any, Any]:
    """The rcParams of figures: those of reports, and in their place the ones that were asked for.

    The sizes of labels and legends follow a font size that is asked for; without one, those of narrow figures are smaller.
    """
    factor = _ASKED["font.size"] / STYLE["font.size"] if "font.size" in _ASKED else _narrowed()
    return {**STYLE, **{name: STYLE[name] * factor for name in _SIZES}, **_ASKED}


@contextmanager
def drawn_as(width_in: float | None = None, rc: Mapping[str, Any] = MappingProxyType({})) -> Iterator[None]:
    """Draw and save figures of a width, and with rcParams of matplotlib, for as long as the block lasts.

    ``width_in``: inches: 3.4 for a column of a paper with two; ``rc``: rcParams, like ``{"font.size": 8}``.
    """
    if width_in is not None and not 0 < width_in < MOST_WIDTH_IN:
        raise UsageError(f"width must be above 0 and below {MOST_WIDTH_IN} in; got {width_in}. Write 3.4in, say.")
    try:
        asked = dict(RcParams(rc))
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"rcParams must be matplotlib's; {str(error).splitlines()[0]}. Write font.size=8, say."
        ) from None
    before = dict(_ASKED), list(_WIDTH)
    _ASKED.update(asked)
    _WIDTH[:] = [width_in] if width_in is not None else _WIDTH
    try:
        yield
    finally:
        _ASKED.clear()
        _ASKED.update(before[0])
        _WIDTH[:] = before[1]


class ReportFigure(Figure):
    """A matplotlib figure that is saved in the style of the report and shows itself in a notebook."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Save like `matplotlib.figure.Figure.savefig`, with fonts embedded and nothing that depends on the time."""
        suffix = options.get("format") or str(fname).rpartition(".")[2]
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix, {})
        with rc_context(style()):
            super().savefig(fname, **{**options, "metadata": {**undated, **options.get("metadata", {})}})

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=130)
        return buffer.getvalue()


def new_axes(x_label: str, y_label: str, *, height: float = HEIGHT_IN) -> tuple[ReportFigure, Axes]:
    """An empty figure with one pair of labelled axes."""
    with rc_context(style()):
        width = _WIDTH[0] if _WIDTH else WIDTH_IN
        figure = ReportFigure(figsize=(width, height * _narrowed()), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
    return figure, axes


def scale_x(axes: Axes, values: Sequence[float], *, whole: bool = False) -> None:
    """Scale the x axis for these values: logarithmic where they span decades; ``whole`` marks each of them."""
    if whole:
        ticks = sorted(set(values))
        axes.xaxis.set_major_locator(FixedLocator(_thinned(ticks)))
        axes.xaxis.set_major_formatter(FuncFormatter(axis_number))
        room = 0.06 * (ticks[-1] - ticks[0]) or 0.5
        axes.set_xlim(ticks[0] - room, ticks[-1] + room)
        return
    _scale(axes, "x", values)


def scale_y(axes: Axes, values: Sequence[float], *, counts: bool = False) -> None:
    """Scale the y axis for these values: logarithmic where they span decades, else from zero; ``counts`` are whole."""
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
    """The names of the series above the axes, in at most so many columns, and in fewer where they are too wide."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    with rc_context(style()):
        for count in range(min(columns, len(labels)), 0, -1):
            legend = figure.legend(handles, labels, loc="outside upper left", ncols=count)
            if count == 1 or legend.get_window_extent(renderer).width <= LEGEND_SHARE * figure.bbox.width:
                return
            legend.remove()


DrawnFrom = TypeVar("DrawnFrom")


# headings and rows of the data that a figure shows
Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure with its title, its note and its data."""

    name: str  # a file name without suffix
    # plain text
    title: str
    note: str
    figure: ReportFigure
    # the data of the figure
    headings: tuple[str, ...]
    body: Sequence[tuple[Any, ...]]


@dataclass(frozen=True)
class Entry(Generic[DrawnFrom]):
    """A kind of figure."""

    name: str  # the beginning of its file names
    # plain text; the source of a figure follows its title
    title: str
    note: str
    # figure and data of a source
    draw: Callable[[DrawnFrom], ReportFigure]
    table: Callable[[DrawnFrom], Table]

    def of(self, source: DrawnFrom, about: str = "") -> CaptionedFigure:
        """The figure of one source."""
        name = re.sub(r"[^a-z0-9]+", "-", f"{self.name} {about}".lower()).strip("-")[:LONGEST_NAME]
        title = f"{self.title}{about and ', '}{about}"
        return CaptionedFigure(name, title, self.note, self.draw(source), *self.table(source))


def named_apart(figures: Iterable[CaptionedFigure]) -> Iterator[CaptionedFigure]:
    """The same figures; a name that came before gets a number."""
    seen: Counter[str] = Counter()
    for shown in figures:
        seen[shown.name] += 1
        yield shown if seen[shown.name] == 1 else replace(shown, name=f"{shown.name}-{seen[shown.name]}")
