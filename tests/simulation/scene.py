"""The processes of a run, and the faults that come over them."""

from __future__ import annotations

import itertools
import random
from typing import Any

from numpy.typing import NDArray

from coded_als.worker.loop import Worker
from tests.simulation.baton import Baton, VirtualClock
from tests.simulation.network import HANDSHAKE_S, Connection, Network
from tests.simulation.scenario import Fault, Scenario

JOB = b"job"
# Seconds of a panel's work at the mean, after which all faults are over and everybody is back, and from a process's
# end to the start of the next, by its supervisor.
PANEL_S, HEALED_S, RESTART_S = 2e-3, 5.0, 0.1


class Folder:
    """The parts that lie on the workers' machine."""

    def __init__(self) -> None:
        self.arrays: dict[int, NDArray[Any]] = {}

    def read(self, number: int) -> NDArray[Any]:
        if number not in self.arrays:
            raise FileNotFoundError(f"there is no part {number}")
        return self.arrays[number]


class Process:
    """One life of a worker's process."""

    def __init__(self, scene: Scene, number: int, life: int) -> None:
        self.scene, self.number = scene, number
        self.connection = end = Connection(scene.network, number, life, scene.scenario.tells)
        self.worker = Worker(end.socket, number, JOB, life, monitor=end.monitor, parts=scene.folder, clock=scene.clock)
        self.actor = end.actor = scene.baton.start(end.name, self._serve)
        scene.baton.after(HANDSHAKE_S * (1 + scene.draw.random()), end.connect)

    def _serve(self) -> None:
        self.worker.serve()
        self.connection.end(HANDSHAKE_S)
        if not self.scene.is_closing:  # it was turned away
            self.scene.baton.after(2 * RESTART_S, lambda: self.scene.start(self.number))

    def befall(self, fault: Fault) -> None:
        """Let a fault come over it."""
        end, baton, seconds = self.connection, self.scene.baton, fault.seconds
        match fault.kind:
            case "cut":
                end.lose(seconds[1], seconds[2], seconds[0])
            case "hold":  # one way, the other, or both
                if seconds[1] < 2 * seconds[2]:
                    end.held_up_s = max(end.held_up_s, baton.now_s + seconds[0])
                if seconds[2] < 2 * seconds[1]:
                    end.held_down_s = max(end.held_down_s, baton.now_s + seconds[0])
            case "crash":
                baton.kill(self.actor)
                end.end(min(seconds[1], RESTART_S / 2))
                baton.after(RESTART_S + seconds[0], lambda: self.scene.start(self.number))
            case "stop":
                baton.stop(self.actor, seconds[0])
            case "slow":
                self.actor.slowness = 30.0
                baton.after(seconds[0], lambda: setattr(self.actor, "slowness", 1.0))
            case "repeat":
                end.repeats += 1 + int(20 * seconds[1])
            case "lie":
                self.scene.liars.add(self.number)


class Scene:
    """The network, the processes on it, and the faults.

    Parameters
    ----------
    scenario
        The course of the run.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.draw = scenario, random.Random(f"work {scenario.seed}")
        self.baton = Baton(scenario.seed, scenario.in_order)
        self.clock = VirtualClock(self.baton, lambda: self.draw.expovariate(1 / PANEL_S))
        self.network = Network(self.baton, scenario.seed)
        self.folder, self.is_closing, self.befell = Folder(), False, list[Fault]()
        self.processes: dict[int, Process] = {}
        self.liars = self.network.liars
        self._lives = itertools.count(1)
        self._faults = list(scenario.faults)
        self.network.passed = self._see_faults

    def start(self, number: int) -> None:
        """Start the process of a worker, unless one runs."""
        there = self.processes.get(number)
        if not self.is_closing and (there is None or there.connection.is_over):
            self.processes[number] = Process(self, number, next(self._lives))

    def standing(self) -> dict[int, tuple[int, int]]:
        """The connection that each worker has now."""
        ends = {number: process.connection for number, process in self.processes.items()}
        return {number: (end.life, end.epoch) for number, end in ends.items() if end.is_up}

    def heal(self) -> None:
        """No more faults begin; wait until those that have begun are over."""
        self._faults.clear()
        self.liars.clear()
        self.baton.wait(HEALED_S)

    def _see_faults(self) -> None:
        while self._faults and self._faults[0].after_messages <= self.network.messages:
            fault = self._faults.pop(0)
            self.baton.after(0.0, lambda fault=fault: self._befall(fault))

    def _befall(self, fault: Fault) -> None:
        process = self.processes.get(fault.worker)
        if process is not None and not process.connection.is_over:
            self.baton.note(lambda: f"FAULT {fault.kind} of worker {fault.worker}")
            self.befell.append(fault)
            process.befall(fault)
