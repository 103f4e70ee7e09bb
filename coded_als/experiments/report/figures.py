"""The figures of a report, each with the data that it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from coded_als.experiments.plan.timing import QUANTILES
from coded_als.experiments.report.svg import Plot, axes

Row = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A drawing, what it says, and its data.

    Parameters
    ----------
    title, note
        Plain text.
    drawing
        HTML of the legend and the SVG.
    headings, body
        The data.
    """

    title: str
    note: str
    drawing: str
    headings: tuple[str, ...]
    body: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Slice:
    """Rows of a sweep that differ in scheme and number of workers alone."""

    clock: str
    delays: str
    stragglers: int
    solver: str
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        dead = f", {self.stragglers} dead workers" if self.stragglers else ""
        return f"solver {self.solver}{dead}, delays {self.delays}"

    def mean(self, row: Row) -> float:
        return float(row[f"{self.clock}_seconds_mean"])

    def interval(self, row: Row) -> tuple[float, float]:
        """The 95 % interval, or the mean twice where there is none."""
        low, high = row[f"{self.clock}_seconds_low95"], row[f"{self.clock}_seconds_high95"]
        return (self.mean(row), self.mean(row)) if low is None else (max(low, 0.0), high)

    @property
    def workers(self) -> list[int]:
        return sorted({row["cell"]["workers"] for row in self.rows})

    def where(self, **fields: Any) -> list[Row]:
        return [row for row in self.rows if all(row["cell"][key] == value for key, value in fields.items())]


def slices(rows: Sequence[Row], clock: str) -> list[Slice]:
    """Finished rows by what a figure must not mix; delays in the order of the rows."""
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        if row["status"] == "done":
            cell = row["cell"]
            groups.setdefault((cell["delays"], cell["stragglers"], cell["solver"]), []).append(row)
    order = list(dict.fromkeys(delays for delays, _, _ in groups))
    keys = sorted(groups, key=lambda key: (order.index(key[0]), *key[1:]))
    return [Slice(clock, *key, tuple(groups[key])) for key in keys]


def series_name(row: Row) -> str:
    """The scheme without its h: what one line stands for."""
    cell = row["cell"]
    return str(cell["code"]) + (", paper protocol" if cell["protocol"] == "paper" else "")


def series_of(name: str) -> int:
    """The colour, dashes and mark of a scheme: the same in every figure."""
    order = ("uncoded", "replicated", "real", "equispaced", "entangled", "systematic")
    place = next((index for index, word in enumerate(order) if word in name), len(order))
    return place + 3 if "paper" in name else place


def _grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(series_name(row), []).append(row)
    return groups


def time_against_partitions(part: Slice) -> Figure:
    """Seconds against h at the largest W; schemes without an h are levels."""
    workers = part.workers[-1]
    here = part.where(workers=workers)
    partitions = [row["cell"]["partitions"] for row in here if row["cell"]["partitions"]] or [1]
    highest = [part.interval(row)[1] for row in here]
    plot = axes(partitions, [*highest, 0.0], "partitions h", f"{part.clock} seconds to convergence", whole_x=True)
    for name, rows in _grouped(here).items():
        series = series_of(name)
        if rows[0]["cell"]["partitions"]:
            _line_with_band(plot, part, rows, "partitions", series, name)
        else:
            plot.level(part.mean(rows[0]), series, name)
    return Figure(
        f"Time against h, {workers} workers, {part.name}",
        "Mean of the repetitions with its 95 % interval. Missing points are infeasible; the table of cells says why.",
        plot.render("time against partitions"),
        ("scheme", "h", f"{part.clock} s, mean", "low", "high"),
        tuple((series_name(r), r["cell"]["partitions"] or "", part.mean(r), *part.interval(r)) for r in here),
    )


def _line_with_band(plot: Plot, part: Slice, rows: Sequence[Row], along: str, series: int, name: str) -> None:
    rows = sorted(rows, key=lambda row: row["cell"][along])
    xs = [row["cell"][along] for row in rows]
    intervals = [part.interval(row) for row in rows]
    plot.band(xs, [low for low, _ in intervals], [high for _, high in intervals], series)
    plot.line(xs, [part.mean(row) for row in rows], series, name)


def _best_of_each(part: Slice, rows: Sequence[Row]) -> list[Row]:
    """For every line and W, the row of the fastest h."""
    best: dict[tuple[str, int], Row] = {}
    for row in sorted(rows, key=part.mean):
        best.setdefault((series_name(row), row["cell"]["workers"]), row)
    return sorted(best.values(), key=lambda row: (list(_grouped(rows)).index(series_name(row)), row["cell"]["workers"]))


def time_against_workers(part: Slice) -> Figure:
    """Seconds against W, each code at its best h."""
    best = _best_of_each(part, part.rows)
    highest = [part.interval(row)[1] for row in best]
    plot = axes(part.workers, [*highest, 0.0], "workers W", f"{part.clock} seconds to convergence", whole_x=True)
    for name, rows in _grouped(best).items():
        _line_with_band(plot, part, rows, "workers", series_of(name), name)
    return Figure(
        f"Time against W, {part.name}",
        "Each code at the h that is fastest for that W.",
        plot.render("time against workers"),
        ("scheme", "W", "h", f"{part.clock} s, mean", "low", "high"),
        tuple(
            (series_name(r), r["cell"]["workers"], r["cell"]["partitions"] or "", part.mean(r), *part.interval(r))
            for r in best
        ),
    )


def distribution(part: Slice) -> Figure:
    """How long iterations take: the cumulative distribution at the largest W, each code at its best h."""
    here = _best_of_each(part, part.where(workers=part.workers[-1]))
    quantiles = {series_name(row): row[f"{part.clock}_iteration_seconds_quantiles"] for row in here}
    everything = [value for values in quantiles.values() for value in values]
    wide = min(everything) > 0 and max(everything) / min(everything) > 30
    plot = axes(everything, [0, 1], f"{part.clock} seconds of one iteration", "share of iterations", log_x=wide)
    for name, values in quantiles.items():
        plot.line(values, list(QUANTILES), series_of(name), name)
    return Figure(
        f"Distribution of iteration times, {part.workers[-1]} workers, {part.name}",
        "Stragglers show as the long upper end. Marks are the stored quantiles.",
        plot.render("distribution of iteration times"),
        ("scheme", *(f"{share:.0%}" for share in QUANTILES)),
        tuple((name, *values) for name, values in quantiles.items()),
    )


def objective_against_seconds(examples: Row) -> Figure | None:
    """Excess of the objective over its optimum against seconds, from runs of the algorithm."""
    curves = {curve["scheme"]: curve["points"] for curve in examples["curves"]}
    if not curves:
        return None
    points = [point for curve in curves.values() for point in curve]
    plot = axes(
        [0.0, *(t for t, _ in points)], [e for _, e in points],
        f"{examples['clock']} seconds", "objective / optimum - 1", log_y=True,
    )  # fmt: skip
    for name, curve in curves.items():
        plot.line([t for t, _ in curve], [e for _, e in curve], series_of(name), name)
    size = examples["size"]
    return Figure(
        f"Objective against seconds, delays {examples['delays']}",
        f"The algorithm itself on a {size['rows']} x {size['columns']} matrix of random factors and strong noise, rank "
        f"{size['rank']}, all schemes under the same delays; the machine is slowed in proportion to the sweep's problem. The optimum is exact.",
        plot.render("objective against seconds"),
        ("scheme", f"{examples['clock']} s", "objective / optimum - 1"),
        tuple((name, t, e) for name, curve in curves.items() for t, e in curve),
    )


FAMILIES = (("real", "real (Chebyshev nodes)"), ("equispaced", "real, equispaced"), ("circle", "unit circle"))


def decoding_error_against_partitions(rows: Sequence[Row]) -> Figure:
    """Actual and estimated error of decoding at each family of points."""
    largest = _largest_per_partitions(rows)
    hs = [row["cell"]["partitions"] for row in largest]
    values = [
        row[f"{points}_error_{kind}"] for row in largest for points, _ in FAMILIES for kind in ("actual", "estimated")
    ]
    plot = axes(hs, values, "partitions h", "relative error of D B", log_y=True, whole_x=True)
    for series, (points, name) in enumerate(FAMILIES):
        actual = [row[f"{points}_error_actual"] for row in largest]
        estimated = [row[f"{points}_error_estimated"] for row in largest]
        plot.band(hs, actual, estimated, series)
        plot.line(hs, actual, series, name)
    return Figure(
        "Decoding error against h",
        "Median over random sets of first answers, at the largest k of each h. Lines are measured errors; the band "
        "reaches up to the error that the code estimated before it decoded.",
        plot.render("decoding error against partitions"),
        ("h", "k", "points", "actual", "estimated"),
        tuple(
            (
                row["cell"]["partitions"],
                row["cell"]["live"],
                name,
                row[f"{p}_error_actual"],
                row[f"{p}_error_estimated"],
            )
            for row in largest
            for p, name in FAMILIES
        ),
    )


def _largest_per_partitions(rows: Sequence[Row]) -> list[Row]:
    best: dict[int, Row] = {}
    for row in sorted(rows, key=lambda row: row["cell"]["live"]):
        best[row["cell"]["partitions"]] = row
    return [best[h] for h in sorted(best)]


def table1_times(rows: Sequence[Row]) -> Figure:
    """The published seconds against h, and the fitted law on the virtual clock with its interval."""
    lives = sorted({row["cell"]["live"] for row in rows})
    values = [value for row in rows for value in (row["paper_seconds"], row["virtual_seconds_mean"])]
    plot = axes(
        [row["cell"]["partitions"] for row in rows], values, "partitions h", "seconds", log_y=True, whole_x=True
    )
    for series, live in enumerate(lives):
        here = sorted((r for r in rows if r["cell"]["live"] == live), key=lambda r: r["cell"]["partitions"])
        hs = [row["cell"]["partitions"] for row in here]
        plot.band(hs, [r["virtual_seconds_low95"] for r in here], [r["virtual_seconds_high95"] for r in here], series)
        plot.line(hs, [row["virtual_seconds_mean"] for row in here], series, marks=False)
        plot.points(hs, [row["paper_seconds"] for row in here], series, f"k = {live}")
    return Figure(
        "Table I: time against h",
        "Marks: the paper's seconds. Lines: virtual seconds of the law (46), fitted to the columns that decode soundly at "
        "real points, with the 95 % interval of the mean as a band (thinner than the line).",
        plot.render("Table I, time against partitions"),
        ("k", "h", "paper, s", "formula (46), s", "virtual clock, virtual s", "low", "high"),
        tuple(
            (
                r["cell"]["live"],
                r["cell"]["partitions"],
                r["paper_seconds"],
                r["formula_seconds"],
                r["virtual_seconds_mean"],
                r["virtual_seconds_low95"],
                r["virtual_seconds_high95"],
            )
            for r in rows
        ),
    )


def survival_against_products(rows: Sequence[Row]) -> Figure:
    """Iterations that a run survives against the products that the paper's seconds are worth."""
    most = max(row["circle_iterations_survived"] for row in rows)
    products = [row["paper_products_implied"] for row in rows]
    plot = axes(products, [0, most], "products that the published seconds are worth at 30 GFLOP/s",
                "iterations survived", log_x=True)  # fmt: skip
    for series, (points, name) in enumerate(FAMILIES):
        survived = [row[f"{points}_iterations_survived"] for row in rows]
        # side by side, since most of them coincide
        plot.points(products, survived, series, name, shift=9.0 * (series - 1))
    return Figure(
        "Do the cells collapse where real points break down?",
        f"Each cell once per family of points. A run survives while its exact objective stays within 1 % of exact "
        f"arithmetic's; runs had {most} iterations.",
        plot.render("iterations survived against implied products"),
        ("k", "h", "products implied", *(name for _, name in FAMILIES)),
        tuple(
            (
                r["cell"]["live"],
                r["cell"]["partitions"],
                r["paper_products_implied"],
                *tuple(r[f"{points}_iterations_survived"] for points, _ in FAMILIES),
            )
            for r in rows
        ),
    )


SWEEP_FIGURES: tuple[Callable[[Slice], Figure], ...] = (time_against_partitions, time_against_workers, distribution)
