"""Versions of the packages that this project needs: the pinned ones, the newest, and the oldest that pyproject.toml states.

``install pinned|latest|oldest NAME...``
    Install the project and the named extras and dependency groups into the environment of this Python.
``freeze``
    Write what this environment holds as the constraints of this Python.

The pinned versions of each Python are in ``constraints/X.Y.txt``. It needs nothing but pip, for it runs before all else.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ".".join(map(str, sys.version_info[:2]))
CONSTRAINTS = ROOT / "constraints" / f"{PYTHON}.txt"
# a name, the extras of it that are wanted, and its bound
_BOUNDED = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?(?:>=|==)([\w.]+)(?:,<[\w.]+)?")
_OWN = re.compile(r"coded-als\[[\w,-]+\]")
# what builds and installs, and the project itself: not what the project runs on
_UNPINNED = {"coded-als", "pip", "wheel"}


def project() -> dict[str, Any]:
    """What pyproject.toml says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(described: dict[str, Any]) -> Iterator[str]:
    """All that the project names: what builds it, what it needs, every extra and every dependency group."""
    yield from described["build-system"]["requires"]
    yield from described["project"]["dependencies"]
    for named in (described["project"]["optional-dependencies"], described["dependency-groups"]):
        for one in named.values():
            yield from one


def oldest(described: dict[str, Any]) -> dict[str, str]:
    """The lower bound of each package; the highest where it is named more than once.

    Raises
    ------
    ValueError
        For a requirement without a lower bound.
    """
    bounds: dict[str, str] = {}
    for requirement in requirements(described):
        if _OWN.fullmatch(requirement):
            continue
        found = _BOUNDED.fullmatch(requirement)
        if found is None:
            raise ValueError(f"a requirement must have a lower bound, like 'numpy>=2.1'; got {requirement!r}.")
        name, bound = found.groups()
        bounds[name] = max(bounds.get(name, bound), bound, key=_numbers)
    return bounds


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def constraints(versions: str) -> str:
    """The lines that hold pip to the wanted versions."""
    if versions == "oldest":
        return "".join(f"{name}=={bound}\n" for name, bound in oldest(project()).items())
    if versions == "pinned" and CONSTRAINTS.exists():
        return CONSTRAINTS.read_text(encoding="utf-8")
    if versions == "pinned":
        print(f"No versions are pinned for Python {PYTHON}: the newest are installed. `make update` pins them.")
    return ""


def install(versions: str, *names: str) -> None:
    """Install the project in place with some extras and groups; the package that builds it is held to the same versions."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(constraints(versions))
        file.flush()
        pip += ["--constraint", file.name]
        for what in (project()["build-system"]["requires"], ["--no-build-isolation", "--editable", *_targets(names)]):
            subprocess.run([*pip, *what], cwd=ROOT, check=True)


def _targets(names: tuple[str, ...]) -> list[str]:
    """The project with the extras among the names, and the requirements of the groups among them."""
    groups = project()["dependency-groups"]
    extras = ",".join(name for name in names if name not in groups)
    return [f".[{extras}]" if extras else ".", *(one for name in names for one in groups.get(name, ()))]


def freeze() -> None:
    """Write the versions in this environment as those to install with this Python from now on."""
    found = {re.sub(r"[-_.]+", "-", one.name).lower(): one.version.partition("+")[0] for one in distributions()}
    lines = [f"{name}=={version}\n" for name, version in sorted(found.items()) if name not in _UNPINNED]
    CONSTRAINTS.parent.mkdir(exist_ok=True)
    CONSTRAINTS.write_text("".join(lines), encoding="utf-8")
    print(f"{CONSTRAINTS.relative_to(ROOT)}: {len(lines)} versions")


def main(arguments: list[str]) -> int:
    """The command line; the exit status."""
    match arguments:
        case ["install", "pinned" | "latest" | "oldest" as versions, *names]:
            try:
                install(versions, *names)
            except subprocess.CalledProcessError as error:
                return error.returncode
        case ["freeze"]:
            freeze()
        case _:
            print(__doc__)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
