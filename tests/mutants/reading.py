"""Mistakes in the readers of files."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_LAYOUTS = "tests/data/test_layouts.py"
READING = (
    Mutant(
        "names over numbers are data",
        "coded_als/data/dialect.py",
        "    if both and not numeric:\n        return True\n",
        "",
        (f"{_LAYOUTS}::test_names_say_which_column_is_which", f"{_LAYOUTS}::test_two_readings_are_refused_with_both"),
    ),
    Mutant(
        "a name may stand in another column's place",
        "coded_als/data/dialect.py",
        "        if known is not None and known != role:\n",
        "        if False:\n",
        (f"{_LAYOUTS}::test_two_readings_are_refused_with_both",),
    ),
    Mutant(
        "a pair around a decimal comma is one of user and item",
        "coded_als/data/dialect.py",
        "    if least == _PAIRS and best and rivals:\n",
        "    if False:\n",
        (f"{_LAYOUTS}::test_two_readings_are_refused_with_both",),
    ),
    Mutant(
        "delimiters within quotes delimit",
        "coded_als/data/fields.py",
        "is_end & outside, is_delimiter & outside",
        "is_end & outside, is_delimiter",
        (f"{_LAYOUTS}::test_quoted_fields_are_those_of_rfc_4180",),
    ),
    Mutant(
        "ids too long for 63 bits are told apart by fewer",
        "coded_als/data/ratings.py",
        "    if math.prod(spans.tolist()) >= 2**63:\n        return None\n",
        "",
        ("tests/data/test_text.py::test_distinct_texts_are_those_of_numpy",),
    ),
    Mutant(
        "two quotes stay two",
        "coded_als/data/fields.py",
        """text.replace(b'""', b'"')""",
        "text",
        (f"{_LAYOUTS}::test_quoted_fields_are_those_of_rfc_4180",),
    ),
    Mutant(
        "thousands are thousandths",
        "coded_als/data/fields.py",
        "_THOUSANDS.fullmatch(",
        "re.compile(b'x').fullmatch(",
        (f"{_LAYOUTS}::test_two_readings_are_refused_with_both",),
    ),
    Mutant(
        "Arrow's ids lose their zeros",
        "coded_als/data/fields.py",
        "        plain = bool((pc.binary_length(texts).to_numpy() == shortest).all())\n",
        "        plain = True\n",
        ("tests/data/test_engines.py::test_both_engines_have_the_same_columns",),
    ),
    Mutant(
        "a missing id among numbers is a name",
        "coded_als/data/text.py",
        "    return words[0] if others and all(other.isdigit() for other in others) else None\n",
        "    return None\n",
        (f"{_LAYOUTS}::test_two_readings_are_refused_with_both",),
    ),
    Mutant(
        "memory is not counted",
        "coded_als/data/matrix_files.py",
        "    if needed > (most := memory_limit()):\n",
        "    if (most := memory_limit()) < 0:\n",
        (f"{_LAYOUTS}::test_sizes_that_memory_does_not_hold_are_refused_by_counting",),
    ),
    Mutant(
        "the first row of a matrix that counts is lost",
        "coded_als/data/text.py",
        "    return not any(numbers) and not any(",
        "    return _counts(first) or not any(numbers) and not any(",
        ("tests/data/test_text.py::test_a_first_row_that_counts_is_a_row",),
    ),
    Mutant(
        "bytes of Parquet are their Python notation",
        "coded_als/dask/part_files.py",
        "        return _ids(_decoded(column, name, file), name, file)\n",
        "        pass\n",
        ("tests/dask/test_reading_parts.py::test_binary_columns_that_hold_text",),
    ),
)
