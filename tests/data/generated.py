"""Generated files of ratings, as people and programs write them, and the ratings that were written."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = {
    "user": ("userId", "user_id", "User-ID", "reviewerID", "visitorid", "uid", "CustomerID", "user"),
    "item": ("movieId", "item", "ISBN", "asin", "parent_asin", "business_id", "itemid", "track_id"),
    "rating": ("rating", "Book-Rating", "overall", "stars", "score", "plays"),
    "time": ("timestamp", "unixReviewTime", "date", "ts"),
}
UNKNOWN = {"user": "who", "item": "what", "rating": "how", "time": "when"}
TEXTS = (
    "Doe, Jane",
    'say "no"',
    "two\nlines",
    "Amélie",
    "a;b",
    "x|y",
    "Das Boot",
    "tab\there",
    "plain",
    "ann",
    "Zoë",
    "5",
    "NA",
)
COMPRESSIONS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
DAMAGES = ("a field less", "a field more", "a word for the rating", "an open quote", "no user")


@dataclass
class Written:
    """A file, and what was written into it.

    Parameters
    ----------
    options
        What a user would say of it.
    rows
        User, item, rating and time of each line; the last two None where there are none.
    damage
        Of one line, None for a sound file: a damaged one must be refused.
    told
        What is special about it, for messages.
    """

    options: dict[str, Any]
    rows: list[tuple[str, str, float | None, int | None]]
    damage: str | None
    told: dict[str, Any] = field(default_factory=dict)
    paths: list[Path] = field(default_factory=list)


def write(seed: int, folder: Path, parts: int = 1) -> Written:
    """A file, or part files, of ratings by a seed."""
    rng = random.Random(seed)
    has_rating, named = rng.random() < 0.85, rng.random() < 0.75
    roles = ["user", "item"] + (["rating"] if has_rating else [])
    if has_rating and rng.random() < 0.5:
        roles.append("time")
    delimiter = rng.choice([",", ",", ",", "\t", ";", "|", "::", " "])
    rows = _rows(rng, roles, delimiter)
    known = named and rng.random() < 0.85
    order = list(roles)
    if known:
        rng.shuffle(order)
    names = [rng.choice(NAMES[role]) if known else UNKNOWN[role] for role in order]
    index = named and rng.random() < 0.3
    extra = known and has_rating and rng.random() < 0.3 and delimiter not in ("::", " ")
    decimal = delimiter != "," and rng.random() < 0.4
    lines = [
        [_shown(dict(zip(("user", "item", "rating", "time"), row, strict=True))[role], decimal) for role in order]
        for row in rows
    ]
    if extra:
        place = rng.randrange(len(order) + 1)
        names.insert(place, "title")
        for line in lines:
            line.insert(place, rng.choice(TEXTS))
    if index:
        names.insert(
            0,
            ""
            if delimiter not in ("::", " ") and rng.random() < 0.6
            else "Unnamed: 0"
            if known and delimiter != " "
            else "",
        )
        if names[0] == "" and delimiter == " ":
            names[0] = '""'
        for number, line in enumerate(lines):
            line.insert(0, str(number))
    damage = rng.choice(DAMAGES) if rng.random() < 0.3 else None
    if damage is not None:
        _damage(rng, lines, damage, names, order, has_rating)
    told = {
        "seed": seed,
        "delimiter": delimiter,
        "names": names if named else None,
        "index": index,
        "decimal": decimal,
        "damage": damage,
    }
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    line_end, blank = rng.choice(["\n", "\n", "\r\n"]), rng.random() < 0.25
    encoding = rng.choice(["utf-8"] * 5 + ["utf-8-sig", "utf-16", "latin-1"])
    suffix = rng.choice(["", "", "", ".gz", ".bz2", ".xz"])
    kind = rng.choice([".csv", ".CSV", ".txt", ".tsv"])
    told |= {"encoding": encoding, "suffix": suffix, "quoting": quoting, "blank": blank}
    options: dict[str, Any] = {"encoding": "latin-1"} if encoding == "latin-1" else {}
    written = Written(options, rows, damage, told)
    size = -(-len(lines) // parts)
    for part in range(parts):
        chosen = ([names] if named else []) + lines[part * size : (part + 1) * size]
        text = _text(chosen, delimiter, quoting, line_end, damage == "an open quote" and part == parts - 1)
        if blank:
            text = _with_blanks(rng, text, line_end)
        if rng.random() < 0.2:
            text = text.removesuffix(line_end)
        path = folder / f"part-{part}{kind}{suffix.upper() if kind == '.CSV' else suffix}"
        path.write_bytes(COMPRESSIONS[suffix](text.encode(encoding)))
        written.paths.append(path)
    return written


def _rows(rng: random.Random, roles: list[str], delimiter: str) -> list[tuple[str, str, float | None, int | None]]:
    texts = [text for text in TEXTS if delimiter not in ("::", " ") or not set(text) & set(' \n\t":')]
    style = rng.choice(["numbers", "numbers", "text", "codes"])
    users = {"numbers": list(range(1, 9)), "text": texts, "codes": [f"A{number:03}X" for number in range(9)]}[style]
    items = texts if rng.random() < 0.3 else [7 * number + 100 for number in range(9)]
    pairs = [(str(user), str(item)) for user in users for item in items]
    chosen = rng.sample(pairs, min(len(pairs), rng.randrange(6, 25)))
    return [
        (
            user,
            item,
            rng.randrange(2, 11) / 2 if "rating" in roles else None,
            964982703 + rng.randrange(10**6) if "time" in roles else None,
        )
        for user, item in chosen
    ]


def _shown(value: str | float | None, decimal: bool) -> str:
    if isinstance(value, float):
        shown = f"{value:g}" if value == int(value) else f"{value:.1f}"
        return shown.replace(".", ",") if decimal else shown
    return str(value)


def _damage(
    rng: random.Random, lines: list[list[str]], damage: str, names: list[str], order: list[str], has_rating: bool
) -> None:
    line = lines[rng.randrange(1, len(lines))]
    shift = len(line) - len(order)
    if damage == "a field less":
        line.pop()
    elif damage == "a field more" or (damage == "a word for the rating" and not has_rating):
        line.append("extra")
    elif damage == "a word for the rating":
        place = next(number for number, name in enumerate(names) if name in (*NAMES["rating"], UNKNOWN["rating"]))
        line[place] = "good"
    elif damage == "no user":
        place = next(number for number, name in enumerate(names) if name in (*NAMES["user"], UNKNOWN["user"]))
        line[place] = ""
    assert shift >= 0


def _text(lines: list[list[str]], delimiter: str, quoting: int, line_end: str, open_quote: bool) -> str:
    if len(delimiter) > 1 or delimiter == " ":
        text = "".join(delimiter.join(field or '""' for field in line) + line_end for line in lines)
    else:
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=line_end).writerows(lines)  # type: ignore[arg-type]
        text = out.getvalue()
    if open_quote:
        before = text.rfind(line_end, 0, -len(line_end))
        cut = 0 if before < 0 else before + len(line_end)
        rest = text[cut:]
        text = text[:cut] + '"' + (rest[1:] if rest[0] == '"' else rest).replace('"', "")
    return text


def _with_blanks(rng: random.Random, text: str, line_end: str) -> str:
    """Empty lines before, between where no field goes on, and after."""
    if '"' in text:
        return line_end + text + line_end
    lines = text.split(line_end)
    for _ in range(2):
        lines.insert(rng.randrange(len(lines)), rng.choice(["", "  "]))
    return line_end.join(lines)
