"""Figures of a running fit or sweep, and the text in which Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

# Values by their label, "" for a figure without labels.
Values = Mapping[str, float]


@dataclass(frozen=True)
class Figure:
    """A figure: its name without the prefix, one line of help, and its value, or one for each value of a label."""

    name: str
    help: str
    values: Values
    kind: Literal["gauge", "counter"] = "gauge"
    label: str = ""

    @classmethod
    def of(cls, name: str, help: str, value: float, kind: Literal["gauge", "counter"] = "gauge") -> Figure:
        """A figure without labels."""
        return cls(name, help, {"": value}, kind)


PREFIX = "coded_als_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(figures: Iterable[Figure]) -> str:
    """The text format of Prometheus."""
    lines = []
    for figure in figures:
        name = PREFIX + figure.name
        lines += [f"# HELP {name} {figure.help}", f"# TYPE {name} {figure.kind}"]
        for value, number in figure.values.items():
            labels = f'{{{figure.label}="{value}"}}' if figure.label else ""
            lines.append(f"{name}{labels} {_number(number)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    # Go's spelling of numbers that are not finite
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(str(float(value)), repr(float(value)))


def as_json(figures: Iterable[Figure]) -> dict[str, object]:
    """The same as a document; those with a label as objects."""
    return {figure.name: dict(figure.values) if figure.label else figure.values[""] for figure in figures}


@dataclass
class RoundClock:
    """Seconds from the first task of each round to the last response that counts, added up.

    Attributes
    ----------
    waited_s
        Of all rounds that a later one has followed.
    """

    waited_s: float = 0.0
    _index: int = -1
    _begun_s: float = field(default=0.0, repr=False)
    _ended_s: float = field(default=0.0, repr=False)

    def note(self, round_index: int, sent_s: float, received_s: float) -> None:
        """A response counts in a round."""
        if round_index > self._index:
            self.waited_s += self._ended_s - self._begun_s
            self._index, self._begun_s, self._ended_s = round_index, sent_s, received_s
        elif round_index == self._index:
            self._begun_s, self._ended_s = min(self._begun_s, sent_s), max(self._ended_s, received_s)
