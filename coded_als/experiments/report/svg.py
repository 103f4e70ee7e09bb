"""Plots as inline SVG: axes, lines with bands, points and bars, coloured by style sheet classes alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

MARKS = ("circle", "square", "diamond", "triangle")
WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 72, 16, 12, 48


@dataclass(frozen=True)
class Scale:
    """Values to pixels.

    Parameters
    ----------
    low, high
        Ends of the axis.
    start, stop
        Their pixels.
    logarithmic
        Whether decades are equally long.
    """

    low: float
    high: float
    start: float
    stop: float
    logarithmic: bool = False

    @classmethod
    def around(
        cls, values: Sequence[float], start: float, stop: float, *, logarithmic: bool = False, zero: bool = False
    ) -> Scale:
        """A scale with a little room around the values; ``zero`` lets a linear one begin at 0."""
        low, high = min(values), max(values)
        if logarithmic:
            low, high = low / 1.3, high * 1.3
        else:
            room = 0.05 * (high - low) or 0.5 * abs(high) or 0.5
            low, high = (0.0 if zero and low >= 0 else low - room), high + room
        return cls(low, high, start, stop, logarithmic)

    def __call__(self, value: float) -> float:
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Round values inside the axis, four to eight of them where there can be."""
        if self.logarithmic:
            return _decades(self.low, self.high)
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if (self.high - self.low) / (factor * step) <= 8)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    stride = max(1, (last - first) // 8)
    marks = [factor * 10.0**power for power in range(first, last + 1, stride) for factor in factors]
    return [mark for mark in marks if low <= mark <= high]


def number(value: float) -> str:
    """A figure for an axis: ``0.02``, ``1500``, ``1e-9``."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


@dataclass
class Plot:
    """One set of axes that series are added to."""

    x: Scale
    y: Scale
    x_label: str
    y_label: str
    x_ticks: Sequence[float] | None = None
    height: int = HEIGHT
    _body: list[str] = field(default_factory=list)
    _names: list[tuple[int, str, bool]] = field(default_factory=list)

    def line(
        self, xs: Sequence[float], ys: Sequence[float], series: int, name: str = "", *, marks: bool = True
    ) -> None:
        """A line through the points, in the colour, dashes and marks of a series."""
        where = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys, strict=True))
        self._body.append(f'<polyline class="line s{series} d{series % 4}" points="{where}"/>')
        if marks:
            self.points(xs, ys, series)
        self._name(series, name, line=True)

    def points(
        self, xs: Sequence[float], ys: Sequence[float], series: int, name: str = "", *, shift: float = 0.0
    ) -> None:
        """Marks alone, moved to the right by ``shift`` pixels."""
        for x, y in zip(xs, ys, strict=True):
            self._body.append(mark(MARKS[series % 4], self.x(x) + shift, self.y(y), f"m{series}"))
        self._name(series, name, line=False)

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], series: int) -> None:
        """The area between two lines."""
        there = [f"{self.x(x):.1f},{self.y(high):.1f}" for x, high in zip(xs, highs, strict=True)]
        back = [f"{self.x(x):.1f},{self.y(low):.1f}" for x, low in zip(xs, lows, strict=True)]
        self._body.append(f'<polygon class="band b{series}" points="{" ".join(there + back[::-1])}"/>')

    def level(self, value: float, series: int, name: str) -> None:
        """A horizontal line across the plot."""
        y = f"{self.y(value):.1f}"
        self._body.append(
            f'<line class="line s{series} d{series % 4}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        )
        self._name(series, name, line=True)

    def raw(self, element: str) -> None:
        """Any SVG element."""
        self._body.append(element)

    def render(self, title: str) -> str:
        """The drawing, with its legend above it."""
        ticks = self._x_axis() + self._y_axis()
        return (
            f'{self._legend()}<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(title)}">'
            f"{''.join(ticks)}{''.join(self._body)}</svg>"
        )

    def _name(self, series: int, name: str, *, line: bool) -> None:
        if name:
            self._names.append((series, name, line))

    def _legend(self) -> str:
        entries = []
        for series, name, line in self._names:
            stroke = f'<line class="line s{series} d{series % 4}" x1="0" x2="28" y1="7" y2="7"/>' if line else ""
            shape = mark(MARKS[series % 4], 14, 7, f"m{series}")
            entries.append(f'<span><svg width="28" height="14">{stroke}{shape}</svg>{escape(name)}</span>')
        return f'<div class="legend">{"".join(entries)}</div>' if entries else ""

    def _x_axis(self) -> list[str]:
        bottom = self.height - BOTTOM
        parts = [
            f'<line class="grid" x1="{self.x(tick):.1f}" x2="{self.x(tick):.1f}" y1="{TOP}" y2="{bottom}"/>'
            f'<text x="{self.x(tick):.1f}" y="{bottom + 18}" class="middle">{number(tick)}</text>'
            for tick in (self.x.ticks() if self.x_ticks is None else self.x_ticks)
        ]
        middle = (LEFT + WIDTH - RIGHT) / 2
        return [
            *parts,
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>',
            f'<text x="{middle}" y="{self.height - 8}" class="middle label">{escape(self.x_label)}</text>',
        ]

    def _y_axis(self) -> list[str]:
        bottom = self.height - BOTTOM
        parts = [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{self.y(tick):.1f}" y2="{self.y(tick):.1f}"/>'
            f'<text x="{LEFT - 8}" y="{self.y(tick) + 4:.1f}" class="end">{number(tick)}</text>'
            for tick in self.y.ticks()
        ]
        middle = (TOP + bottom) / 2
        return [
            *parts,
            f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{bottom}"/>',
            f'<text transform="translate(16 {middle}) rotate(-90)" class="middle label">{escape(self.y_label)}</text>',
        ]


def axes(
    xs: Sequence[float],
    ys: Sequence[float],
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    whole_x: bool = False,
    zero: bool = True,
) -> Plot:
    """A plot with room for all these values."""
    x = Scale.around(xs, LEFT, WIDTH - RIGHT, logarithmic=log_x)
    y = Scale.around(ys, HEIGHT - BOTTOM, TOP, logarithmic=log_y, zero=zero)
    return Plot(x, y, x_label, y_label, sorted(set(xs)) if whole_x else None)


def mark(shape: str, x: float, y: float, css: str) -> str:
    """A small closed shape around a point."""
    if shape == "circle":
        return f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    corners = {
        "square": ((-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)),
        "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
        "triangle": ((0, -5), (4.6, 3.6), (-4.6, 3.6)),
    }[shape]
    where = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon class="{css}" points="{where}"/>'
