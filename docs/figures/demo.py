"""Draw the figure of the front page from a run of the demonstration: ``python docs/figures/demo.py``."""

from __future__ import annotations

from pathlib import Path

from coded_als.experiments.demonstration import WORKERS, DemoResult, run_demo

NAMES = {
    "uncoded": "one plain block, wait for all 30",
    "two copies": "two copies of every block",
    "coded, memory of two copies": "coded blocks, wait for any 15 of 30",
    "three copies": "three copies of every block",
}
CODED = "coded, memory of two copies"
WIDTH, LEFT, RIGHT, BAR, STEP, TOP = 720, 250, 130, 22, 36, 44


def drawing(results: dict[str, DemoResult]) -> str:
    """Bars of seconds, with the memory of a worker beside each, as SVG."""
    longest = max(results[name].seconds for name in NAMES)
    height = TOP + STEP * len(NAMES) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="14">',
        f"<title>Seconds of a fit on {WORKERS} workers of which some are late</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" fill="#444444">seconds of the whole fit (memory of each worker, % of the matrix)</text>',
    ]
    for place, (name, label) in enumerate(NAMES.items()):
        found, top = results[name], TOP + STEP * place
        width = max(2.0, (WIDTH - LEFT - RIGHT) * found.seconds / longest)
        weight, colour = ("bold", "#00796b") if name == CODED else ("normal", "#9aa5ad")
        parts += [
            f'<text x="{LEFT - 10}" y="{top + 16}" text-anchor="end" font-weight="{weight}" fill="#222222">{label}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
            f'<text x="{LEFT + width + 8:.1f}" y="{top + 16}" font-weight="{weight}" fill="#222222">'
            f"{found.seconds:.2f} s ({found.share:.1%})</text>",
        ]
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    results = {result.scheme: result for result in run_demo()}
    (Path(__file__).parent / "demo.svg").write_text(drawing(results))
    for name in NAMES:
        found = results[name]
        print(
            f"{name}: {found.share:.1%} {found.seconds_per_iteration:.3f} {found.seconds:.2f} {found.relative_error:.0e}"
        )


if __name__ == "__main__":
    main()
