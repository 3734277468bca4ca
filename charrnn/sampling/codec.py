"""Text <-> ids of a model that writes: prompts become ids, what was drawn becomes samples."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import SettingsError, VocabularyError
from charrnn.sampling.steps import Finished
from charrnn.terminal import one_line
from charrnn.text.vocabulary import Vocabulary, describe

UNKNOWN = ("error", "skip", "replace")


@dataclass(slots=True)
class Sample:
    """One generated text."""

    index: int
    # With the prompt, without the newline that ends a line; bytes that are not UTF-8 as U+FFFD
    text: str
    nats: float  # -ln p of `ids` under the model itself, at temperature 1 and unfiltered
    chars: int  # the characters behind nats
    # The ids of several samples, and where this one begins and ends in them
    _ids: tuple[np.ndarray, int, int] = field(repr=False, compare=False)
    _raw: bytes | None = field(default=None, repr=False)
    label: str = ""  # that stood before it; "": none

    @property
    def ids(self) -> np.ndarray:
        """(N,) of what was generated, the newline included: one a character, or one a byte."""
        ids, begin, end = self._ids
        return ids[begin:end]

    @property
    def data(self) -> bytes:
        """The text in UTF-8, or the very bytes of a byte model."""
        return self.text.encode() if self._raw is None else self._raw


@dataclass(frozen=True)
class Codec:
    """How one model's texts become ids and its ids texts."""

    vocabulary: Vocabulary
    settings: TextSettings  # line ends and normalisation of its corpus
    mode: str  # "lines" or "stream"
    newline: int  # the id that ends a line; -1 for a stream

    def prepared(self, text: str | bytes) -> str | bytes:
        """Return a text with the corpus's line ends and normalisation."""
        if not text:
            return text
        from charrnn.text.normalizing import prepare, prepare_bytes  # only prompts need them
        from charrnn.text.words import in_known_form

        if self.vocabulary.unit == "byte" and isinstance(text, bytes):
            return prepare_bytes(text, self.settings)
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return in_known_form(prepare(text, self.settings), self.vocabulary)[0]

    def ids_of_prompt(self, text: str, unknown: str) -> np.ndarray:
        """Return the ids of a prompt.

        Raises SettingsError for characters the model does not know.
        """
        if unknown not in UNKNOWN:
            raise SettingsError(
                f"--unknown {one_line(unknown)!r} is not one of {', '.join(UNKNOWN)}"
            )
        try:
            return self.vocabulary.encode(self.prepared(text), unknown=unknown, where="--prime")
        except VocabularyError as error:
            raise SettingsError(str(error)) from None

    def ids_of_end(self, until: str) -> np.ndarray:
        """Return the ids that end a text. Raises SettingsError for what the model never writes."""
        codes = self.vocabulary.codes(self.prepared(until))
        ids = self.vocabulary.spelled(codes)
        if (ids < 0).any():
            missing = describe(int(codes[np.argmax(ids < 0)]), self.vocabulary.unit)
            raise SettingsError(
                f"--until {one_line(until)!r}: this model never writes {missing}; retype it"
            )
        return ids

    def samples_of(self, prime: np.ndarray, finished: Finished) -> Iterator[Sample]:
        """Yield the samples of what has ended, decoded in one go. prime: the prompt's ids."""
        whole = self.vocabulary.to_bytes(np.concatenate([prime, finished.ids]))
        if self.vocabulary.unit == "byte":
            yield from self._of_bytes(whole, len(prime), finished)
        elif self.vocabulary.spelling is not None:
            yield from self._of_spelled(whole.decode(), prime, finished)
        else:
            yield from self._of_text(whole.decode(), len(prime), finished)

    def _of_text(self, whole: str, begin: int, finished: Finished) -> Iterator[Sample]:
        """whole: the prompt, which ends at `begin`, then the texts."""
        prompt = whole[:begin]
        at = begin
        pairs = zip(finished.lengths, finished.nats, strict=True)
        for number, (chars, nats) in enumerate(pairs, finished.first):
            end = at + chars
            text = whole[at:end]
            if self.mode == "lines" and text.endswith("\n"):
                text = text[:-1]
            ids = (finished.ids, at - begin, end - begin)
            yield Sample(number, prompt + text, nats, chars, ids)
            at = end

    def _of_spelled(self, whole: str, prime: np.ndarray, finished: Finished) -> Iterator[Sample]:
        """whole: the prompt, then the texts, some characters of which have several ids."""
        at = self.vocabulary.chars(prime)
        prompt = whole[:at]
        begin = 0
        pairs = zip(finished.lengths, finished.nats, strict=True)
        for number, (length, nats) in enumerate(pairs, finished.first):
            end = begin + length
            chars = self.vocabulary.chars(finished.ids[begin:end])
            text = whole[at : at + chars]
            if self.mode == "lines" and text.endswith("\n"):
                text = text[:-1]
            yield Sample(number, prompt + text, nats, chars, (finished.ids, begin, end))
            begin = end
            at += chars

    def _of_bytes(self, whole: bytes, begin: int, finished: Finished) -> Iterator[Sample]:
        """whole: the prompt, which ends at `begin`, then the texts."""
        prompt = whole[:begin]
        at = begin
        pairs = zip(finished.lengths, finished.nats, strict=True)
        for number, (chars, nats) in enumerate(pairs, finished.first):
            end = at + chars
            data = whole[at:end]
            if self.mode == "lines" and data.endswith(b"\n"):
                data = data[:-1]
            data = prompt + data
            text = data.decode("utf-8", "replace")
            ids = (finished.ids, at - begin, end - begin)
            yield Sample(number, text, nats, chars, ids, data)
            at = end

    def as_bytes(self, pieces: Iterable[np.ndarray]) -> Iterator[bytes]:
        """Yield the text of pieces of ids in whole characters; bytes that are not UTF-8 pass."""
        if self.vocabulary.unit == "char" and self.vocabulary.spelling is None:
            for piece in pieces:
                if len(piece):
                    yield self.vocabulary.to_bytes(piece)
            return
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        for piece in pieces:
            if text := decoder.decode(self.vocabulary.to_bytes(piece)):
                yield text.encode("utf-8", "surrogateescape")
        if text := decoder.decode(b"", True):
            yield text.encode("utf-8", "surrogateescape")
