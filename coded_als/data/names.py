"""Names of columns in files of ratings, as data sets and programs write them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from coded_als.errors import UsageError

Role = Literal["user", "item", "rating", "time"]
ROLES: tuple[Role, ...] = ("user", "item", "rating", "time")

_PEOPLE = (
    "user usr visitor customer cust member reviewer person account client listener subscriber reader viewer player"
)
_THINGS = (
    "item movie film book isbn product prod track song artist album business asin parentasin game anime joke article news "
    "video show series place venue restaurant recipe poi sku"
)
_RATINGS = (
    "rating ratings score scores star stars overall overallrating bookrating userrating itemrating movierating ratingvalue "
    "reviewrating reviewscore reviewoverall count counts plays playcount listencount listens weight value freq frequency "
    "quantity r preference pref strength"
)
_TIMES = (
    "time times timestamp ts date datetime unixtime unixreviewtime reviewtime eventtime ratingtime ratingtimestamp "
    "ratingdate reviewdate createdat created createddate dateadded unixtimestamp t tstamp"
)
# a name of one of these, where no other name is known, may be the number of the row
_ROW_NAMES = {"index", "id", "idx", "row", "rowid", "rownumber", "rownum", "no", "nr", "key", "pk", "sno", "unnamed0"}


def _with_ids(words: str) -> set[str]:
    return {word + ending for word in words.split() for ending in ("", "s", "id", "ids", "no", "idx", "index", "code")}


_ROLE_OF: dict[str, Role] = {
    **dict.fromkeys((*_with_ids(_PEOPLE), "uid", "u", "userkey", "username"), "user"),
    **dict.fromkeys((*_with_ids(_THINGS), "iid", "i", "mid", "itemkey", "itemname"), "item"),
    **dict.fromkeys(_RATINGS.split(), "rating"),
    **dict.fromkeys(_TIMES.split(), "time"),
}


def plain_word(name: str) -> str:
    """A name in lower case without marks and without the type that some files put after a colon."""
    return re.sub(r"[^0-9a-z]", "", name.split(":")[0].lower())


def role_of(name: str) -> Role | None:
    """The column that a name stands for, or None where it is not known."""
    return _ROLE_OF.get(plain_word(name))


def may_number_rows(name: str) -> bool:
    """Whether a column of this name may hold the numbers of the rows."""
    return name.strip() == "" or name.startswith("Unnamed:") or plain_word(name) in _ROW_NAMES


def named_columns(known: Sequence[str], given: tuple[str, ...] | None, source: str) -> tuple[str, ...] | None:
    """The names of the columns of users, items and perhaps ratings and times; None where nothing says which."""
    if given is not None:
        if set(given) <= set(known) or not all(name.isdigit() for name in given):
            return given
        if not all(1 <= int(name) <= len(known) for name in given):
            raise UsageError(
                f"columns must be among the {len(known)} of {source}, from 1; got {', '.join(given)}. Correct --columns."
            )
        return tuple(known[int(name) - 1] for name in given)
    places = {role: [name for name in known if role_of(name) == role] for role in ROLES}
    others = [name for name in known if role_of(name) is None and not may_number_rows(name)]
    if any(len(names) > 1 for names in places.values()) or not (places["user"] and places["item"]):
        return None
    if not places["rating"] and others:
        return None
    wanted = ROLES if places["rating"] else ROLES[:2]
    return tuple(places[role][0] for role in wanted if places[role])
