"""charrnn eval --cache N --show: where the model looked back from each character."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.json_lines import write_json
from charrnn.terminal import many, one_line

if TYPE_CHECKING:
    from charrnn.insight.lookback import Characters, CharacterSeen, Glance
    from charrnn.scoring.evaluation import How
    from charrnn.scoring.text import Text
    from charrnn.texts import OpenedRun

SHOWN_CHARS = 1000  # rows for people, and characters that a picture may be about
PICTURE_ROWS = 48  # the last characters that were predicted
PICTURE_COLUMNS = 120  # the last places that they looked back at
LEAST_SHARE = 0.005  # of a place that the table names
LOOKED_AT = "looked back at"
COLUMNS = ["place", "char", "bits", "gain", "cache", LOOKED_AT, "away", "share"]
FACTS = (
    ("gain", "bits that the cache saves; below 0 it costs them"),
    ("cache", "share of the probability that the cache has; the model has the rest"),
    (LOOKED_AT, "the place with the largest share; in brackets, what followed there"),
    ("share", "of the probability, given to what followed at that place"),
)


def look_back_and_show(
    run: OpenedRun, text: Text, how: How, *, plot: Path | None, json: bool
) -> None:
    """Print or draw where the cache looked as it read a text. Raises SettingsError."""
    from charrnn.insight.lookback import Characters, glances, in_words
    from charrnn.scoring.evaluation import protocol_of

    protocol_of(run.model, how)  # refuses models and protocols without a cache
    read = Characters(run.model.vocabulary, text.ids)
    seen = glances(run.model, text.ids, how.cache, how.device)
    if json and plot is None:
        return write_json(_as_dict(in_words(glance, read)) for glance in seen)
    shown = list(itertools.islice(seen, SHOWN_CHARS))
    rest = seen
    if plot is not None:
        _draw(plot, shown, read, run)
    characters = [in_words(glance, read) for glance in shown]
    if json:
        later = (in_words(glance, read) for glance in rest)
        return write_json(map(_as_dict, itertools.chain(characters, later)))
    _print(characters, next(rest, None) is not None)


def _as_dict(seen: CharacterSeen) -> dict[str, object]:
    return seen._asdict() | {"places": [place._asdict() for place in seen.places]}


def _score(bits: float) -> str:
    return f"{bits:.4f} bits/char ({bits * math.log(2):.4f} nats)"


def _print(characters: Sequence[CharacterSeen], goes_on: bool) -> None:
    from charrnn.tables import print_facts, print_table

    print_table(
        "Where the model looked back before each character",
        COLUMNS,
        [_row(seen) for seen in characters],
        excerpts=LOOKED_AT,
    )
    count = len(characters)
    alone = sum(seen.bits for seen in characters) / count
    cached = sum(seen.cached_bits for seen in characters) / count
    share = sum(seen.cache_share for seen in characters) / count
    fact = f"{_score(alone)} without the cache, {_score(cached)} with it; "
    fact += f"it has {share:.1%} of the probability"
    if goes_on:
        fact += "; the text goes on, --json gives all of it"
    print_facts([(many(count, "character"), fact), *FACTS])


def _row(seen: CharacterSeen) -> list[str]:
    cells = [
        f"{seen.place:,}",
        repr(seen.char) if seen.char.isprintable() or seen.char in "\n\t" else one_line(seen.char),
        f"{seen.bits:.2f}",
        f"{seen.gain_bits:+.2f}",
        f"{seen.cache_share:.0%}",
    ]
    best = seen.places[0] if seen.places else None
    if best is None or best.share < LEAST_SHARE:
        return [*cells, "", "", ""]
    looked_at = one_line(f"{best.before}[{best.char}]")
    return [*cells, looked_at, f"{seen.place - best.place:,}", f"{best.share:.0%}"]


def _draw(plot: Path, seen: Sequence[Glance], read: Characters, run: OpenedRun) -> None:
    """Draw the last characters over the places before them."""
    from charrnn.insight.lookback import shares_between
    from charrnn.picture import attention
    from charrnn.storage import write_atomically

    rows, columns, shares = shares_between(seen, PICTURE_ROWS, PICTURE_COLUMNS)
    title = f"Where {one_line(run.model.path.parent.name)} looked back before each character"
    of_rows, of_columns = (
        [one_line(char) for char in read.each(places)] for places in (rows, columns)
    )
    is_right = read.are_same(rows, columns)
    kind = plot.suffix.lower()[1:]
    picture = attention(title, of_rows, of_columns, shares, is_right, kind)
    write_atomically(plot, picture, "--plot")
