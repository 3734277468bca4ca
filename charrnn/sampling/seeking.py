"""Texts that few draws would find: from constraints to the walks of steered.py, or why not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from charrnn.errors import SettingsError
from charrnn.sampling.codec import Sample
from charrnn.sampling.constraints import Constraints
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.sampling.guide import Guide
from charrnn.sampling.likeliest import Search
from charrnn.sampling.steered import Report, Steering
from charrnn.sampling.steps import Plan
from charrnn.text.expression import Uncompilable


class Seeker:
    """Finds texts of one plan that fit a pattern. report: how, once it has begun."""

    def __init__(self, sampler: Sampler, plan: Plan, guide: Guide) -> None:
        self._sampler = sampler
        self._plan = plan
        self._guide = guide
        self.report = Report()

    def __call__(self, first: int) -> Iterator[Sample | int]:
        """Yield samples from number `first` on without end, and how many tries were lost."""
        sampler = self._sampler
        ids = np.concatenate([[sampler.start], self._plan.prime])
        logits, state, _ = sampler.feed(ids)
        steering = Steering(sampler._network, self._guide, (logits, state), first)
        self.report = steering.report
        for found in steering.texts():
            if isinstance(found, int):
                yield found
            else:
                yield from sampler._codec.samples_of(self._plan.prime, found)


def seeker(sampler: Sampler, constraints: Constraints, **how: Any) -> Seeker:
    """Return what finds texts that fit, for the arguments of Sampler.generate.

    Raises Uncompilable, whose words say why texts can only be drawn and thrown away; SettingsError
    where no text fits.
    """
    plan, guide = guided(sampler, constraints, **how)
    if not plan.length:
        raise Uncompilable("nothing is drawn")
    return Seeker(sampler, plan, guide)


def guided(
    sampler: Sampler,
    constraints: Constraints,
    *,
    decoding: Decoding | None = None,
    length: int | None = None,
    prime: str = "",
    until: str = "",
    seed: int | None = None,
    unknown: str = "error",
    threads: int | None = None,
) -> tuple[Plan, Guide]:
    """Return the plan of a call of Sampler.generate, and the guide to texts that fit.

    Raises Uncompilable; SettingsError where no text fits.
    """
    plan = sampler._plan(decoding, length, prime, until, seed, unknown)
    if sampler._made_of[-1]:
        raise Uncompilable("it looks back on the prompt (--cache)")
    [begun] = sampler.generate(1, prime=prime, unknown=unknown, length=0)
    guide = Guide(
        constraints.patterns,
        sampler.vocabulary,
        plan,
        begun.text,
        min_length=constraints.min_length,
        max_length=constraints.max_length,
    )
    if guide.start < 0:
        names = {"--matching": constraints.matching, "--fill": constraints.fill}
        asked = " and ".join(name for name, value in names.items() if value is not None)
        after = " after this prompt" if len(plan.prime) else ""
        raise SettingsError(
            f"no text of this model fits {asked or 'these lengths'}{after}; "
            "check for characters that it does not know (charrnn eval --text names them)"
        )
    return plan, guide


def search(
    sampler: Sampler, constraints: Constraints, wanted: int, **how: Any
) -> tuple[Search, Iterator[Sample], str]:
    """Return a search for the likeliest texts, its texts that are kept, and why it is a slow one.

    how: arguments of Sampler.generate. The third is empty where the pattern directs the search.
    Raises SettingsError where no text fits.
    """
    reason = ""
    try:
        plan, guide = guided(sampler, constraints, **how)
    except Uncompilable as error:
        reason = str(error)
        plain = dataclasses.replace(constraints, matching=None, fill=None)
        plan, guide = guided(sampler, plain, **how)
    ids = np.concatenate([[sampler.start], plan.prime])
    logits, state, _ = sampler.feed(ids)
    counts = guide.counts_length or not (constraints.min_length or constraints.max_length)
    is_sure = counts and not reason and not constraints.novel
    found = Search(sampler._network, guide, (logits, state), wanted if is_sure else None)
    samples = (
        sample for text in found.texts() for sample in sampler._codec.samples_of(plan.prime, text)
    )
    return found, samples, reason
