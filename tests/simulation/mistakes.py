"""Mistakes that the simulation must find: each is planted in the sources as they are imported, in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from tests.mutants.mutant import Mutant

REPOSITORY = Path(__file__).parents[2]
ROUNDS, MEMBERSHIP, STORES = (f"coded_als/master/{name}.py" for name in ("rounds", "membership", "stores"))
LOOP = "coded_als/worker/loop.py"


def _mistake(name: str, file: str, text: str, replacement: str) -> Mutant:
    return Mutant(name, file, text, replacement, ("tests/simulation/test_simulation.py",))


MISTAKES = (
    _mistake(
        "a late worker's word that a part of an earlier fit is gone ends every later fit",
        ROUNDS,
        "if self._stores.is_newest(message.version):",
        "if True:",
    ),
    _mistake(
        "the answer to a task that was given up counts",
        ROUNDS,
        "if task is None or task.attempt != reply.attempt:",
        "if task is None:",
    ),
    _mistake(
        "a response to another round counts in this one",
        ROUNDS,
        "running = current if current is not None and reply.round_index == current.index else None",
        "running = current",
    ),
    _mistake(
        "tasks of a worker that was lost stay open",
        ROUNDS,
        "            worker.open_tasks.clear()\n            if current",
        "            if current",
    ),
    _mistake(
        "a worker that is back is not asked again within the round",
        ROUNDS,
        "            self._place(worker, current)\n            self._ask(worker, current)\n            self._require_satisfiable(current)",
        "            self._place(worker, current)\n            self._require_satisfiable(current)",
    ),
    _mistake(
        "a worker that has no credit left is not asked once it has",
        ROUNDS,
        "        if current is not None and current.stage(worker.id) is Stage.READY:\n            self._ask(worker, current)\n\n    def lost",
        "\n    def lost",
    ),
    _mistake(
        "a worker that has got its arrays within a round is not asked",
        ROUNDS,
        "        if current is not None and current.stage(worker.id) is Stage.COMING and current.can_serve(worker):",
        "        if False:",
    ),
    _mistake(
        "a worker that says that it lacks arrays is believed to hold them",
        ROUNDS,
        "        worker.held.clear()\n        current.lose",
        "        current.lose",
    ),
    _mistake(
        "an answer after a lost one counts",
        ROUNDS,
        "if running is not None and isinstance(reply, Answer) and running.is_out_of_turn(worker.id, reply):",
        "if False:",
    ),
    _mistake(
        "no round waits for workers that may be back soon",
        ROUNDS,
        "self.hopes = self._would_do((*reachable, *back))",
        "self.hopes = False",
    ),
    _mistake(
        "a worker that is back at once owes acknowledgements for ever",
        MEMBERSHIP,
        "            worker.open_stores.clear()\n            self.listener.lost([worker])",
        "            self.listener.lost([worker])",
    ),
    _mistake(
        "a worker that is lost owes acknowledgements for ever",
        MEMBERSHIP,
        "            worker.open_stores.clear()\n            about",
        "            about",
    ),
    _mistake(
        "a worker may have one task too many",
        MEMBERSHIP,
        "return len(self.open_tasks) < MOST_OPEN_TASKS",
        "return len(self.open_tasks) <= MOST_OPEN_TASKS",
    ),
    _mistake(
        "the predecessor of a process is not forgotten",
        MEMBERSHIP,
        "            away_since_s, worker = worker.lost_s, None\n",
        "            away_since_s = worker.lost_s\n            self._routes[route] = worker\n",
    ),
    _mistake(
        "a worker that is behind gets the first of its arrays alone",
        STORES,
        "        if worker.behind:\n            self.restore(worker)",
        "        pass",
    ),
    _mistake(
        "a worker that comes back gets the share of another",
        STORES,
        "self._again[lacking[0]][worker.id])",
        "self._again[lacking[0]][0])",
    ),
    _mistake(
        "a straggler is never told that arrays were dropped",
        STORES,
        "worker.untidy |= worker.held.pop(name, None) is not None",
        "worker.held.pop(name, None)",
    ),
    _mistake(
        "a worker does not tell of the tasks that it dropped",
        LOOP,
        "            self._dropped.append(self._task)\n",
        "            pass\n",
    ),
    _mistake(
        "a worker forgets the task that came while it computed",
        LOOP,
        "        if self._task is task:\n            self._task = None",
        "        self._task = None",
    ),
    _mistake(
        "a worker computes with arrays of another version",
        LOOP,
        "stale = [name for name, version in task.operands if self._memory.get(name, (None,))[0] != version]",
        "stale = [name for name, version in task.operands if name not in self._memory]",
    ),
    _mistake(
        "arrays that a round leaves on the workers do not reach those that it does not ask",
        ROUNDS,
        "                self._stores.send(worker, stamp, array)\n            return",
        "                pass\n            return",
    ),
    _mistake(
        "a worker does not introduce itself again",
        LOOP,
        '            log.info("%s: connected to the master", self._name, extra={"event": "connected"})\n            self._send(self._us)',
        '            if not self._memory:\n                self._send(self._us)',
    ),
    _mistake(
        "a worker forgets what it is to keep",
        LOOP,
        "for name, held in self._memory.items() if name in names}",
        "for name, held in self._memory.items() if name not in names}",
    ),
    _mistake(
        "a round counts responses and does not ask which blocks they are of",
        ROUNDS,
        "            return self.until.satisfied(workers)",
        "            return len(workers) >= self.until.needed",
    ),
)  # fmt: skip


class _Planter(MetaPathFinder, SourceFileLoader):
    """Imports one module with another text."""

    def __init__(self, mistake: Mutant) -> None:
        self._module = mistake.file.removesuffix(".py").replace("/", ".")
        self._text = mistake.planted(REPOSITORY)
        SourceFileLoader.__init__(self, self._module, str(REPOSITORY / mistake.file))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._module:
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None
        spec.loader = self
        return spec

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._text, self.path, "exec")


def plant(mistake: Mutant) -> None:
    """Let the sources have a mistake; before they are imported."""
    planter = _Planter(mistake)
    assert planter._module not in sys.modules, "it is too late"
    sys.meta_path.insert(0, planter)
