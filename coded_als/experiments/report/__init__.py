"""Reports: figures from stored results, alone, in a notebook or in one offline HTML file."""

from coded_als.experiments.report.html_report import Results, open_results, write_report
from coded_als.experiments.report.sweep_figures import (
    distribution,
    iteration_against_memory,
    objective_against_seconds,
    time_against_delays,
    time_against_memory,
    time_against_partitions,
    time_against_workers,
)
from coded_als.experiments.report.table1_figures import (
    decoding_error_against_partitions,
    survival_against_products,
    table1_times,
)
from coded_als.experiments.report.timeline import timeline, timeline_rows

__all__ = [
    "Results",
    "decoding_error_against_partitions",
    "distribution",
    "iteration_against_memory",
    "objective_against_seconds",
    "open_results",
    "survival_against_products",
    "table1_times",
    "time_against_delays",
    "time_against_memory",
    "time_against_partitions",
    "time_against_workers",
    "timeline",
    "timeline_rows",
    "write_report",
]
