"""Figures of the layout: files on three walks through the package, chains of imports and of classes, names used twice.

``python -m tests.walks`` prints those of the work tree, ``python -m tests.walks REVISION ...`` those of revisions too.

A walk is a list of way-points in the order in which data and instructions meet them. A way-point is a function or class,
found by name wherever it lives, so that files may be cut anew without a change here. Names after a bar are those that it
had before or has since. A way-point that is found nowhere is told: it went away, or has a name that is missing here.
"""

from __future__ import annotations

import ast
import collections
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

# a name may begin with the room in which it lives, where more than one room has it
WALKS = {
    "ratings from CodedALS.fit to a product of a worker and the decoded answer": """
        CodedALS.fit named_matrix checked_ratings check_parameters|CodedALS._checked resumed Checkpoint.begin read_snapshot Scope verified
        CodedALS._fit CodedALS.plan spread_for|CodedALS._spread choose Race.timed least_iteration_seconds Scheme.schedule choose_spread
        forming_pays sooner_at_the_master gram_on_workers_s weighted in_unit Problem.of Spread.give_out phases_at|local_gram
        FormedGram store_data SystematicCode.encode_left encoded Shares Scope.store ZmqCluster.store Stores.give_out
        Membership.send Link.send wire/encode packed Worker._obey
        CodedALS.factorize iterated|solver_of locally_optimal|lobpcg/solve stored_product StoredProduct.__call__ RoundLog.run Scope.run
        ZmqCluster.run Rounds.carry_out RunningRound.message Payloads.packed Worker._compute kernels/product
        Membership._hear Rounds.heard Rounds._heard_now Rounds._take verdict RunningRound.take WellConditioned.satisfied
        LinearCode.decode_blocks join
    """,
    "a cell of a sweep until its row": """
        Grid.cells Cell Cell.key run_sweep run_cell SweepSpec.workload repetition_seed round_times Scheme.schedule
        multiplications rule_for RoundCost round_seconds counted_workers rounded with_seconds mean_and_interval
        SweepRow ResultFolder.append read_results flat as_csv
    """,
    "--delays SPEC until a worker sleeps": """
        fit/command run_fit fit_coded cluster_of open_cluster LocalCluster delay_stream DelayStream parse_delays
        ShiftedExponential.draw Rounds._begin RunningRound.message wire/encode Worker._wait
    """,
}


@dataclass(frozen=True)
class Module:
    """A file of the package, read."""

    path: Path
    name: str
    tree: ast.Module
    lines: int

    def definitions(self) -> Iterator[str]:
        """Functions and classes, methods as ``Class.method``."""
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef))


class Package:
    """All modules below a folder ``coded_als``.

    Parameters
    ----------
    folder
        That holds the package.
    """

    def __init__(self, folder: Path) -> None:
        self.modules = {module.name: module for module in map(read, sorted((folder / "coded_als").rglob("*.py")))}

    @cached_property
    def homes(self) -> Mapping[str, list[Module]]:
        homes = collections.defaultdict(list)
        for module in self.modules.values():
            for name in module.definitions():
                homes[name].append(module)
        return homes

    def home(self, point: str) -> Module | None:
        """The file of a way-point; None where there is none."""
        for name in point.split("|"):
            room, _, name = name.rpartition("/")
            found = [module for module in self.homes.get(name, []) if room in ("", *module.name.split("."))]
            if len(found) > 1:
                raise SystemExit(f"{name} is in {', '.join(module.name for module in found)}: name its room")
            if found:
                return found[0]
        return None

    def imports(self, module: Module, *, at_the_top: bool = False) -> set[str]:
        """Own modules that a module imports at run time; at the top: not those within functions."""
        found = {name for node in statements(module.tree, at_the_top) for name in imported(node)}
        return {name for name in found if name in self.modules and name not in ("coded_als", module.name)}

    def longest_chain(self) -> list[str]:
        """Of modules that each import the next at the top."""
        known: dict[str, list[str]] = {}

        def chain_from(name: str) -> list[str]:
            if name not in known:
                known[name] = [name]  # a circle ends here
                below = [chain_from(other) for other in sorted(self.imports(self.modules[name], at_the_top=True))]
                known[name] = [name, *max(below, key=len, default=[])]
            return known[name]

        return max(map(chain_from, self.modules), key=len)

    def deepest_classes(self) -> list[str]:
        """The longest chain of own classes, each the base of the next."""
        nodes = [node for module in self.modules.values() for node in module.tree.body]
        bases = {
            node.name: [ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases]
            for node in nodes
            if isinstance(node, ast.ClassDef)
        }

        def chain_of(name: str) -> list[str]:
            return [*max((chain_of(base) for base in bases[name] if base in bases), key=len, default=[]), name]

        return max(map(chain_of, bases), key=len)

    def names_used_twice(self) -> dict[str, list[str]]:
        """Base names of more than one module."""
        named = collections.defaultdict(list)
        for name in self.modules:
            named[name.split(".")[-1]].append(name)
        packages = {module.name for module in self.modules.values() if module.path.name == "__init__.py"}
        files = {base: [name for name in names if name not in packages] for base, names in named.items()}
        return {base: names for base, names in files.items() if len(names) > 1 and base != "__main__"}

    def with_one_importer(self) -> list[str]:
        counts = collections.Counter(
            name for module in self.modules.values() for name in self.imports(module) if name != module.name
        )
        return [name for name, count in counts.items() if count == 1]


def read(path: Path) -> Module:
    text = path.read_text()
    parts = path.with_suffix("").parts
    name = ".".join(parts[parts.index("coded_als") :]).removesuffix(".__init__")
    return Module(path, name, ast.parse(text), len(text.splitlines()))


def statements(tree: ast.AST, at_the_top: bool) -> Iterator[ast.AST]:
    """All nodes but those for the type checker alone, and but functions where only the top counts."""
    for node in ast.iter_child_nodes(tree):
        is_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not is_typing and not (at_the_top and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield node
            yield from statements(node, at_the_top)


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def at_revision(revision: str, folder: Path) -> Package:
    """The package as a revision of git has it, unpacked into a folder."""
    archive = subprocess.run(
        ["git", "archive", revision, "coded_als"], cwd=REPOSITORY, check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return Package(folder)


def tell(title: str, package: Package) -> None:
    """All figures, on stdout."""
    modules = package.modules.values()
    print(f"{title}: {len(modules)} modules, {sum(module.lines for module in modules)} lines")
    for name, walk in WALKS.items():
        homes = {point: package.home(point) for point in walk.split()}
        files = list(dict.fromkeys(home.name.removeprefix("coded_als.") for home in homes.values() if home))
        gone = [point for point, home in homes.items() if home is None]
        print(f"  {name}: {len(files)} files\n    {' -> '.join(files)}")
        if gone:
            print(f"    found nowhere: {', '.join(gone)}")
    chain = package.longest_chain()
    print(f"  longest chain of imports: {len(chain)} modules\n    {' -> '.join(chain).replace('coded_als.', '')}")
    classes = package.deepest_classes()
    print(f"  deepest class: {len(classes)} of ours: {' -> '.join(classes)}")
    twice = package.names_used_twice()
    print(f"  base names of several modules: {len(twice)}: {', '.join(sorted(twice))}")
    print(f"  modules with one importer: {len(package.with_one_importer())}")


def main() -> None:
    for revision in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            tell(revision, at_revision(revision, Path(folder)))
    tell("work tree", Package(REPOSITORY))


if __name__ == "__main__":
    main()
