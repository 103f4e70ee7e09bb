"""Mistakes in the codes and in the coded algorithm."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CODES = (
    Mutant(
        "streaming holds all shares",
        "coded_als/codes/product.py",
        "batch = max(1, int(bytes_at_once / max(1, planes * math.prod(shape) * matrix.itemsize)))",
        "batch = max(1, len(generator))",
        ("tests/codes/test_product_codes.py::test_streaming_holds_few_shares",),
    ),
    Mutant(
        "copies of a block on adjacent workers",
        "coded_als/codes/replication.py",
        "return np.arange(workers) % blocks",
        "return np.minimum(np.arange(workers) // (workers // blocks), blocks - 1)",
        ("tests/codes/test_product_codes.py::test_losing_neighbours_costs_no_block_but_its_copies",),
    ),
    Mutant(
        "operation counts of products without a code are doubled",
        "coded_als/codes/product.py",
        "return float(planes * right_planes * rows * inner * width)",
        "return float(planes * right_planes * rows * inner * width) * (1 if planes == 2 else 2)",
        ("tests/codes/test_product_codes.py::test_shapes_and_operations_are_those_that_occur",),
    ),
)

ALGORITHM = (
    Mutant(
        "no straggler reserve",
        "coded_als/codes/family.py",
        "STRAGGLER_RESERVE = 0.25",
        "STRAGGLER_RESERVE = 0.0",
        ("tests/codes/test_families.py::test_what_is_left_open_leaves_a_quarter_of_the_workers",),
    ),
    Mutant(
        "tolerance on the circle is 1e-6",
        "coded_als/codes/entangled.py",
        'return 1e-12 if self.points == "circle" else 1e-8',
        'return 1e-6 if self.points == "circle" else 1e-8',
        ("tests/als/test_promises.py::test_products_on_the_circle_are_exact_to_1e_12_unless_asked_otherwise",),
    ),
    Mutant(
        "tolerance of systematic codes is 1e-6",
        "coded_als/codes/systematic.py",
        "        return 1e-11\n",
        "        return 1e-6\n",
        ("tests/als/test_promises.py::test_products_on_the_circle_are_exact_to_1e_12_unless_asked_otherwise",),
    ),
    Mutant(
        "precomputation='auto' is always local",
        "coded_als/als/spread.py",
        'return Spread(formed, "local" if sooner_at_the_master(extent, formed, workers, machine) else "coded")',
        'return Spread(formed, "local")',
        ("tests/als/test_promises.py",),
    ),
    Mutant(
        "CodedOperator ignores its tolerance",
        "coded_als/als/operator.py",
        "tolerance = chosen.tolerance if decoding_tolerance is None else decoding_tolerance",
        "tolerance = chosen.tolerance",
        ("tests/als/test_promises.py::test_an_operator_keeps_to_its_tolerance_and_waits_for_no_more",),
    ),
    Mutant(
        "history_ has an error estimate of 0",
        "coded_als/als/history.py",
        "error = self.error_estimate",
        "error = 0.0",
        ("tests/als/test_promises.py::test_the_history_tells_the_errors_of_its_rounds",),
    ),
    Mutant(
        "the rate of the residuals is believed without proof",
        "coded_als/als/convergence.py",
        "if verified.remaining <= self.tolerance:",
        "if hoped.remaining <= self.tolerance:",
        ("tests/als/test_convergence.py",),
    ),
    Mutant(
        "a rank above that of the data is let through",
        "coded_als/als/factors.py",
        "if regularization == 0 and not sigma[rank - 1] > floor:",
        "if False:",
        ("tests/als/test_coded_als.py::test_rank_above_the_rank_of_the_matrix_is_refused",),
    ),
    Mutant(
        "a rank above that of the data is let through by the paper's update",
        "coded_als/als/updates.py",
        "if not smallest > floor_of(system.shape[0], error):",
        "if False:",
        ("tests/als/test_updates.py",),
    ),
    Mutant(
        "the adjoint of an operator is the operator",
        "coded_als/als/operator.py",
        "return self._product if self._symmetric else self._of_transpose()",
        "return self._product",
        ("tests/als/test_operator.py::test_the_adjoint_multiplies_with_the_transpose",),
    ),
    Mutant(
        "a scheme without a code must be the fastest to be taken",
        "coded_als/planner/choice.py",
        "MARGIN = 0.05",
        "MARGIN = 0.0",
        ("tests/planner/test_choice.py::test_plain_blocks_are_taken_within_a_twentieth_and_coarse_codes_never",),
    ),
    Mutant(
        "codes that decode coarsely are chosen",
        "coded_als/planner/choice.py",
        "ACCURATE = 1e-10",
        "ACCURATE = 1e-3",
        ("tests/planner/test_choice.py::test_plain_blocks_are_taken_within_a_twentieth_and_coarse_codes_never",),
    ),
    Mutant(
        "coarse products are believed",
        "coded_als/als/convergence.py",
        "TRUSTED = 1e-10",
        "TRUSTED = 1e10",
        ("tests/als/test_coarse_products.py::test_products_beyond_what_is_trusted_are_checked_on_the_data",),
    ),
    Mutant(
        "images are never computed anew",
        "coded_als/als/convergence.py",
        "if self._idle < PATIENCE * (1 + self._renewals):",
        "if True:",
        ("tests/als/test_coarse_products.py::test_images_are_computed_anew_where_residuals_stagnate",),
    ),
    Mutant(
        "operators settle for the best there is",
        "coded_als/als/products.py",
        "        at_worst: float = 0.0,\n",
        "        at_worst: float = 0.01,\n",
        ("tests/als/test_coarse_products.py::test_operators_bare_rounds_and_the_papers_protocol_still_refuse",),
    ),
    Mutant(
        "the choice within a tie depends on the basis",
        "coded_als/als/ties.py",
        "return np.asarray(space @ (turned[:, :fewer] if fewer == count else turned[:, fewer:]))",
        "return np.asarray(space[:, :count])",
        ("tests/als/test_ties.py",),
    ),
    Mutant(
        "a choice among values that are equal to rounding only may cost anything",
        "coded_als/als/ties.py",
        "if not whole or lost > spare:",
        "if not whole:",
        ("tests/als/test_convergence.py::test_what_float64_cannot_decide_is_said",),
    ),
    Mutant(
        "a tie is whole without a probe",
        "coded_als/als/ties.py",
        "whole = missed is None",
        "whole = True",
        ("tests/als/test_ties.py::test_no_direction_of_a_tie_that_fills_most_of_the_space_is_missed",),
    ),
    Mutant(
        "ties are never seen",
        "coded_als/als/estimator.py",
        "if stopping.may_be_tied:",
        "if False:",
        ("tests/als/test_ties.py",),
    ),
    Mutant(
        "copies tolerate what their best pattern survives",
        "coded_als/codes/survivors.py",
        "always = workers - min(map(len, code.groups)) + 1",
        "always = at_best",
        ("tests/codes/test_survivors.py",),
    ),
    Mutant(
        "a search that found nothing bad is a proof",
        "coded_als/codes/survivors.py",
        "return Enough(workers, at_best, size, looked, found.exhaustive, found.worst)",
        "return Enough(workers, at_best, size, looked, True, found.worst)",
        ("tests/codes/test_survivors.py",),
    ),
)
