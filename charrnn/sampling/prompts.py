"""Many prompts at once: samples of all of them are written side by side.

Samples are numbered through: with N samples for each prompt, those of prompt P, counted from 0, are
P * N, P * N + 1, ... A number decides the draws, as everywhere. So they equal those of
Sampler.generate(N, prime=..., first=P * N) with the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from charrnn.errors import SettingsError
from charrnn.sampling.bounds import processors
from charrnn.sampling.cache import Cached
from charrnn.sampling.codec import Sample
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.decode import MAX_SEED, Decoding
from charrnn.sampling.engine import MAX_COUNT, Sampler
from charrnn.sampling.rows import LEAST_SHARE, MAX_ROWS, Rows, Supply, written
from charrnn.sampling.steps import MAX_SCORES, Finished, Plan, State, write_rows

Place = tuple[np.ndarray, State]  # logits (1, V) and the state after a prompt


def samples_of(
    sampler: Sampler,
    prompts: Sequence[str],
    count: int = 1,
    *,
    decoding: Decoding | None = None,
    length: int | None = None,
    until: str = "",
    seed: int | None = None,
    unknown: str = "error",
    threads: int | None = None,
) -> Iterator[Sample]:
    """Yield `count` samples for each prompt, in order, written side by side.

    The other arguments are those of Sampler.generate. A sample's prompt has the number
    sample.index // count.
    Raises SettingsError at once; what is wrong with a prompt names its number, from 1 on.
    """
    if isinstance(prompts, str):
        raise SettingsError("--prompts: one string is no list of prompts; put it into a list")
    if count < 0 or count * len(prompts) > min(MAX_COUNT, MAX_SEED):
        raise SettingsError(f"--count {count:,}: must be between 0 and {MAX_COUNT:,} in all")
    if isinstance(sampler._network, Cached):
        raise SettingsError("--cache looks back on one prompt: leave out --prompts, or --cache")
    if threads is not None:
        sampler._split(threads)  # which refuses what makes no sense
    plans: list[Plan] = []
    for number, prompt in enumerate(prompts, 1):
        try:
            plan = sampler._plan(decoding, length, prompt, until, seed, unknown)
        except SettingsError as error:
            raise SettingsError(_of_prompt(number, str(error))) from None
        if plans:
            plan = replace(plan, seed=plans[0].seed)  # one seed, a random one too
        plans.append(plan)
    return _samples(sampler, plans, count, threads or processors())


def _of_prompt(number: int, message: str) -> str:
    """Return a message about --prime as one about a prompt."""
    about_prime = message.removeprefix("--prime ")
    if about_prime == message:
        return message
    return f"--prompts: prompt {number} {about_prime}"


def _samples(sampler: Sampler, plans: list[Plan], count: int, threads: int) -> Iterator[Sample]:
    if not plans or not count:
        return

    def after_prompt(number: int) -> Place:
        """Read the prompt of a sample."""
        ids = np.concatenate([[sampler.start], plans[number // count].prime])
        logits, state, _ = sampler.feed(ids, threads=1)
        return logits, state

    if plans[0].length == 0:
        for number in range(len(plans) * count):
            prime = plans[number // count].prime
            yield from sampler._codec.samples_of(prime, Finished(number, prime[:0], [0], [0.0]))
        return
    stop = len(plans) * count
    for finished in _written(sampler, plans[0], after_prompt, count, stop, threads):
        for part in _by_prompt(finished, count):
            yield from sampler._codec.samples_of(plans[part.first // count].prime, part)


def _written(
    sampler: Sampler,
    plan: Plan,
    after_prompt: Callable[[int], Place],
    count: int,
    stop: int,
    threads: int,
) -> Iterator[Finished]:
    """Yield samples 0 ... stop - 1, in order, as they are ready."""
    network = sampler._network
    if not isinstance(network, Compiled):

        def begin(numbers: np.ndarray) -> Place:
            places = [after_prompt(int(number)) for number in numbers]
            logits = np.concatenate([logits for logits, _ in places])
            states = zip(*(state for _, state in places), strict=True)
            return logits, tuple(np.concatenate(parts, 1) for parts in states)

        return write_rows(network.write_step, plan, begin, 0, stop)

    most = max(1, min(MAX_ROWS, MAX_SCORES // network.vocabulary_size))
    shares = max(1, min(threads, stop // LEAST_SHARE))
    rows_each = max(1, min(most, stop // shares))
    first = after_prompt(0)
    jobs = [Rows(network, plan, rows_each, *first) for _ in range(shares)]
    return written(jobs, _PromptSupply(stop, shares, rows_each, after_prompt, count), threads)


class _PromptSupply(Supply):
    """The numbers of samples, given to rows so that those given at once have the same prompt."""

    def __init__(
        self,
        stop: int,
        shares: int,
        rows_each: int,
        after_prompt: Callable[[int], Place],
        count: int,
    ) -> None:
        super().__init__(0, stop, shares, rows_each)
        self._after_prompt = after_prompt
        self._count = count

    def most_at_once(self, number: int) -> int:
        """Return how many samples from this number on have its prompt."""
        return self._count - number % self._count

    def prepare(self, rows: Rows, number: int) -> None:
        """Read the prompt of a sample, with which the rows begin from now on."""
        rows.begin_with(*self._after_prompt(number))


def _by_prompt(finished: Finished, count: int) -> Iterator[Finished]:
    """Cut samples that have ended into those of each prompt."""
    ends = np.cumsum(finished.lengths)
    at = 0
    while at < len(finished.lengths):
        number = finished.first + at
        stop = min(len(finished.lengths), at + count - number % count)
        begin = int(ends[at - 1]) if at else 0
        ids = finished.ids[begin : ends[stop - 1]]
        yield Finished(number, ids, finished.lengths[at:stop], finished.nats[at:stop])
        at = stop
