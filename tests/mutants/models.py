"""Mistakes in the sparse models and the splits."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

MODELS = (
    Mutant(
        "the unobserved weight is five times as large",
        "coded_als/baselines/alternating.py",
        "return 0.1 if self.unobserved_weight is None else self.unobserved_weight",
        "return 5 * (0.1 if self.unobserved_weight is None else self.unobserved_weight)",
        ("tests/baselines/test_als.py::test_the_objective_never_rises_and_is_exact",),
    ),
    Mutant(
        "SGD keeps the random start of unrated users",
        "coded_als/baselines/stochastic.py",
        "        users[np.diff(matrix.indptr) == 0] = 0\n",
        "",
        ("tests/baselines/test_models.py::test_sgd_knows_nothing_of_what_nobody_rated",),
    ),
    Mutant(
        "SGD keeps the random start of unrated items",
        "coded_als/baselines/stochastic.py",
        "        items[np.bincount(matrix.indices, minlength=len(items)) == 0] = 0\n",
        "",
        ("tests/baselines/test_models.py::test_sgd_knows_nothing_of_what_nobody_rated",),
    ),
    Mutant(
        "a diverged ranking model is published",
        "coded_als/baselines/ranking.py",
        "np.array(last if last <= 2 * least else np.inf)",
        "np.array(last)",
        ("tests/baselines/test_models.py::test_divergence_is_an_error_and_not_a_model",),
    ),
    Mutant(
        "drift is a length and not a part of one",
        "coded_als/baselines/model.py",
        "np.divide(gaps, lengths, out",
        "np.divide(gaps, 1.0, out",
        ("tests/baselines/test_models.py::test_drift_is_relative_to_the_exact_rows",),
    ),
    Mutant(
        "leave_k_out leaves nothing out",
        "coded_als/data/splits.py",
        "    test[order[place >= np.repeat(counts, counts) - k]] = True\n",
        "",
        ("tests/data/test_splits.py::test_leave_k_out",),
    ),
    Mutant(
        "an unknown user has the scores of the last one",
        "coded_als/models/recommending.py",
        "outside = np.flatnonzero((places < 0) | (places >= count))",
        "outside = np.flatnonzero(places >= count)",
        ("tests/models/test_pairs.py::test_an_unknown_user_or_item_has_no_score",),
    ),
    Mutant(
        "one id is taken apart into its characters",
        "coded_als/models/ids.py",
        "return isinstance(ids, (str, bytes)) or not np.iterable(ids)",
        "return not np.iterable(ids)",
        ("tests/models/test_pairs.py::test_one_id_is_not_taken_apart_into_its_characters",),
    ),
    Mutant(
        "zeros that fill up blocks are ratings",
        "coded_als/models/rating_matrix.py",
        "        rows.eliminate_zeros()\n",
        "",
        ("tests/models/test_rating_matrix.py::test_zeros_that_fill_up_blocks_and_diagonals_are_no_ratings",),
    ),
    Mutant(
        "a set may name columns",
        "coded_als/data/tables.py",
        "if isinstance(columns, (Set, Mapping)):",
        "if False:",
        ("tests/data/test_tables.py::test_columns_without_an_order_or_of_two_meanings_are_refused",),
    ),
    Mutant(
        "nanoseconds of times are dropped",
        "coded_als/data/tables.py",
        'return counted if unit == "us" or (counted % 1000).any() else counted // 1000',
        'return counted if unit == "us" else counted // 1000',
        ("tests/data/test_tables.py::test_times_of_any_unit_are_microseconds_and_nanoseconds_are_kept",),
    ),
    Mutant(
        "ids of very different lengths are widened to the longest",
        "coded_als/models/id_text.py",
        "    if fixed <= max(_SMALL_BYTES, _WASTE * sum(map(len, texts))):\n",
        "    if True:\n",
        ("tests/models/test_id_text.py::test_the_form_depends_on_what_a_fixed_width_would_take",),
    ),
    Mutant(
        "the precision of lists longer than the catalogue is that of the catalogue",
        "coded_als/evaluation/rankings.py",
        "float(lists.precision().mean()) * width / k",
        "float(lists.precision().mean())",
        ("tests/evaluation/test_ties.py::test_lists_longer_than_the_catalogue_have_empty_places",),
    ),
    Mutant(
        "users without training ratings are ranked",
        "coded_als/evaluation/rankings.py",
        "return np.asarray((rows >= 0) & (np.diff(model.seen_.indptr)[rows] > 0))",
        "return np.asarray(rows >= 0)",
        ("tests/evaluation/test_ties.py::test_users_without_training_ratings_are_left_out_and_counted",),
    ),
    Mutant(
        "equal scores at the end of a list go to the lower columns",
        "coded_als/evaluation/expected.py",
        "    sizes[last[full]] = level.sum(axis=1)[full]\n",
        "",
        ("tests/evaluation/test_ties.py::test_figures_are_means_over_all_orders_of_equal_scores",),
    ),
    Mutant(
        "equal items are scored apart",
        "coded_als/evaluation/expected.py",
        "return table[first], copies.ravel()",
        "return table, np.arange(len(table))",
        (
            "tests/evaluation/test_ties.py::test_items_with_equal_factors_are_tied_whatever_rounding_does_to_their_scores",
        ),
    ),
    Mutant(
        "the largest error is the best",
        "coded_als/evaluation/search.py",
        "sign = -1.0 if metric in ERRORS else 1.0",
        "sign = 1.0",
        ("tests/evaluation/test_search.py",),
    ),
    Mutant(
        "candidates are fitted to the validation part too",
        "coded_als/evaluation/search.py",
        "parameters, kept, held_out, metric, k",
        "parameters, train, held_out, metric, k",
        ("tests/evaluation/test_search.py",),
    ),
)
