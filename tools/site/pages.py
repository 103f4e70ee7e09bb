"""Pages of the site that lie elsewhere: notebooks, and the documents at the top of the repository."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

SUFFIX = ".ipynb"
TOP = Path(__file__).resolve().parents[2]
# documents at the top, which become pages of the site in lower case
DOCUMENTS = ("SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md")


def as_markdown(notebook: dict[str, Any], name: str) -> str:
    """The cells one after the other, code fenced."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    title, *rest = parts
    return "\n\n".join([title, f"This page is the notebook [{name}](files/{name}).", *rest])


def on_files(files: Files, config: Any) -> Files:
    """Put a page, and the notebook beside it, in the place of each notebook, and add the documents at the top."""
    for file in [file for file in files if file.src_uri.endswith(SUFFIX)]:
        path = Path(file.abs_src_path or "")
        text = path.read_text()
        files.remove(file)
        page = file.src_uri.removesuffix(SUFFIX) + ".md"
        files.append(File.generated(config, page, content=as_markdown(json.loads(text), path.name)))
        # in a folder of its own: links to a notebook in the pages mean the page
        files.append(File.generated(config, f"{Path(page).parent}/files/{path.name}", content=text))
    for name in DOCUMENTS:
        content = (TOP / name).read_text().replace("](docs/", "](")
        files.append(File.generated(config, name.lower(), content=content))
    return files


def on_config(config: Any) -> Any:
    """The navigation names the notebooks, the site their pages."""
    config.nav = _renamed(config.nav)
    return config


def _renamed(part: Any) -> Any:
    if isinstance(part, str):
        return re.sub(r"\.ipynb$", ".md", part)
    if isinstance(part, list):
        return [_renamed(item) for item in part]
    return {name: _renamed(item) for name, item in part.items()}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to notebooks, and to the documents at the top, lead to their pages."""
    for name in DOCUMENTS:
        markdown = markdown.replace(f"](../{name}", f"]({name.lower()}")
    return re.sub(r"\]\(((?!files/)[^)]*)\.ipynb\)", r"](\1.md)", markdown)
