"""Draw a figure of each measured delay model: ``python docs/figures/delays.py``."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

from coded_als.delays import MEASURED, DelayStream, Measured, slows
from coded_als.experiments.report.canvas import COLOURS, STYLE

mpl.use("Agg")
WORKERS, ROUNDS = 10, 20_000


def drawn(measured: Measured) -> np.ndarray:
    """Delays of many tasks, ascending; factors of the usual time for a model that slows the work."""
    stream = DelayStream(measured.model, WORKERS, 0)
    found = [stream.disturb() for _ in range(ROUNDS)]
    return np.sort(np.ravel([one.slowness if slows(measured.model) else one.delays_s for one in found]))


def figure(measured: Measured, path: Path) -> None:
    """The part of the tasks that take longer, over the time, with the published quantiles."""
    from matplotlib import pyplot as plt

    values = drawn(measured)
    longer = 1 - np.arange(1, values.size + 1) / values.size
    # a point where the curve has moved, not one for each draw
    shown = np.unique(np.searchsorted(-longer, -np.geomspace(1, 1e-5, 400)).clip(0, values.size - 2))
    with mpl.rc_context(STYLE):
        drawing, axes = plt.subplots(figsize=(5.6, 2.8))
        axes.step(values[shown], longer[shown], where="post", color=COLOURS[0], label="model, 200,000 draws")
        if measured.published:
            known = {at: seconds for at, seconds in measured.published.items() if 0 < at < 1}
            axes.plot(known.values(), [1 - at for at in known], "o", color=COLOURS[1], label="published")
        axes.set(yscale="log", ylim=(1e-5, 1.5), ylabel="part of the tasks that take longer")
        axes.set_xlabel("times the usual work" if slows(measured.model) else "seconds")
        if values[-1] > 20 * values[0] > 0:
            axes.set_xscale("log")
        axes.legend()
        drawing.savefig(path, bbox_inches="tight", metadata={"Date": None})
        plt.close(drawing)


def main() -> None:
    for name, measured in MEASURED.items():
        figure(measured, Path(__file__).parent / f"delays-{name}.svg")


if __name__ == "__main__":
    main()
