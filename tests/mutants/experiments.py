"""Mistakes in plans, tables, reports and commands."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

EXPERIMENTS = (
    Mutant(
        "the 95 % interval is one of 80 %",
        "coded_als/planner/statistics.py",
        "stdtrit(totals.size - 1, 0.975)",
        "stdtrit(totals.size - 1, 0.9)",
        ("tests/experiments/sweep/test_sweep.py::test_the_interval_is_that_of_student_at_95_percent",),
    ),
    Mutant(
        "the plan's verdict is that of the mean alone",
        "coded_als/planner/choice.py",
        "if speedup.low is not None and speedup.low >= 1 + MARGIN:",
        "if speedup.value >= 1 + MARGIN:",
        ("tests/planner/test_plan.py",),
    ),
    Mutant(
        "the plan's verdict against a code is that of the mean alone",
        "coded_als/planner/choice.py",
        "is_below = speedup.high is not None and speedup.high < 1 + MARGIN",
        "is_below = speedup.value < 1 + MARGIN",
        ("tests/planner/test_plan.py",),
    ),
    Mutant(
        "pushed draws count as much as others",
        "coded_als/planner/timing.py",
        "    return np.asarray(np.exp(-logsumexp(densities, axis=0, b=shares[:, None])))",
        "    return np.ones(draws)",
        ("tests/planner/test_draws.py",),
    ),
    Mutant(
        "a recording that has not seen long delays says that coding does not pay",
        "coded_als/planner/choice.py",
        "return self.unseen > MOST_UNSEEN",
        "return False",
        ("tests/planner",),
    ),
    Mutant(
        "the intervals of means are not corrected for skewness",
        "coded_als/planner/statistics.py",
        "low, high = (value - error * unskewed(side, skewness) for side",
        "low, high = (value - error * side for side",
        ("tests/planner/test_statistics.py",),
    ),
    Mutant(
        "the rounds of a recording count as independent",
        "coded_als/planner/statistics.py",
        "effective = self.rounds / correlation_time(series)",
        "effective = float(self.rounds)",
        ("tests/planner/test_statistics.py",),
    ),
    Mutant(
        "the plan's master computes for nothing",
        "coded_als/planner/timing.py",
        "return self.machine.computing_s(scheme.master_operations(self.size))",
        "return 0.0",
        ("tests/planner/test_costs.py",),
    ),
    Mutant(
        "the plan's link is free",
        "coded_als/cluster/machine.py",
        "return messages * (self.message_s + message_bytes / self.bytes_per_second)",
        "return messages * self.message_s",
        ("tests/planner/test_costs.py",),
    ),
    Mutant(
        "the plan's D is computed for nothing",
        "coded_als/planner/schemes.py",
        "return computing_s + sharing_s(code, size.length, workers, machine)",
        "return sharing_s(code, size.length, workers, machine)",
        ("tests/planner/test_choice.py::test_sharing_d_costs_what_is_counted_by_hand",),
    ),
    Mutant(
        "the plan's shares are encoded for nothing",
        "coded_als/planner/schemes.py",
        "return encoding_s + machine.giving_s",
        "return machine.giving_s",
        ("tests/planner/test_choice.py::test_sharing_d_costs_what_is_counted_by_hand",),
    ),
    Mutant(
        "the plan's shares are sent for nothing",
        "coded_als/planner/schemes.py",
        "return encoding_s + machine.giving_s(workers, share_bytes)",
        "return encoding_s",
        ("tests/planner/test_costs.py",),
    ),
    Mutant(
        "Table I agrees with what is 60 % off",
        "coded_als/experiments/table1/findings.py",
        "AGREEMENT = 0.15",
        "AGREEMENT = 0.6",
        ("tests/experiments/table1/test_table1.py::test_agreement_with_the_paper_is_within_15_percent",),
    ),
    Mutant(
        "a report runs a cell",
        "coded_als/experiments/report/html_report.py",
        "    spec, rows = read_results(folder)\n",
        "    spec, rows = read_results(folder)\n"
        "    from coded_als.cluster.virtual import SimulatedCluster\n    SimulatedCluster(4)\n",
        ("tests/experiments/report/test_report.py::test_nothing_is_run_for_a_report",),
    ),
)

COMMANDS = (
    Mutant(
        "doctor finds fault with a sound machine",
        "coded_als/cli/doctor.py",
        "error < 1e-10",
        "error < 1e-30",
        ("tests/cli/test_commands.py::test_doctor_is_content_here",),
    ),
    Mutant(
        "doctor is content whatever it finds",
        "coded_als/cli/doctor.py",
        "if not all(finding.ok for finding in findings):",
        "if False:",
        ("tests/cli/test_commands.py::test_doctor_notices_wrong_products",),
    ),
    Mutant(
        "demo does not inject its stragglers",
        "coded_als/experiments/demonstration.py",
        "LocalCluster(WORKERS, delays=DELAYS, seed=seed)",
        "LocalCluster(WORKERS, seed=seed)",
        ("tests/experiments/test_demonstration.py",),
    ),
)
