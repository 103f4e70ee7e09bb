"""Mistakes in the clusters, the worker processes and their delays."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CLUSTERS = (
    Mutant(
        "in the calling process only responded tasks leave an event",
        "coded_als/cluster/inline.py",
        "        for event in open_tasks:\n            self._tell(replace(event, status=status))\n",
        "        del open_tasks, status\n",
        ("tests/master/test_cluster_laws.py::test_every_task_leaves_one_event_whatever_became_of_it",),
    ),
    Mutant(
        "a proxy does not know the machine behind it",
        "coded_als/cluster/scope.py",
        "return self._cluster.machine",
        "return Machine()",
        (
            "tests/master/test_cluster_laws.py::test_a_cluster_says_how_fast_it_is_and_whom_it_waits_for_through_proxies_too",
        ),
    ),
)

SLOW_WORK = (
    Mutant(
        "pieces are put where whole shares would have them",
        "coded_als/codes/pieces.py",
        "    for rows in layout.order(worker, height, 0, done):",
        "    for rows in layout.order(0, height, 0, done):",
        ("tests/codes/test_pieces.py",),
    ),
    Mutant(
        "a round in pieces counts answers and does not ask what they decode to",
        "coded_als/cluster/questions.py",
        "        return all(map(self.rule.satisfied, dict.fromkeys(self.layout.responded(done))))",
        "        return True",
        ("tests/cluster/test_questions.py",),
    ),
    Mutant(
        "the pieces of an attempt that was lost are taken for those of the next",
        "coded_als/master/rounds.py",
        "before = latest.rows if latest is not None and latest.attempt == reply.attempt else ()",
        "before = latest.rows if latest is not None else ()",
        ("tests/master/test_answers.py",),
    ),
    Mutant(
        "a slow worker computes as fast as any",
        "coded_als/worker/loop.py",
        "self._due += task.slowness * worked_s",
        "self._due += worked_s",
        ("tests/delays/test_slowing.py",),
    ),
    Mutant(
        "a replay takes slow computing for waiting",
        "coded_als/delays/traces.py",
        "return Trace(np.where(dead, np.inf, started), everyone.unseen, slowness)",
        "return Trace(np.where(dead, np.inf, completed), everyone.unseen)",
        ("tests/delays/test_slowing.py",),
    ),
)

PROCESSES = (
    Mutant(
        "unencrypted off loopback",
        "coded_als/master/remote.py",
        "if not is_on_this_machine(bind):",
        "if False:",
        ("tests/master/test_remote.py::test_others_than_this_machine_are_listened_to_with_keys_alone",),
    ),
    Mutant(
        "what workers are to keep lies in memory that the next round overwrites",
        "coded_als/master/rounds.py",
        "self._memory = None if round.keep else memory",
        "self._memory = memory",
        ("tests/master/test_payloads.py::test_what_workers_are_to_keep_is_sent",),
    ),
    Mutant(
        "payloads of earlier rounds fill the shared memory",
        "coded_als/master/rounds.py",
        "            self._memory.clear()\n",
        "            pass\n",
        ("tests/master/test_payloads.py::test_every_round_has_the_whole_memory",),
    ),
    Mutant(
        "large responses that were asked for are cut off",
        "coded_als/master/backlogs.py",
        "self._most_bytes = max(self._most_bytes, MOST_BYTES + RESPONSES * response_bytes)",
        "del response_bytes",
        ("tests/master/test_backlogs.py",),
    ),
    Mutant(
        "no garbage is collected in a long round",
        "coded_als/master/guards.py",
        "LONGEST_S = 1.0",
        "LONGEST_S = 1e9",
        ("tests/master/test_collector.py",),
    ),
    Mutant(
        "everybody writes to shared memory",
        "coded_als/wire/memory.py",
        "_SEALS = 0x1 | 0x2 | 0x4 | 0x10",
        "_SEALS = 0x1 | 0x2 | 0x4",
        ("tests/wire/test_memory.py::test_nobody_else_writes_to_it_or_takes_any_of_it_away",),
    ),
    Mutant(
        "a version in a message may be negative",
        "coded_als/wire/messages.py",
        "    Natural: _natural,",
        "    Natural: _whole,",
        ("tests/wire/test_messages.py::test_every_field_of_every_kind_is_checked",),
    ),
    Mutant(
        "True is a number in a message",
        "coded_als/wire/messages.py",
        "    if type(value) is not int or value < 0:",
        "    if not isinstance(value, int) or value < 0:",
        ("tests/wire/test_messages.py::test_every_field_of_every_kind_is_checked",),
    ),
    Mutant(
        "a worker speaks as a master",
        "coded_als/master/membership.py",
        "            if not isinstance(message, FromWorker):",
        "            if False:",
        ("tests/master/test_membership.py::test_a_worker_cannot_speak_as_a_master_or_as_another",),
    ),
    Mutant(
        "a response of another type counts",
        "coded_als/master/rounds.py",
        "if shapes == wanted and all(array.dtype == current.round.dtype for array in reply.arrays):",
        "if shapes == wanted:",
        ("tests/master/test_late_words.py",),
    ),
    Mutant(
        "whatever has the number of a descriptor is opened",
        "coded_als/wire/memory.py",
        'if not os.readlink(path).startswith(f"/memfd:{name} "):',
        "if not os.readlink(path):",
        ("tests/wire/test_memory.py::test_what_is_not_this_memory_is_not_opened",),
    ),
    Mutant(
        "a lost worker keeps its open stores",
        "coded_als/master/membership.py",
        "            worker.open_stores.clear()\n",
        "",
        ("tests/master/test_membership.py",),
    ),
    Mutant(
        "a refused task leaves what the worker is thought to hold",
        "coded_als/master/rounds.py",
        "        worker.held.clear()\n",
        "",
        ("tests/master/test_local.py::test_a_worker_refuses_operands_of_another_version",),
    ),
    Mutant(
        "a task that was dropped is waited for",
        "coded_als/master/rounds.py",
        "                current.drop(worker.id)\n                self._require_satisfiable(current)\n",
        "                current.drop(worker.id)\n",
        ("tests/master/test_late_words.py",),
    ),
    Mutant(
        "a task that is sent again is the same attempt",
        "coded_als/master/rounds.py",
        "else task.attempt + 1",
        "else task.attempt",
        ("tests/master/test_running.py",),
    ),
    Mutant(
        "a part that is over may go on",
        "coded_als/master/rounds.py",
        "        if stage not in _NEXT.get(standing.stage, ()):",
        "        if standing.stage in _NEXT and stage not in _NEXT[standing.stage]:",
        ("tests/master/test_running.py",),
    ),
    Mutant(
        "a worker that refuses for ever is asked for ever",
        "coded_als/master/rounds.py",
        "MOST_REFUSALS = 2",
        "MOST_REFUSALS = 10**9",
        ("tests/master/test_settling.py",),
    ),
    Mutant(
        "dead workers are hoped for",
        "coded_als/master/rounds.py",
        'current.require_satisfiable(worker.id for worker in lost if current.delays_s[worker.id] < float("inf"))',
        "current.require_satisfiable(worker.id for worker in lost)",
        ("tests/master/test_settling.py",),
    ),
    Mutant(
        "a round settles before those who can respond have done so",
        "coded_als/master/rounds.py",
        "settled = self.settled_for is not None and self.settled_for.issubset(self.complete)",
        "settled = self.settled_for is not None and len(self.complete) >= self.until.needed",
        ("tests/master/test_settling.py",),
    ),
    Mutant(
        "a reconnection is not treated as a loss",
        "coded_als/master/membership.py",
        "            self.listener.lost([worker])\n        worker.alive",
        "            pass\n        worker.alive",
        ("tests/master/test_membership.py",),
    ),
    Mutant(
        "what a worker was to load may be called absent after it was stored",
        "coded_als/master/stores.py",
        "        worker.loading.discard(version)\n",
        "",
        ("tests/master/test_late_words.py",),
    ),
    Mutant(
        "a late word of a part that is over ends the fit at hand",
        "coded_als/master/rounds.py",
        "if self._stores.is_newest(message.version):",
        "if message.version:",
        ("tests/master/test_late_words.py", "tests/master/test_machine.py"),
    ),
    Mutant(
        "closed memory keeps its mapping",
        "coded_als/wire/memory.py",
        "                self._map.close()\n",
        "                pass\n",
        ("tests/wire/test_memory.py",),
    ),
    Mutant(
        "parts of a master that lives are deleted",
        "coded_als/worker/forks.py",
        "        if is_deserted(endpoint):\n",
        "        if True:\n",
        ("tests/worker/test_forks.py",),
    ),
    Mutant(
        "a forked child keeps the lock of a checkpoint",
        "coded_als/models/checkpoint.py",
        "os.register_at_fork(after_in_child=_let_go_of_locks)\n",
        "",
        ("tests/models/test_checkpoint.py",),
    ),
    Mutant(
        "a worker never gives up a dead master",
        "coded_als/worker/loop.py",
        "if away_s > GIVE_UP_AFTER_S:",
        "if False:",
        ("tests/master/test_remote.py::test_a_worker_gives_up_a_master_that_died",),
    ),
)

DASK = (
    Mutant(
        "blocks that a Dask worker lacks are never made again",
        "coded_als/dask/planting.py",
        "            if not is_there:\n",
        "            if False:\n",
        ("tests/dask/test_changed_parts.py::test_blocks_are_made_again_as_they_were_or_not_at_all",),
    ),
    Mutant(
        "sums of ratings are always rounded to float32",
        "coded_als/dask/blocks.py",
        "    return short if bool((short == sums).all()) else sums\n",
        "    return short\n",
        ("tests/dask/test_dataset.py::test_sums_that_float32_does_not_hold_are_not_rounded",),
    ),
    Mutant(
        "part files that have changed are read as they are",
        "coded_als/dask/part_files.py",
        "if piece.digest not in (None, read.digest):",
        "if False:",
        ("tests/dask/test_changed_parts.py::test_what_was_read_is_what_counts_not_when_it_was_written",),
    ),
    Mutant(
        "a Dask worker that comes while blocks are made is promised none",
        "coded_als/dask/planting.py",
        "            starter.providers.append(self._provide)\n        return facts\n",
        "            pass\n        starter.providers.append(self._provide)\n        return facts\n",
        (
            "tests/dask/test_late_tasks.py"
            "::test_nobody_is_started_between_the_making_of_blocks_and_the_promise_to_make_them_again",
        ),
    ),
    Mutant(
        "a task that ends after its fit leaves a block",
        "coded_als/dask/planting.py",
        "if plugin is not None and plugin.is_over(number):",
        "if False:",
        ("tests/dask/test_late_tasks.py::test_a_task_that_ends_after_its_fit_leaves_no_block",),
    ),
)

DELAYS = (
    Mutant(
        "a time is a probability",
        "coded_als/delays/models.py",
        "Probability = Annotated[float, PROBABILITY]",
        "Probability = Annotated[float, SECONDS]",
        ("tests/delays/test_delays.py",),
    ),
    Mutant(
        "a delay model takes NaN",
        "coded_als/delays/models.py",
        "else 0 <= value <= self.most)",
        "else not value < 0)",
        ("tests/delays/test_delays.py",),
    ),
    Mutant(
        "a task that was never sent is a death",
        "coded_als/cluster/recording.py",
        "            rows.append((event.worker, event.round_index, 0.0, 1, 0.0, 1.0))\n",
        "            continue\n",
        ("tests/cluster/test_recording.py",),
    ),
    Mutant(
        "a task that a worker drops is recorded as finished",
        "coded_als/cluster/recording.py",
        'censored = event.status in ("superseded", "unfinished") or event.received_s is None',
        "censored = event.received_s is None",
        ("tests/cluster/test_recording.py",),
    ),
    Mutant(
        "what ends just above the end of a round counts for what was broken off there",
        "coded_als/delays/traces.py",
        "CLEAR = 1.25",
        "CLEAR = 1.0",
        ("tests/delays/test_delays.py",),
    ),
    Mutant(
        "1min is read as 6 s",
        "coded_als/delays/models.py",
        '"min": 60.0',
        '"min": 6.0',
        ("tests/delays/test_delays.py",),
    ),
    Mutant(
        "1us is read as 10 us",
        "coded_als/delays/models.py",
        '"us": 1e-6',
        '"us": 1e-5',
        ("tests/delays/test_delays.py",),
    ),
    Mutant(
        "normal delays below zero",
        "coded_als/delays/models.py",
        "np.inf, np.maximum(seconds, 0.0)), None",
        "np.inf, seconds), None",
        ("tests/delays/test_delays.py",),
    ),
    Mutant(
        "slow and dead pick the same workers",
        "coded_als/delays/models.py",
        "return np.where(_chosen(uniforms(-2), self.n), np.inf, 0.0), None",
        "return np.where(_chosen(uniforms(-1), self.n), np.inf, 0.0), None",
        ("tests/delays/test_delays.py",),
    ),
)
