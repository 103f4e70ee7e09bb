"""Docstrings of the public names: they are there, and say what goes in and what comes out."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

PACKAGE = Path(__file__).resolve().parents[1] / "coded_als"
# the parts of public names that have what is asked for
LEAST = 0.98
MOST_CLASSES = 0.9
ARRAYS = re.compile(r"\b(Array|NDArray|Floats|Integers|Ids|csr_array)\b")
# parameters and results of these are described elsewhere: by click, by the property's class, by the overridden method
DESCRIBED_ELSEWHERE = {"property", "cached_property", "setter", "override", "overload", "command", "option", "group"}


@dataclass(frozen=True)
class Public:
    """A public module, class or function."""

    where: str
    node: ast.Module | ast.ClassDef | ast.FunctionDef
    inherits: bool = False

    @property
    def doc(self) -> str:
        return ast.get_docstring(self.node) or ""


def public_names() -> list[Public]:
    trees = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    return [name for path, tree in trees.items() for name in within(str(path.relative_to(PACKAGE)), tree, "")]


def within(file: str, node: ast.Module | ast.ClassDef, inside: str) -> Iterator[Public]:
    yield Public(f"{file}: {inside or 'module'}", node)
    for child in node.body:
        if isinstance(child, (ast.ClassDef, ast.FunctionDef)) and not child.name.startswith("_"):
            name = f"{inside}.{child.name}".strip(".")
            if isinstance(child, ast.ClassDef):
                yield from within(file, child, name)
            else:
                yield Public(f"{file}: {name}", child, inherits=isinstance(node, ast.ClassDef))


def parameters_of(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


NAMES = public_names()
FUNCTIONS = [
    name
    for name in NAMES
    if isinstance(name.node, ast.FunctionDef)
    and not any(word in ast.unparse(line) for line in name.node.decorator_list for word in DESCRIBED_ELSEWHERE)
]
DESCRIBED_METHODS = {name.node.name for name in NAMES if name.doc and isinstance(name.node, ast.FunctionDef)}


def inherits_its_description(name: Public) -> bool:
    """A method of a name that a protocol or another class describes."""
    return name.inherits and isinstance(name.node, ast.FunctionDef) and name.node.name in DESCRIBED_METHODS


def require_most(names: list[Public], wanting: list[Public], least: float = LEAST) -> None:
    share = 1 - len(wanting) / len(names)
    assert share >= least, f"{share:.1%} of {len(names)}; without: " + "; ".join(name.where for name in wanting)


def test_public_names_have_docstrings() -> None:
    require_most(NAMES, [name for name in NAMES if not name.doc and not inherits_its_description(name)])


# methods of models that the pages leave out, and that other modules call
NOT_SHOWN = {"from_arrays", "best_columns", "require_installed"}


def in_the_api_reference() -> set[str]:
    """Last parts of the names that the pages of docs/api show, members of modules among them."""
    text = "\n".join(page.read_text() for page in (PACKAGE.parent / "docs" / "api").glob("*.md"))
    listed = [name.strip() for names in re.findall(r"members: \[(.*)\]", text) for name in names.split(",")]
    return {name.split(".")[-1] for name in re.findall(r"^::: (\S+)", text, re.MULTILINE)} | set(listed)


def shown_in_the_api_reference(name: Public, shown: set[str]) -> bool:
    """A function that the reference names, or a method of a class that it names."""
    inside = name.where.split(": ")[1].split(".")
    return inside[0] in shown and inside[-1] not in NOT_SHOWN


def fields_of(name: ast.ClassDef) -> list[str]:
    """Parameters of a constructor: those of ``__init__``, or the fields of a dataclass."""
    for node in name.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return parameters_of(node)
    if not any("dataclass" in ast.unparse(line) for line in name.decorator_list):
        return []
    return [ast.unparse(node.target) for node in name.body if is_field(node)]


def is_field(node: ast.stmt) -> TypeGuard[ast.AnnAssign]:
    return isinstance(node, ast.AnnAssign)


def commented_fields(node: ast.ClassDef, where: str) -> int:
    """Fields of a class with a comment in their line or above them; a comment above stands for its fields until the next."""
    lines = (PACKAGE / where.split(": ")[0]).read_text().splitlines()
    found, above = 0, False
    for field in filter(is_field, node.body):
        above = lines[field.lineno - 2].lstrip().startswith("#") or (above and "#" not in lines[field.lineno - 2])
        found += above or "  # " in lines[(field.end_lineno or field.lineno) - 1]
    return found


def describes_its_parameters(name: Public) -> bool:
    """In a section or a paragraph of its docstring, or most fields of a class in comments or in strings below them."""
    body = name.node.body
    if isinstance(name.node, ast.ClassDef) and 2 * commented_fields(name.node, name.where) >= len(fields_of(name.node)):
        return True
    in_prose = {word for names in re.findall(r"``([\w, ]+)``:", name.doc) for word in names.split(", ")}
    if isinstance(name.node, ast.ClassDef) and set(fields_of(name.node)) <= in_prose:
        return True
    told = [one for one, other in itertools.pairwise(body) if is_field(one) and isinstance(other, ast.Expr)]
    in_fields = isinstance(name.node, ast.ClassDef) and len(told) == len(fields_of(name.node))
    return in_fields or bool(re.search(r"(Parameters|Attributes)\n---", name.doc))


def test_functions_of_the_api_reference_describe_their_parameters() -> None:
    shown = in_the_api_reference()
    several = [n for n in FUNCTIONS if shown_in_the_api_reference(n, shown) and len(parameters_of(n.node)) >= 2]
    wanting = [name for name in several if not describes_its_parameters(name)]
    require_most(several, [name for name in wanting if name.doc or not inherits_its_description(name)])


def test_classes_of_many_parameters_describe_them() -> None:
    # a record of a few fields says all in its one sentence
    records = [name for name in NAMES if isinstance(name.node, ast.ClassDef) and len(fields_of(name.node)) >= 5]
    # options of a command are described by their help
    several = [name for name in records if not (name.where.startswith("cli/") and name.where.endswith("Options"))]
    require_most(several, [name for name in several if not describes_its_parameters(name)], MOST_CLASSES)


def test_described_parameters_exist() -> None:
    for name in FUNCTIONS:
        section = re.search(r"Parameters\n-+\n(.*?)(?=\n\n\w+\n-+\n|\Z)", name.doc, re.DOTALL)
        if section is not None:
            lines = [line for line in section[1].splitlines() if line and not line.startswith(" ")]
            described = {word.strip(" *") for line in lines for word in line.split(":")[0].split(",")}
            known = {*parameters_of(name.node), *(a.arg for a in (name.node.args.vararg, name.node.args.kwarg) if a)}
            assert described <= known, f"{name.where} describes {sorted(described - known)}"


def test_arrays_that_come_out_have_shapes() -> None:
    arrays = [name for name in FUNCTIONS if name.node.returns and ARRAYS.search(ast.unparse(name.node.returns))]
    wanting = [name for name in arrays if "(" not in name.doc and "of ``shape``" not in name.doc]
    require_most(arrays, [name for name in wanting if name.doc or not inherits_its_description(name)])


def test_a_module_says_what_it_holds() -> None:
    for name in NAMES:
        if isinstance(name.node, ast.Module):
            assert not re.match(r"(What|Who|Where|When|How|Why|Which)\b", name.doc), f"{name.where}: {name.doc}"


def test_an_entry_of_the_api_reference_has_one_name() -> None:
    """A page made from several names in one entry shows the type and the default of the first for all."""
    shown = in_the_api_reference()
    for name in NAMES:
        if shown_in_the_api_reference(name, shown):
            grouped = re.findall(r"^\w+(?:, \w+)+$", name.doc, re.MULTILINE)
            assert not grouped, f"{name.where} has the entry {grouped[0]!r}"


def test_an_entry_of_the_api_reference_begins_with_a_noun() -> None:
    """Not with a part of a sentence whose beginning is the name."""
    shown = in_the_api_reference()
    for name in NAMES:
        if shown_in_the_api_reference(name, shown):
            sections = re.sub(r"\nRaises\n-+\n.*?(?=\n\n\w+\n-+\n|\Z)", "", name.doc, flags=re.DOTALL)
            found = re.findall(r"^\w+\n    ((?:Of|How many|As in|As for|To which|What|Who) .*)", sections, re.MULTILINE)
            assert not found, f"{name.where} has an entry {found[0]!r}"


# verbs with which the summary of a function begins
ACTS = {
    "Assert", "Change", "Check", "Cut", "Draw", "Factorize", "Find", "Fit", "Fold",
    "Give", "Learn", "Let", "Load", "Make", "Move", "Name", "Predict", "Put",
    "Raise", "Rank", "Read", "Return", "Run", "Search", "Split", "Try", "Write",
}  # fmt: skip


def test_a_function_of_the_api_reference_says_what_it_does() -> None:
    shown = in_the_api_reference()
    for name in FUNCTIONS:
        if name.doc and shown_in_the_api_reference(name, shown):
            assert name.doc.split()[0] in ACTS, f"{name.where}: {name.doc.splitlines()[0]}"
