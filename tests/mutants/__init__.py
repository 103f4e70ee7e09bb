"""Planted mistakes that the suite must notice: ``make mutants`` plants one after the other and names the survivors."""
