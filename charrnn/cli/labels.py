"""`sample --label`: samples of several labels in turn, each held to the constraints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from charrnn.errors import SettingsError

if TYPE_CHECKING:
    from charrnn.sampling.codec import Sample
    from charrnn.sampling.constraints import Constraints, Tally
    from charrnn.sampling.engine import Sampler
    from charrnn.texts import Novelty


def check_one_label(
    labels: Sequence[str], has_prompts: bool, interactive: bool, seeks_likeliest: bool
) -> None:
    """Raise SettingsError for several labels where one text is written, or sought, at a time."""
    options = {
        "--prompts": has_prompts,
        "--interactive": interactive,
        "--likeliest": seeks_likeliest,
    }
    name = next((option for option, is_given in options.items() if is_given), "")
    if len(labels) > 1 and name:
        raise SettingsError(f"{name} writes with one label; give one --label")


def marked(samples: Iterator[Sample], label: str) -> Iterator[Sample]:
    """Yield samples that know the label that they were written with."""
    for sample in samples:
        sample.label = label
        yield sample


def of_labels(
    sampler: Sampler,
    labels: Sequence[str],
    how: dict[str, Any],
    tally: Tally,
    tries: int,
    constraints: Constraints,
    known: Novelty | None,
) -> Iterator[Sample]:
    """Yield tally.wanted samples, of each label in turn, and keep the tally.

    how: arguments of Sampler.generate. tries: of all labels together. --unique is of all labels.
    """
    from charrnn.sampling.constraints import Tally, accepted
    from charrnn.sampling.labelled import in_turn

    tallies: list[Tally] = []
    tries_each = max(1, tries // len(labels))
    seen: set[bytes] = set()

    def draw(label: str, count: int) -> Iterator[Sample]:
        of_label = sampler.labelled(label)
        if not constraints:
            return of_label.generate(count, **how)
        tallies.append(Tally(count))
        return accepted(
            lambda first, n: of_label.generate(n, first=first, **how),
            tallies[-1],
            max(tries_each, count),
            constraints,
            known,
            seen,
        )

    yield from in_turn(labels, tally.wanted, draw)
    for one in tallies:
        tally.kept += one.kept
        tally.tried += one.tried
        tally.refused += one.refused
        tally.ran_out |= one.ran_out
