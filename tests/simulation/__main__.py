import sys
import time

from tests.simulation.baton import Violation
from tests.simulation.play import play
from tests.simulation.scenario import drawn

first, _, last = sys.argv[1].partition(":")
t = time.perf_counter()
n = 0
bad = 0
from collections import Counter

fired = Counter()
for seed in range(int(first), int(last or int(first) + 1)):
    s = drawn(seed)
    t1 = time.perf_counter()
    try:
        scene = play(s)
        fired[scene.fired] += 1
        if not last or "-v" in sys.argv:
            print(
                seed,
                s.case.parameters["code"],
                len(s.faults),
                scene.fired,
                scene.network.messages,
                scene.baton.switches,
                round(scene.baton.now_s, 2),
                f"{(time.perf_counter() - t1) * 1e3:.0f}ms",
            )
    except Violation as v:
        bad += 1
        print(
            "SEED",
            seed,
            str(v)[:300],
            s.case.parameters["code"],
            s.fits,
            s.parts,
            s.tells,
            s.return_within_s,
            s.delays,
            [(f.kind, f.worker, f.after_messages) for f in s.faults],
        )
        if not last:
            print("\n".join(v.trace[-int((sys.argv + ["60"])[2] if len(sys.argv) > 2 else 60) :]))
    n += 1
print(n, "runs", bad, "bad", f"{(time.perf_counter() - t) / n * 1e3:.1f} ms each", fired)
