"""Names of columns in files of ratings, as data sets and programs write them."""

from __future__ import annotations

import re
from typing import Literal

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
ROW_NAMES = {
    "index",
    "id",
    "idx",
    "row",
    "rowid",
    "rownumber",
    "rownum",
    "no",
    "nr",
    "key",
    "pk",
    "sno",
    "unnamed0",
}


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
    return name.strip() == "" or name.startswith("Unnamed:") or plain_word(name) in ROW_NAMES
