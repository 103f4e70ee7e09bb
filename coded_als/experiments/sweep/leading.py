"""The leading schemes of a sweep, which a report shows running."""

from __future__ import annotations

from collections.abc import Sequence

from coded_als.als.schemes import Scheme
from coded_als.experiments.sweep.cells import cell_of
from coded_als.experiments.sweep.rows import SweepRow
from coded_als.experiments.sweep.seconds import mean_seconds

# Workers that one timeline can show.
TIMELINE_WORKERS = 40


def leading_schemes(rows: Sequence[SweepRow], clock: str = "virtual") -> list[Scheme]:
    """Every code at its fastest h, codes before plain copies and the fastest first, at the middle number of workers.

    Parameters
    ----------
    rows
        Those of one delay SPEC.
    clock
        ``"virtual"`` or ``"wall"``: whose seconds they have.
    """
    done = [row for row in rows if row["status"] == "done" and row["cell"]["protocol"] == "fused"]
    sizes = sorted({row["cell"]["workers"] for row in done if row["cell"]["workers"] <= TIMELINE_WORKERS})
    if not sizes:
        return []
    here = [row for row in done if row["cell"]["workers"] == sizes[len(sizes) // 2]]
    fewest = min(row["cell"]["stragglers"] for row in here)
    fastest: dict[str, SweepRow] = {}
    ranked = sorted(
        (row for row in here if row["cell"]["stragglers"] == fewest), key=lambda row: mean_seconds(row, clock)
    )
    for row in ranked:
        fastest.setdefault(row["cell"]["code"], row)
    leading = [cell_of(row["cell"]).scheme for row in fastest.values()]
    return sorted(leading, key=lambda scheme: not scheme.family.coded)
