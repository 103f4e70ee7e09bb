"""Pages of the site that lie elsewhere: notebooks, and the documents at the top of the repository."""

from __future__ import annotations

import base64
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

SUFFIX = ".ipynb"
TOP = Path(__file__).resolve().parents[2]
# documents at the top, which become pages of the site in lower case
DOCUMENTS = ("SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md")
# an option as it is typed, in code
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")

Pictures = dict[str, bytes]


def as_markdown(notebook: dict[str, Any], name: str) -> tuple[str, Pictures]:
    """The cells one after the other, code fenced and its output below it; and the pictures, by the names of their files."""
    parts: list[str] = []
    pictures: Pictures = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        texts = []
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                file = f"{Path(name).stem}-{len(pictures) + 1}.png"
                pictures[file] = base64.b64decode(data["image/png"])
                parts.append(f"![Output of the cell above](files/{file})")
            elif output.get("name") != "stderr":
                texts.append("".join(data.get("text/plain", "")))
        if shown := "\n".join(text.rstrip("\n") for text in texts).strip("\n"):
            parts.append(f"```text\n{shown}\n```")
    title, *rest = parts
    return "\n\n".join([title, f"This page is the notebook [{name}](files/{name}).", *rest]), pictures


def executed(path: Path) -> dict[str, Any]:
    """The notebook with its outputs; without them where its data, or a library that runs it, is not here."""
    stored: dict[str, Any] = json.loads(path.read_text())
    if "CODED_ALS_DATA" in path.read_text() and not os.environ.get("CODED_ALS_DATA"):
        return stored
    try:
        import nbclient
        import nbformat
    except ImportError:
        return stored
    content = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(content, timeout=240, resources={"metadata": {"path": folder}}).execute()
    run: dict[str, Any] = json.loads(nbformat.writes(content))
    return run


def on_files(files: Files, config: Any) -> Files:
    """Put a page, and the notebook beside it, in the place of each notebook, and add the documents at the top."""
    for file in [file for file in files if file.src_uri.endswith(SUFFIX)]:
        path = Path(file.abs_src_path or "")
        files.remove(file)
        page = file.src_uri.removesuffix(SUFFIX) + ".md"
        text, pictures = as_markdown(executed(path), path.name)
        files.append(File.generated(config, page, content=text))
        # in a folder of its own: links to a notebook in the pages mean the page
        for name, content in {path.name: path.read_bytes(), **pictures}.items():
            files.append(File.generated(config, f"{Path(page).parent}/files/{name}", content=content))
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


def on_page_content(content: str, **_: Any) -> str:
    """No line breaks after the hyphens of an option."""
    return re.sub(r"<code>.*?</code>", lambda code: OPTION.sub(r'<span class="option">\g<0></span>', code[0]), content)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to notebooks, and to the documents at the top, lead to their pages."""
    for name in DOCUMENTS:
        markdown = markdown.replace(f"](../{name}", f"]({name.lower()}")
    return re.sub(r"\]\(((?!files/)[^)]*)\.ipynb\)", r"](\1.md)", markdown)
