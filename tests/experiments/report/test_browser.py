"""A report in a headless browser: no error in the console, light and dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import PROGRAM, browser_page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")]
# wider than the page, and not inside a box that scrolls by itself
OVERFLOWING = """
[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1
  && !e.closest('.scroll, .wide') && !e.closest('details:not([open])')).map(e => e.tagName + ' ' + e.textContent.slice(0, 40))
"""


def test_a_report_opens_without_an_error_at_any_width(report: Path) -> None:
    backgrounds = {}
    with browser_page() as page:
        for width in (1200, 500):
            for dark in (False, True):
                page.open(report.as_uri(), width=width, dark=dark)
                assert page.value(OVERFLOWING) == []
                backgrounds[dark] = page.value("getComputedStyle(document.body).backgroundColor")
        # every figure has its width and its text; the first link of the contents leads to its section
        assert page.value(
            "[...document.querySelectorAll('figure svg')].every(s => s.getBoundingClientRect().width > 300)"
        )
        assert page.value("Math.min(...[...document.querySelectorAll('figure svg text')]"
                          ".filter(t => t.textContent).map(t => t.getBoundingClientRect().height))") > 6  # fmt: skip
        page.value("document.querySelector('nav a').click()")
        assert page.value("document.querySelector(decodeURIComponent(location.hash)) !== null")
        assert page.problems == []
    assert backgrounds[False] != backgrounds[True]
