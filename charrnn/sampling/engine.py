"""Weights -> text: the sampler that people hold.

The steps are network.py's or the compiled kernel's.

A Sampler never changes after it is made: every call brings its own arrays, so that threads can
share one. Where a draw falls depends on seed and sample number only (decode.uniforms). numpy's
products of one row and of many round differently in float32. So a sample drawn by numpy can, about
once in a million characters, continue differently when others are drawn beside it, and differently
from the kernel's. The kernel's own sums never depend on that.

Letters: B rows, N ids, V vocabulary, H hidden size, L layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from charrnn.config import Settings
from charrnn.errors import SettingsError
from charrnn.modelfile import ModelFile, read_model
from charrnn.sampling.bounds import checked_length, default_length, processors
from charrnn.sampling.choice import choose_steps
from charrnn.sampling.codec import Codec, Sample
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.decode import MAX_SEED, Decoding, checked_seed, seed_of_label
from charrnn.sampling.labelled import Labelled
from charrnn.sampling.steps import Finished, Place, Plan, State, no_recent
from charrnn.text.vocabulary import Vocabulary

MAX_THREADS = 256
MAX_COUNT = 10**12
SPLIT_BYTES = 1 << 20  # one stream of a larger model is split over threads, where that pays
MAX_SPLIT = 16  # threads for one stream


def load(
    path: str | Path, *, weights: str = "auto", engine: str = "auto", cache: int = 0
) -> Sampler:
    """Return the sampler of a run directory, a model file or a checkpoint.

    weights: "float16" halves what a character must read, and moves a logit by about a thousandth;
    "auto" takes it for models of streams, where it pays (docs/speed.md), and "float32" for models
    of lines, where it does not. engine: "compiled", "numpy", or the faster one that is there.
    cache: how many characters a network of streams looks back on (sampling/cache.py); 0: no cache.
    Raises CheckpointError, SettingsError.
    """
    return Sampler(read_model(Path(path)), weights=weights, engine=engine, cache=cache)


class Sampler(Labelled):
    """A trained model that writes and scores text."""

    def __init__(
        self, model: ModelFile, *, weights: str = "auto", engine: str = "auto", cache: int = 0
    ) -> None:
        """Prepare a model. The arguments are those of `load`. Raises SettingsError."""
        self.settings = model.settings
        self.vocabulary = model.vocabulary
        self.mode = model.mode
        self.start = model.start
        self.label = ""  # of what it writes; "": none
        self._label_counts = model.label_counts
        self._made_of = (model, weights, engine, cache)
        newline = int(model.vocabulary.newline or 0) if model.mode == "lines" else -1
        self._codec = Codec(model.vocabulary, model.reading, model.mode, newline)
        self._network = choose_steps(model, weights, engine, cache)

    @classmethod
    def from_tensors(
        cls,
        settings: Settings,
        vocabulary: Vocabulary,
        mode: str,
        start: int,
        tensors: dict[str, np.ndarray],
        *,
        weights: str = "auto",
        engine: str = "auto",
        cache: int = 0,
    ) -> Sampler:
        """Return a sampler of weights that no file holds.

        It copies tensors, which are named as in CharModel.tensors().
        """
        copies = {name: np.array(value) for name, value in tensors.items()}
        model = ModelFile(Path(), settings, vocabulary, mode, start, copies, {})
        return cls(model, weights=weights, engine=engine, cache=cache)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the model: arrays packed for one processor do not travel."""
        return _restored, (*self._made_of, self.label)

    def __repr__(self) -> str:
        size = len(self.vocabulary)
        return f"Sampler({self._network.name}, {size} characters, {self.mode}, {self.engine})"

    @property
    def engine(self) -> str:
        """Which engine takes the steps: "compiled" or "numpy"."""
        return self._network.engine

    # One step

    def zero_state(self, batch: int) -> State:
        """Return the state before any character: (h,) or (h, c), each (L, B, H) of zeros.

        The pairs of a cache follow.
        """
        return self._network.zero_state(batch)

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Return logits (B, V) of the character after ids (B,), and the state after them."""
        return self._network.step(ids, state)

    def feed(
        self, ids: np.ndarray, state: State | None = None, *, threads: int | None = None
    ) -> tuple[np.ndarray, State, float]:
        """Read ids (N,), N >= 1, in one row.

        Returns logits (1, V), the state after them, and the nats of all ids but the first.
        """
        ids = np.asarray(ids)
        if not len(ids):
            raise ValueError("feed needs at least one id: without a prompt, that is Sampler.start")
        if state is None:
            state = self.zero_state(1)
        return self._network.read(ids, state, threads=self._split(threads))

    def score(self, text: str | bytes, *, unknown: str = "error") -> tuple[float, int]:
        """Return the nats and the number of characters of a text under the model.

        Lines: every line with its closing newline. Stream: every character after the first.
        Raises VocabularyError.
        """
        ids = self.vocabulary.encode(self._codec.prepared(text), unknown=unknown)
        if not len(ids):
            return 0.0, 0
        if self.mode == "stream":
            first = self.vocabulary.first_length(ids)  # ids of a character that is not predicted
            nats = self.feed(ids)[2] - (self.feed(ids[:first])[2] if first > 1 else 0.0)
            return nats, self.vocabulary.chars(ids) - 1
        newline = self._codec.newline
        if ids[-1] != newline:
            ids = np.append(ids, newline)
        lines = np.split(ids, np.flatnonzero(ids == newline)[:-1] + 1)
        nats = sum(self.feed(np.concatenate([[self.start], line]))[2] for line in lines)
        return nats, self.vocabulary.chars(ids)

    # Text

    def generate(
        self,
        count: int = 1,
        *,
        decoding: Decoding | None = None,
        length: int | None = None,
        prime: str = "",
        until: str = "",
        seed: int | None = None,
        unknown: str = "error",
        first: int = 0,
        threads: int | None = None,
        label: str | None = None,
    ) -> Iterator[Sample]:
        """Yield `count` samples in order, computed side by side; memory does not grow.

        Lines: each ends at its newline, or after `length` (1000) characters. Stream: each has
        exactly `length` (500) characters after the prompt. Either ends earlier after `until`.
        Sample i of a seed is the same however many are drawn and on however many threads (default:
        one for each processor); `first` is the number of the first. label: of all of them; None:
        the sampler's own. Raises SettingsError at once.
        """
        if label is not None:
            self = self.labelled(label)
        plan = self._plan(decoding, length, prime, until, seed, unknown)
        self._split(threads)
        if count < 0:
            raise SettingsError(f"--count {count}: must be at least 0")
        if count > MAX_COUNT:
            raise SettingsError(f"--count {count:,}: must be at most {MAX_COUNT:,}")
        if not 0 <= first <= MAX_SEED - count:
            raise SettingsError(f"first {first}: samples are numbered from 0 to {MAX_SEED}")
        return self._samples(plan, first, first + count, threads)

    def stream(
        self,
        *,
        decoding: Decoding | None = None,
        length: int | None = None,
        prime: str = "",
        until: str = "",
        seed: int | None = None,
        unknown: str = "error",
        first: int = 0,
        threads: int | None = None,
    ) -> Iterator[bytes]:
        """Yield one sample's data as it comes: the prompt, then whole characters."""
        plan = self._plan(decoding, length, prime, until, seed, unknown)
        if self.mode == "lines":
            return (sample.data for sample in self._samples(plan, first, first + 1, threads))
        return self._codec.as_bytes(self._stream_ids(plan, first, threads))

    def begin(self, prime: str = "", *, seed: int | None = None, unknown: str = "error") -> Writer:
        """Return a text that is read and written by turns. Raises SettingsError."""
        return Writer(self, prime, seed, unknown)

    def _plan(
        self,
        decoding: Decoding | None,
        length: int | None,
        prime: str,
        until: str,
        seed: int | None,
        unknown: str,
    ) -> Plan:
        """Check what was asked. Raises SettingsError."""
        if length is None:
            length = default_length(self.mode, self.vocabulary)
        length = checked_length(length)
        newline = self._codec.newline
        ids = self._codec.ids_of_prompt(prime, unknown)
        if (ids == newline).any():
            raise SettingsError(
                "--prime has a newline, but this model writes single lines: "
                "give the beginning of one"
            )
        return Plan(
            decoding=decoding or Decoding(),
            length=length,
            prime=ids,
            until=self._codec.ids_of_end(until),
            seed=seed_of_label(checked_seed(seed), self.label),
            newline=newline,
            spelling=self.vocabulary.spelling,
        )

    def _split(self, threads: int | None) -> int:
        """Return the threads for one stream. Raises SettingsError.

        All of them for weights that do not fit the caches of one processor.
        """
        if threads is not None and not 1 <= threads <= MAX_THREADS:
            raise SettingsError(f"--threads {threads}: must be between 1 and {MAX_THREADS}")
        if not isinstance(self._network, Compiled):
            return 1
        if threads is not None:
            return threads
        if self._network.size_bytes <= SPLIT_BYTES:
            return 1
        return min(processors(), MAX_SPLIT)

    def _samples(self, plan: Plan, first: int, stop: int, threads: int | None) -> Iterator[Sample]:
        """Yield samples first ... stop - 1 in order."""
        if plan.length == 0:
            for index in range(first, stop):
                nothing = Finished(index, plan.prime[:0], [0], [0.0])
                yield from self._codec.samples_of(plan.prime, nothing)
            return
        if first == stop:
            return
        logits, state, _ = self.feed(np.concatenate([[self.start], plan.prime]), threads=threads)
        if stop - first == 1:
            threads = self._split(threads)
        elif threads is None:
            threads = processors()
        begin = (logits, state)
        for finished in self._network.write_many(plan, begin, first, stop, threads=threads):
            yield from self._codec.samples_of(plan.prime, finished)

    def _stream_ids(self, plan: Plan, number: int, threads: int | None) -> Iterator[np.ndarray]:
        """Yield the ids of the prompt, then those of sample `number`, in pieces."""
        yield plan.prime
        split = self._split(threads)
        logits, state, _ = self.feed(np.concatenate([[self.start], plan.prime]), threads=split)
        place = Place(state, logits, no_recent(), number)
        yield from self._network.write(plan, place, threads=split)


class Writer:
    """One text that is read and written by turns, and keeps its state: Sampler.begin makes it.

    The draws of a writer are those of sample 0 of its seed, in order; copy() forks the text, and
    both go on from there.
    """

    def __init__(
        self, sampler: Sampler, prime: str = "", seed: int | None = None, unknown: str = "error"
    ) -> None:
        self.sampler = sampler
        self.seed = checked_seed(seed)
        ids = sampler._codec.ids_of_prompt(prime, unknown)
        logits, state, _ = sampler.feed(np.concatenate([[sampler.start], ids]))
        self._place = Place(state, logits, no_recent())
        self._turn = 0  # counts what was read and written: an older iterator stops

    def __repr__(self) -> str:
        return f"Writer(seed {self.seed}, {self._place.position:,} drawn, {self.sampler!r})"

    def read(self, text: str, *, unknown: str = "error") -> None:
        """Take a text of the person's into the state.

        Raises SettingsError for characters the model does not know.
        """
        place = self._place
        sampler = self.sampler
        ids = sampler._codec.ids_of_prompt(text, unknown)
        self._turn += 1
        if place.pending >= 0:
            newest = np.array([place.pending])
            place.logits, place.state = sampler._network.write_step(newest, place.state)
            place.pending = -1
        if len(ids):
            place.logits, place.state, _ = sampler.feed(ids, place.state)

    def write(
        self,
        length: int,
        *,
        decoding: Decoding | None = None,
        until: str = "",
        threads: int | None = None,
    ) -> Iterator[bytes]:
        """Yield up to `length` characters more, as they come: whole ones.

        Lines: up to the newline, which is not shown. What is written after it belongs to the same
        text; Sampler.begin begins another line. A caller may stop at any time and go on with
        another read or write; what was to come is not written then. Raises SettingsError at once.
        """
        sampler = self.sampler
        newline = sampler._codec.newline
        plan = Plan(
            decoding=decoding or Decoding(),
            length=checked_length(length),
            prime=np.zeros(0, np.int32),
            until=sampler._codec.ids_of_end(until),
            seed=self.seed,
            newline=newline,
            spelling=sampler.vocabulary.spelling,
        )
        self._turn += 1
        pieces = sampler._network.write(plan, self._place, threads=sampler._split(threads))
        ids = self._while_newest(pieces, self._turn)
        return sampler._codec.as_bytes(piece[piece != newline] for piece in ids)

    def _while_newest(self, pieces: Iterator[np.ndarray], turn: int) -> Iterator[np.ndarray]:
        """Yield the pieces until something else was read or written.

        An old iterator must not write over it.
        """
        while turn == self._turn and (piece := next(pieces, None)) is not None:
            yield piece

    def reseed(self, seed: int) -> None:
        """Draw from another seed from here on. Raises SettingsError."""
        self.seed = checked_seed(seed)
        self._place.position = 0
        self._place.chars = 0
        self._turn += 1

    @property
    def size_bytes(self) -> int:
        """How much memory a copy takes."""
        place = self._place
        return sum(part.nbytes for part in (*place.state, place.logits, place.recent))

    def copy(self) -> Writer:
        """Return another text with the same past."""
        twin = object.__new__(Writer)
        twin.sampler = self.sampler
        twin.seed = self.seed
        twin._place = self._place.copy()
        twin._turn = 0
        return twin


def _restored(
    model: ModelFile, weights: str, engine: str, cache: int = 0, label: str = ""
) -> Sampler:
    """Return the sampler that was pickled."""
    return Sampler(model, weights=weights, engine=engine, cache=cache).labelled(label)
