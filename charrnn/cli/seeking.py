"""`charrnn sample` where few texts fit a pattern, and --likeliest: the calls and their words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from charrnn.errors import SettingsError
from charrnn.terminal import many, say, write_stdout

if TYPE_CHECKING:
    from charrnn.sampling.codec import Sample
    from charrnn.sampling.constraints import Constraints
    from charrnn.sampling.engine import Sampler
    from charrnn.sampling.seeking import Seeker
    from charrnn.texts import Novelty

LEAST_SHOWN = 0.001  # of the distribution, cut off


def seeker_of(sampler: Sampler, constraints: Constraints, how: Mapping[str, Any]) -> Seeker | None:
    """Return what seeks texts that few draws would find, or None after a word about why not.

    how: arguments of Sampler.generate. Raises SettingsError where no text fits.
    """
    if not constraints.patterns or how["decoding"].temperature == 0 or how["length"] == 0:
        return None
    from charrnn.sampling.seeking import seeker
    from charrnn.text.expression import Uncompilable

    try:
        return seeker(sampler, constraints, **how)
    except Uncompilable as error:
        say(f"note: {_pattern_of(constraints)} only rejects here, and cannot steer: {error}")
        return None


def say_sought(found: Seeker | None) -> None:
    """Tell how much of the model's distribution the search for texts has cut off, if any."""
    if found is not None and found.report.deviation >= LEAST_SHOWN:
        share = f"{100 * found.report.deviation:.1f} %"
        say(
            "note: few texts fit, so they were sought by looking ahead; "
            f"about {share} of the model's probability of such texts is missing"
        )


def check_likeliest(likeliest: int, others: Mapping[str, bool]) -> None:
    """Raise SettingsError for a number of texts below 0, or an option it does not go with.

    others: by name, whether they are given.
    """
    if likeliest < 0:
        raise SettingsError(f"--likeliest {likeliest}: must be at least 0")
    for name, is_given in others.items():
        if is_given:
            raise SettingsError(
                f"--likeliest draws nothing: it lists texts by the model's own probability; "
                f"leave out {name}"
            )


def write_likeliest(
    sampler: Sampler,
    constraints: Constraints,
    known: Novelty | None,
    wanted: int,
    how: dict[str, Any],
    *,
    json: bool,
    raw: bool,
) -> None:
    """Write the likeliest texts. Raises SettingsError where memory ended before they were found."""
    from charrnn.cli.json_lines import write_json
    from charrnn.sampling.constraints import Tally, accepted
    from charrnn.sampling.decode import Decoding
    from charrnn.sampling.seeking import search

    found, texts, reason = search(
        sampler, constraints, wanted, **how | {"decoding": Decoding(), "seed": 0}
    )
    if reason:
        say(f"note: {_pattern_of(constraints)} only rejects here, and cannot steer: {reason}")
    tally = Tally(wanted)
    kept = accepted(
        lambda first, count: itertools.islice(texts, count), tally, 10**9, constraints, known
    )
    if json:
        write_json(_objects(kept, known, novel=constraints.novel), raw=raw)
    else:
        write_stdout(_lines(kept), raw=raw)
    if tally.kept == wanted:
        return
    if math.isinf(found.limit):
        say(f"note: no more than {many(tally.kept, 'text')} can be written so")
        return
    raise SettingsError(
        f"found {tally.kept:,} of {wanted:,}: memory for {found.read:,} beginnings is used up, and "
        f"any other text has a probability below {shown_probability(found.limit)}; "
        "ask for fewer, or narrow it with --prime, --fill, --matching or --max-length"
    )


def shown_probability(nats: float) -> str:
    """Return exp(-nats) in three digits, however small it is."""
    if nats < 700:
        return f"{math.exp(-nats):.3g}"
    power, places = divmod(-nats / math.log(10), 1)
    return f"{10**places:.2f}e{power:.0f}"


def _pattern_of(constraints: Constraints) -> str:
    return "--fill" if constraints.matching is None else "--matching"


def _lines(samples: Iterator[Sample]) -> Iterator[bytes]:
    """`0.00312  Maria`; the further lines of a text are indented as far as its first."""
    width = 9  # of what is usual
    for sample in samples:
        number = shown_probability(sample.nats).rjust(width)
        indent = b"\n" + b" " * (len(number) + 2)
        text = sample.data.removesuffix(b"\n").replace(b"\n", indent)
        yield f"{number}  ".encode() + text + b"\n"


def _objects(
    samples: Iterator[Sample], known: Novelty | None, *, novel: bool
) -> Iterator[dict[str, Any]]:
    from charrnn.sampling.constraints import bits_per_char

    for rank, sample in enumerate(samples, 1):
        is_novel = known.is_novel(sample.data) if known and not novel else None
        yield {
            "text": sample.text,
            "nats": sample.nats,
            "chars": sample.chars,
            "bits_per_char": bits_per_char(sample),
            "probability": math.exp(-sample.nats),
            "rank": rank,
            "novel": novel or is_novel,
        }
