"""The built site: nothing left as source, parameters as in the signatures, no page too large, and readable at every width."""

from __future__ import annotations

import functools
import html
import importlib
import inspect
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import coded_als
from coded_als.cli import COMMANDS
from coded_als.cli.help import CODE_SPECS, DELAY_SPECS
from coded_als.codes import CODES
from coded_als.delays import MODELS
from tests.browser import PROGRAM, browser_page

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 200_000
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def pages(site: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(site.rglob("*.html")):
        yield path.relative_to(site).as_posix(), path.read_text()


def test_a_page_asks_nothing_of_any_other_server(site: Path) -> None:
    for name, text in pages(site):
        assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="https?://[^"]+"', text), name


def test_no_page_is_too_large(site: Path) -> None:
    assert {name: len(text) for name, text in pages(site) if len(text.encode()) > MOST_BYTES} == {}


@pytest.mark.parametrize(
    "source", [r"\$\s*<code>", "language-mermaid", r"\\frac|\\sum_|\\begin\{", "^::: ", "<!-- [a-z]+ -->"]
)
def test_no_formula_diagram_or_mark_is_left_as_source(site: Path, source: str) -> None:
    # MathML may carry its source as an annotation, and code may show anything but a formula
    for name, text in pages(site):
        shown = re.sub(r"<(annotation|pre|script)\b.*?</\1>", "", text, flags=re.DOTALL)
        assert not re.search(source, shown, re.MULTILINE), name


def test_a_formula_in_a_line_stays_in_it(site: Path) -> None:
    assert [
        name for name, text in pages(site) if re.search(r'</p>\s*(?:<span>)?<math[^>]*display="inline"', text)
    ] == []


def test_the_reference_has_every_public_name(site: Path) -> None:
    anchors = set(re.findall(r'id="(coded_als\.[\w.]+)"', "".join(text for _, text in pages(site))))
    last = {anchor.rpartition(".")[2] for anchor in anchors}
    assert set(coded_als.__all__) - {"__version__"} <= last


def found(path: str) -> Any:
    """The object of a dotted path."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            one: Any = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for name in parts[cut:]:
            one = getattr(one, name)
        return getattr(one, "__func__", one)
    raise AssertionError(path)


def parameter_tables(text: str) -> Iterator[tuple[str, list[list[str]]]]:
    """The dotted path of each object of a reference page, and the cells of its table of parameters."""
    headings = list(re.finditer(r'<h\d id="(coded_als\.[\w.]+)"', text))
    ends = [*(one.start() for one in headings), len(text)][1:]
    for heading, end in zip(headings, ends, strict=True):
        part = text[heading.end() : end]
        table = re.search(r'section-title">Parameters:</span></p>\s*<table>(.*?)</table>', part, re.DOTALL)
        if table is not None:
            rows = re.findall(r'<tr class="doc-section-item">(.*?)</tr>', table[1], re.DOTALL)
            yield heading[1], [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in rows]


def text_of(cell: str) -> str:
    """A default without quotes and spaces."""
    return plain(cell).strip("'\"").replace(" ", "")


def plain(cell: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>|\s+", " ", cell)).strip()


def test_each_parameter_row_shows_its_own_default(site: Path) -> None:
    rows = 0
    told = []
    for _, text in pages(site):
        for path, cells in parameter_tables(text):
            parameters = inspect.signature(found(path)).parameters
            for name, _, _, shown in cells:
                rows += 1
                key = plain(name).lstrip("*")
                if key == "draw":  # hypothesis passes it to a strategy
                    continue
                if key not in parameters:
                    told.append(f"{path} has no {key}")
                    continue
                default = parameters[key].default
                is_required = default is inspect.Parameter.empty
                right = plain(shown) == "required" if is_required else plain(shown) != "required"
                if not is_required and isinstance(default, (int, float, str, bool, type(None))) and right:
                    right = text_of(shown) == str(default).replace(" ", "") or same_number(plain(shown), default)
                if not right:
                    told.append(f"{path}({key}): {plain(shown)} for {default}")
    assert rows > 200
    assert told == []


def same_number(shown: str, default: object) -> bool:
    """Whether the text is the number, in other words: 5e-9, 32 * 2**20, or a name of the module."""
    if re.fullmatch(r"[A-Z_]+", shown):
        return True
    return bool(re.fullmatch(r"[-\d.e*+ ()]+", shown)) and eval(shown) == default


def test_the_pages_of_commands_and_specs_have_all(site: Path) -> None:
    commands, specs = (site / "commands.html").read_text(), (site / "specs.html").read_text()
    assert all(f"coded-als {name}<" in commands for name in COMMANDS)
    assert "--hold-out-users" in commands
    assert "Sentinel" not in commands
    for name in {**MODELS, **CODES}:
        if {**MODELS, **CODES}[name].__module__.startswith("coded_als."):
            assert f"<code>{name}</code>" in specs
    assert {*DELAY_SPECS, *CODE_SPECS}


# wider than the window, and not inside a box that scrolls by itself
OVERFLOWING = """
[...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1
  && e.getBoundingClientRect().width > 0
  && !e.closest('.md-typeset__scrollwrap, pre, .highlight, .formula, .arithmatex, table, .headerlink'))
  .map(e => e.tagName + ' ' + e.textContent.slice(0, 60))
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site, served on loopback as `make docs-serve` does."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")
def test_the_search_finds_the_recovery_threshold(address: str) -> None:
    with browser_page() as page:
        page.open(f"{address}/index.html", width=1280)
        page.value("document.querySelector('label[for=__search]').click()")
        page.value("document.querySelector('.md-search__input').value = 'recovery threshold'")
        page.value("document.querySelector('.md-search__input').dispatchEvent(new Event('keyup', {bubbles: true}))")
        page.until("document.querySelectorAll('.md-search-result__item').length > 0")


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1280, 768, 400])
def test_every_page_is_readable_in_a_browser(site: Path, address: str, width: int) -> None:
    backgrounds = set()
    with browser_page() as page:
        for path in sorted(site.rglob("*.html")):
            for dark in (False, True):
                page.open(f"{address}/{path.relative_to(site).as_posix()}", width=width, dark=dark)
                assert page.value(OVERFLOWING) == [], path
                assert page.value("document.documentElement.scrollWidth <= innerWidth + 1"), path
                backgrounds.add(page.value("getComputedStyle(document.body).backgroundColor"))
                page.value("localStorage.clear()")  # it keeps the theme of the first page
        assert len(backgrounds) == 2
        assert page.problems == []
