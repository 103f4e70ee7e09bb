"""The figure of "when does coding pay?": rival over code against the number of workers, a panel for each size of work."""

from __future__ import annotations

from collections.abc import Sequence

from coded_als.experiments.report.canvas import INK, SOFT, ReportFigure, rc_context, style, styles
from coded_als.experiments.when_coding_pays import PayOutcome


def rival_over_code(found: Sequence[PayOutcome]) -> ReportFigure:
    """Time of the best method without a code over that of the best code; above the line coding pays."""
    works_s = sorted({outcome.setting.work_s for outcome in found})
    looks = styles(outcome.setting.delays for outcome in found)
    with rc_context(style()):
        figure = ReportFigure(figsize=(3.0 * len(works_s), 4.6), layout="constrained")
        panels = figure.subplots(1, len(works_s), sharey=True, squeeze=False)[0]
        for panel, work_s in zip(panels, works_s, strict=True):
            panel.axhline(1.0, color=SOFT, linewidth=1)
            for spec, look in looks.items():
                alike = [o for o in found if (o.setting.delays, o.setting.work_s) == (spec, work_s)]
                shown = [outcome.setting.workers for outcome in alike], [outcome.ratio.value for outcome in alike]
                panel.plot(*shown, color=look.colour, marker=look.marker, markersize=4, linewidth=1.2, label=spec)
            panel.set(xscale="log", yscale="log", xlabel="workers W")
            panel.set_title(f"work {1e3 * work_s:g} ms", fontsize=10, color=INK)
        panels[0].set_ylabel("best rival / best code")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    return figure
