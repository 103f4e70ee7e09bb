"""Users and items that are similar to others: those whose factors make the smallest angles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coded_als.arrays import Floats, Integers
from coded_als.models.ids import Id, is_one
from coded_als.models.rankings import MEMORY_BYTES, Ranking, named
from coded_als.models.scoring import Scoring
from coded_als.models.top_n import recommend_batch, require_count


class Similarity(Scoring):
    """What is similar to what in a model with factors and ids."""

    def similar_items(
        self, items: Id | Iterable[Id], n: int = 10, *, memory_limit_bytes: int = MEMORY_BYTES
    ) -> Ranking:
        """The n items whose factors make the smallest angles with an item's, or with those of each of several.

        Parameters
        ----------
        items
            An original id, or several.
        n
            How many, at least 1; an item is not among its own.
        memory_limit_bytes
            Bound on temporary arrays, for many items.

        Returns
        -------
        Ids and cosines, (k,) for one, (items, n) for several; see `Ranking`. An item without ratings has no
        direction: its cosines are 0.

        Raises
        ------
        UsageError
            For an unknown item, n < 1, or a memory limit below one item's cosines.
        """
        self._require_fitted()
        require_count(n)
        places = self._item_lookup.indices(items)
        found = _similar(self.item_factors_, places, n, memory_limit_bytes)
        return named(self.item_ids, *found, one=is_one(items))

    def similar_users(
        self, users: Id | Iterable[Id], n: int = 10, *, memory_limit_bytes: int = MEMORY_BYTES
    ) -> Ranking:
        """The n users whose factors make the smallest angles with a user's, or with those of each of several.

        Parameters
        ----------
        users
            An original id, or several.
        n, memory_limit_bytes
            As in `similar_items`.

        Returns
        -------
        Ids and cosines, (k,) for one, (users, n) for several; see `Ranking`.

        Raises
        ------
        UsageError
            For an unknown user, n < 1, or a memory limit below one user's cosines.
        """
        self._require_fitted()
        require_count(n)
        places = self._user_lookup.indices(users)
        found = _similar(self.user_factors_, places, n, memory_limit_bytes)
        return named(self.user_ids, *found, one=is_one(users))


def _similar(factors: Floats, places: Integers, n: int, memory_limit_bytes: int) -> tuple[Integers, NDArray[Any]]:
    """Places and cosines of the n rows that make the smallest angles with each of some, themselves left out."""
    from coded_als.models.seen import pattern

    lengths = np.linalg.norm(factors, axis=1)
    # a row of zeros has no direction and is similar to nothing
    units = factors / np.where(lengths > 0, lengths, 1)[:, None]
    themselves = pattern((len(places), len(factors)), np.arange(len(places) + 1), places)
    return recommend_batch(
        units[places], units, min(n, len(units)), seen=themselves, memory_limit_bytes=memory_limit_bytes
    )
