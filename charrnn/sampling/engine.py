"""Weights -> text: checks what is asked, and turns ids into text. The steps are network.py's or the compiled kernel's.

A Sampler never changes after it is made: every call brings its own arrays, so that threads can share one. Where a
draw falls is a matter of seed and sample number only (decode.uniforms). numpy's products of one row and of many round
differently in float32, so that there a sample can, about once in a million characters, continue differently when
others are drawn beside it, and from the kernel's; the kernel's own sums never depend on that.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from charrnn.config import Settings
from charrnn.errors import SettingsError, VocabularyError
from charrnn.kernel.library import library
from charrnn.modelfile import ModelFile, read_model
from charrnn.sampling import compiled
from charrnn.sampling.decode import MAX_SEED, WINDOW, Decoding, checked_seed
from charrnn.sampling.network import Network
from charrnn.sampling.steps import Finished, Place, Plan, State
from charrnn.terminal import one_line
from charrnn.text.vocabulary import Vocabulary, describe

if TYPE_CHECKING:
    from charrnn.sampling.cache import Cached
    from charrnn.sampling.counted import Counted

STREAM_LENGTH = 500  # characters of a stream, unless the caller says otherwise
MAX_THREADS = 256
MAX_LENGTH = 1 << 40  # no counter overflows
LINE_LENGTH = 1000  # a line that has not ended by then is cut
UNKNOWN = ("error", "skip", "replace")
WEIGHTS = ("auto", "float32", "float16")
ENGINES = ("auto", "compiled", "numpy")
SPLIT_BYTES = (
    1 << 20
)  # one stream of a model larger than this is split over threads, where that pays


@dataclass(slots=True)
class Sample:
    """One generated text."""

    index: int
    text: str  # with the prompt, without the newline that ends a line; bytes that are not UTF-8 as U+FFFD
    nats: float  # -ln p of `ids` under the model itself, at temperature 1 and unfiltered
    chars: int  # the characters behind nats: len(ids)
    _ids: tuple[np.ndarray, int] = field(
        repr=False, compare=False
    )  # of several samples, and where this one ends
    _raw: bytes | None = field(default=None, repr=False)

    @property
    def ids(self) -> np.ndarray:
        """(chars,) of what was generated, the newline included."""
        ids, end = self._ids
        return ids[end - self.chars : end]

    @property
    def data(self) -> bytes:
        """The text in UTF-8, or the very bytes of a byte model."""
        return self.text.encode() if self._raw is None else self._raw


def load(
    path: str | Path, *, weights: str = "auto", engine: str = "auto", cache: int = 0
) -> Sampler:
    """The sampler of a run directory, a model file or a checkpoint. Raises CheckpointError, SettingsError.

    weights: "float16" halves what a character must read, and moves a logit by about a thousandth; "auto" takes it for
    models of streams, where it pays (README, Speed of sampling), and "float32" for models of lines, where it does not.
    engine: "compiled", "numpy", or the faster one that is there.
    cache: how many characters a network of streams looks back on (sampling/cache.py); 0: it has no cache.
    """
    return Sampler(read_model(Path(path)), weights=weights, engine=engine, cache=cache)


class Sampler:
    """A trained model that writes and scores text. Letters: B rows, V vocabulary, H hidden size, L layers."""

    def __init__(
        self, model: ModelFile, *, weights: str = "auto", engine: str = "auto", cache: int = 0
    ) -> None:
        for name, value, known in (("--weights", weights, WEIGHTS), ("engine", engine, ENGINES)):
            if value not in known:
                raise SettingsError(f"{name} {one_line(value)!r} is not one of {', '.join(known)}")
        self.settings, self.vocabulary = model.settings, model.vocabulary
        self.mode, self.start = model.mode, model.start
        self._made_of = (model, weights, engine, cache)
        if weights == "auto":
            weights = "float16" if _half_is_fine(model) else "float32"
        if engine == "compiled" and (model.counts or library() is None):
            lacking = (
                "counting models are sampled by numpy"
                if model.counts
                else "install charrnn where there is a C compiler"
            )
            raise SettingsError(f"the compiled kernel is not here: {lacking}")
        if cache:
            from charrnn.sampling.cache import Cached, check  # what most samplers do without

            check(cache, model)
        self._network: Counted | Network | compiled.Compiled | Cached
        if model.counts:
            from charrnn.sampling.counted import Counted  # a network need not wait for it

            self._network = Counted(model.ngram())
        else:
            plain = Network(model, weights)
            network = plain if engine == "numpy" or library() is None else compiled.Compiled(plain)
            self._network = Cached(network, cache) if cache else network
        self._newline = (
            -1 if model.mode == "stream" else int(model.vocabulary.newline or 0)
        )  # the end of a line

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
        """A sampler of copies of these tensors, named as in CharModel.tensors(): of weights that no file holds."""
        copies = {name: np.array(value) for name, value in tensors.items()}
        model = ModelFile(Path(), settings, vocabulary, mode, start, copies, {})
        return cls(model, weights=weights, engine=engine, cache=cache)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as the model: arrays packed for one processor do not travel."""
        return _restored, self._made_of

    def __repr__(self) -> str:
        return f"Sampler({self._network.name}, {len(self.vocabulary)} characters, {self.mode}, {self.engine})"

    @property
    def engine(self) -> str:
        """ "compiled" or "numpy"."""
        return self._network.engine

    # One step

    def zero_state(self, batch: int) -> State:
        """The state before any character: (h,) or (h, c), each (L, B, H) of zeros; with a cache, then its pairs."""
        return self._network.zero_state(batch)

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """ids (B,) -> logits (B, V) of the character after them, and a new state."""
        return self._network.step(ids, state)

    def feed(
        self, ids: np.ndarray, state: State | None = None, *, threads: int | None = None
    ) -> tuple[np.ndarray, State, float]:
        """Read ids (N,), N >= 1, in one row. Returns logits (1, V), state, and the nats of all ids but the first."""
        ids = np.asarray(ids)
        if not len(ids):
            raise ValueError("feed needs at least one id: without a prompt, that is Sampler.start")
        state = self.zero_state(1) if state is None else state
        return self._network.read(ids, state, threads=self._split(threads))

    def score(self, text: str | bytes, *, unknown: str = "error") -> tuple[float, int]:
        """Nats and number of characters of a text under the model.

        Lines: every line with its closing newline. Stream: every character after the first. Raises VocabularyError.
        """
        ids = self.vocabulary.encode(self._prepared(text), unknown=unknown)
        if self.mode == "stream":
            return (self.feed(ids)[2], len(ids) - 1) if len(ids) else (0.0, 0)
        if len(ids) and ids[-1] != self._newline:
            ids = np.append(ids, self._newline)
        lines = np.split(ids, np.flatnonzero(ids == self._newline)[:-1] + 1) if len(ids) else []
        return sum(self.feed(np.concatenate([[self.start], line]))[2] for line in lines), len(ids)

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
    ) -> Iterator[Sample]:
        """`count` samples, in order, many computed side by side; memory does not grow with count.

        Lines: each ends at its newline, or after `length` (1000) characters. Stream: each has exactly `length` (500)
        characters after the prompt. Either ends earlier after `until`. Sample i of a seed is the same however many are
        drawn and on however many threads (default: one for each processor); `first` is the number of the first.
        Raises SettingsError at once.
        """
        plan = self._plan(decoding, length, prime, until, seed, unknown)
        self._split(threads)
        if count < 0:
            raise SettingsError(f"--count {count}: must be at least 0")
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
        """`generate(1, ...)`'s data as it comes: the prompt, then whole characters; constant memory."""
        plan = self._plan(decoding, length, prime, until, seed, unknown)
        if self.mode == "lines":
            return (sample.data for sample in self._samples(plan, first, first + 1, threads))
        return self._as_bytes(self._stream_ids(plan, first, threads))

    def begin(self, prime: str = "", *, seed: int | None = None, unknown: str = "error") -> Writer:
        """A text that is read and written by turns. Raises SettingsError."""
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
        length = (
            (LINE_LENGTH if self.mode == "lines" else STREAM_LENGTH) if length is None else length
        )
        if length < 0:
            raise SettingsError(f"--length {length}: must be at least 0")
        ids = self._encoded(prime, unknown)
        if (ids == self._newline).any():
            raise SettingsError(
                "--prime has a newline, but this model writes single lines: give the beginning of one"
            )
        return Plan(
            decoding or Decoding(),
            min(length, MAX_LENGTH),
            ids,
            self._end(until),
            checked_seed(seed),
            self._newline,
        )

    def _encoded(self, text: str, unknown: str) -> np.ndarray:
        if unknown not in UNKNOWN:
            raise SettingsError(
                f"--unknown {one_line(unknown)!r} is not one of {', '.join(UNKNOWN)}"
            )
        try:
            return self.vocabulary.encode(self._prepared(text), unknown=unknown, where="--prime")
        except VocabularyError as error:
            raise SettingsError(str(error)) from None

    def _end(self, until: str) -> np.ndarray:
        codes = self.vocabulary.codes(self._prepared(until))
        ids = self.vocabulary.lookup(codes)
        if (ids < 0).any():
            missing = describe(int(codes[np.argmax(ids < 0)]), self.vocabulary.unit)
            raise SettingsError(
                f"--until {one_line(until)!r}: this model never writes {missing}; retype it"
            )
        return ids

    def _prepared(self, text: str | bytes) -> str | bytes:
        """Line ends and normalisation of the corpus; byte models take bytes as they are."""
        if self.vocabulary.unit == "byte" or not text:
            return text
        from charrnn.text.reading import prepare  # only prompts need it

        return prepare(text if isinstance(text, str) else text.decode("utf-8"), self.settings.text)

    def _split(self, threads: int | None) -> int:
        """Threads for one stream: all of them for weights that do not fit the caches of one processor. Raises SettingsError."""
        if threads is not None and not 1 <= threads <= MAX_THREADS:
            raise SettingsError(f"--threads {threads}: must be between 1 and {MAX_THREADS}")
        if not isinstance(self._network, compiled.Compiled):
            return 1
        if threads is None:
            return min(processors(), 16) if self._network.size_bytes > SPLIT_BYTES else 1
        return threads

    def _samples(self, plan: Plan, first: int, stop: int, threads: int | None) -> Iterator[Sample]:
        """Samples first ... stop - 1 in order."""
        if plan.length == 0:
            for index in range(first, stop):
                yield from self._texts(plan, Finished(index, plan.prime[:0], [0], [0.0]))
            return
        if first == stop:
            return
        logits, state, _ = self.feed(np.concatenate([[self.start], plan.prime]), threads=threads)
        share = processors() if threads is None else threads
        if stop - first == 1:
            share = self._split(threads)
        for ended in self._network.write_many(plan, (logits, state), first, stop, threads=share):
            yield from self._texts(plan, ended)

    def _texts(self, plan: Plan, ended: Finished) -> Iterator[Sample]:
        """The samples of what has ended, decoded in one go."""
        whole, lines = (
            self.vocabulary.to_bytes(np.concatenate([plan.prime, ended.ids])),
            self.mode == "lines",
        )
        at = begin = len(plan.prime)
        in_bytes = self.vocabulary.unit == "byte"
        text = "" if in_bytes else whole.decode()
        for number, (chars, nats) in enumerate(
            zip(ended.lengths, ended.nats, strict=True), ended.first
        ):
            end = at + chars
            ids = (ended.ids, end - begin)
            if in_bytes:
                data = (
                    whole[:begin] + whole[at : end - (lines and chars > 0 and whole[end - 1] == 10)]
                )
                yield Sample(number, data.decode("utf-8", "replace"), nats, chars, ids, data)
            else:
                shown = text[at : end - (lines and chars > 0 and text[end - 1] == "\n")]
                yield Sample(number, text[:begin] + shown if begin else shown, nats, chars, ids)
            at = end

    def _stream_ids(self, plan: Plan, number: int, threads: int | None) -> Iterator[np.ndarray]:
        """The prompt's ids, then those of sample `number`, in pieces; memory does not grow."""
        yield plan.prime
        split = self._split(threads)
        logits, state, _ = self.feed(np.concatenate([[self.start], plan.prime]), threads=split)
        yield from self._network.write(
            plan, Place(state, logits, _no_recent(), number), threads=split
        )

    def _as_bytes(self, pieces: Iterable[np.ndarray]) -> Iterator[bytes]:
        """The text of pieces of ids, only whole characters; bytes that are not UTF-8 pass as they are."""
        if self.vocabulary.unit == "char":
            yield from (self.vocabulary.to_bytes(piece) for piece in pieces if len(piece))
            return
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        for piece in pieces:
            if text := decoder.decode(self.vocabulary.to_bytes(piece)):
                yield text.encode("utf-8", "surrogateescape")
        if text := decoder.decode(b"", True):
            yield text.encode("utf-8", "surrogateescape")


class Writer:
    """One text that is read and written by turns, and keeps its state: Sampler.begin makes it.

    The draws of a writer are those of sample 0 of its seed, in order; copy() forks the text, and both go on from there.
    """

    def __init__(
        self, sampler: Sampler, prime: str = "", seed: int | None = None, unknown: str = "error"
    ) -> None:
        self.sampler = sampler
        self.seed = checked_seed(seed)
        ids = np.concatenate([[sampler.start], sampler._encoded(prime, unknown)])
        logits, state, _ = sampler.feed(ids)
        self._place, self._turn = Place(state, logits, _no_recent()), 0

    def read(self, text: str, *, unknown: str = "error") -> None:
        """Take a text of the person's into the state. Raises SettingsError for characters the model does not know."""
        place, sampler = self._place, self.sampler
        ids = sampler._encoded(text, unknown)
        self._turn += 1
        if place.pending >= 0:
            place.logits, place.state = sampler._network.write_step(
                np.array([place.pending]), place.state
            )
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
        """Up to `length` characters more, as they come: whole ones. Lines: up to the newline, which is not shown; what
        is written after it belongs to the same text, and Sampler.begin begins another line.

        A caller may stop at any time and go on with another read or write; what was to come is not written then.
        Raises SettingsError at once.
        """
        sampler = self.sampler
        if length < 0:
            raise SettingsError(f"--length {length}: must be at least 0")
        nothing, end = np.zeros(0, np.int32), sampler._end(until)
        plan = Plan(
            decoding or Decoding(),
            min(length, MAX_LENGTH),
            nothing,
            end,
            self.seed,
            sampler._newline,
        )
        self._turn += 1
        ids = self._while_newest(
            sampler._network.write(plan, self._place, threads=sampler._split(threads)), self._turn
        )
        return sampler._as_bytes(piece[piece != sampler._newline] for piece in ids)

    def _while_newest(self, pieces: Iterator[np.ndarray], turn: int) -> Iterator[np.ndarray]:
        """An iterator that somebody still holds must not write over what was read or written since."""
        while turn == self._turn and (piece := next(pieces, None)) is not None:
            yield piece

    def reseed(self, seed: int) -> None:
        """Draw from another seed from here on. Raises SettingsError."""
        self.seed, self._place.position = checked_seed(seed), 0
        self._turn += 1

    @property
    def size_bytes(self) -> int:
        """What a copy takes of memory."""
        place = self._place
        return sum(part.nbytes for part in (*place.state, place.logits, place.recent))

    def copy(self) -> Writer:
        """Another text with the same past."""
        twin = object.__new__(Writer)
        twin.sampler, twin.seed, twin._place, twin._turn = (
            self.sampler,
            self.seed,
            self._place.copy(),
            0,
        )
        return twin


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _no_recent() -> np.ndarray:
    return np.full((1, WINDOW), -1, np.int32)


def _half_is_fine(model: ModelFile) -> bool:
    """Rows side by side share what they read; a stream waits for all of it. Beyond float16's range nothing may be cut."""
    most = float(np.finfo(np.float16).max)
    return (
        not model.counts
        and model.mode == "stream"
        and all(float(np.abs(value).max()) <= most for value in model.tensors.values())
    )


def _restored(model: ModelFile, weights: str, engine: str, cache: int = 0) -> Sampler:
    return Sampler(model, weights=weights, engine=engine, cache=cache)
