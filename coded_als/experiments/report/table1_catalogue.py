"""The figures of Table I, and what each says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coded_als.experiments.report.entries import Entry, Shown
from coded_als.experiments.report.table1_figures import (
    decoding_error_against_partitions,
    errors_table,
    survival_against_products,
    survival_table,
)
from coded_als.experiments.report.table1_times import table1_times, table1_times_table
from coded_als.experiments.table1.rows import Table1Row

TABLE1_FIGURES: tuple[Entry[Sequence[Table1Row]], ...] = (
    Entry(
        "table1-times",
        "Table I: time against h",
        "Marks: the paper's seconds. Lines: virtual seconds of the law (46), fitted to the columns that decode "
        "soundly at real points, with the 95 % interval of the mean as a band (thinner than the line).",
        table1_times,
        table1_times_table,
    ),
    Entry(
        "table1-decoding-error",
        "Decoding error against h",
        "Median over random sets of first responses, at the largest k of each h. Lines are measured errors; the band "
        "reaches up to the error that the code estimated before it decoded.",
        decoding_error_against_partitions,
        errors_table,
    ),
    Entry(
        "table1-survival",
        "Do the cells collapse where real points break down?",
        "Each cell once per family of points. A run survives while its exact objective stays within 1 % of exact "
        "arithmetic's.",
        survival_against_products,
        survival_table,
    ),
)


def table1_figures_of(rows: Sequence[Table1Row]) -> Iterator[Shown]:
    """All figures of a reproduction of Table I, drawn one at a time."""
    for entry in TABLE1_FIGURES:
        yield entry.of(rows)
