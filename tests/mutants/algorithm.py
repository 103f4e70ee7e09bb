"""Mistakes in the codes and in the coded algorithm."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CODES = (
    Mutant(
        "streaming holds all shares",
        "coded_als/codes/encoding.py",
        "batch = max(1, int(bytes_at_once / max(1, planes * math.prod(shape) * matrix.itemsize)))",
        "batch = max(1, len(generator))",
        ("tests/codes/test_product_codes.py::test_streaming_holds_few_shares",),
    ),
    Mutant(
        "copies of a block on adjacent workers",
        "coded_als/codes/replication.py",
        "self._block_of = np.arange(workers) % blocks",
        "self._block_of = np.minimum(np.arange(workers) // copies, blocks - 1)",
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
        "coded_als/codes/entangled_family.py",
        'return 1e-12 if self.points == "circle" else 1e-8',
        'return 1e-6 if self.points == "circle" else 1e-8',
        ("tests/als/test_promises.py::test_products_on_the_circle_are_exact_to_1e_12_unless_asked_otherwise",),
    ),
    Mutant(
        "tolerance of systematic codes is 1e-6",
        "coded_als/codes/systematic_family.py",
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
        "error_estimate=self.error_estimate,",
        "error_estimate=0.0,",
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
)
