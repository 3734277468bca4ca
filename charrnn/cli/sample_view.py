"""Samples on their way to standard output: as lines, as JSON, as a ranking, or as one stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.sampling.codec import Sample
    from charrnn.texts import Novelty


def as_lines(
    samples: Iterable[Sample],
    known: Novelty | None,
    verdicts: Counter[bool | None],
    *,
    with_labels: bool = False,
    is_divided: bool = False,
) -> Iterator[bytes]:
    """A line for each sample. verdicts counts whether they are novel, if the text is known.

    with_labels: each begins with its label and a tab, as `train --label prefix` reads it.
    is_divided: samples may have several lines, and a line `---` stands between two.
    """
    for number, sample in enumerate(samples):
        if is_divided and number:
            yield b"---\n"
        if known:
            verdicts[known.is_novel(sample.data)] += 1
        label = f"{sample.label}\t".encode() if with_labels else b""
        yield label + sample.data + b"\n"


def as_objects(
    samples: Iterable[Sample], known: Novelty | None, seed: int, *, rank: bool, novel: bool
) -> Iterator[dict[str, Any]]:
    """The values of a JSON object for each sample. novel: every sample has passed --novel."""
    from charrnn.sampling.constraints import bits_per_char, ranked

    if rank:
        samples = ranked(samples)
    for place, sample in enumerate(samples, 1):
        is_novel = known.is_novel(sample.data) if known and not novel else None
        place_of: dict[str, Any] = {"rank": place} if rank else {}
        if sample.label:
            place_of["label"] = sample.label
        yield {
            "text": sample.text,
            "nats": sample.nats,
            "chars": sample.chars,
            "bits_per_char": bits_per_char(sample),
            **place_of,
            "novel": novel or is_novel,
            "seed": seed,
            "index": sample.index,
        }


def as_ranking(samples: list[Sample], *, with_labels: bool = False) -> Iterator[bytes]:
    """`2.13  Maria`; the further lines of a text are indented as far as its first.

    with_labels: its label and a tab stand before the text.
    """
    from charrnn.sampling.constraints import bits_per_char

    bits = [bits_per_char(sample) for sample in samples]
    numbers = ["-" if value is None else f"{value:.2f}" for value in bits]
    width = max(map(len, numbers), default=0)
    for number, sample in zip(numbers, samples, strict=True):
        text = sample.data.removesuffix(b"\n").replace(b"\n", b"\n" + b" " * (width + 2))
        label = f"{sample.label}\t" if with_labels else ""
        yield f"{number:>{width}}  {label}".encode() + text + b"\n"


def divided(texts: Iterable[Iterable[bytes]], *, end_line: bool) -> Iterator[bytes]:
    """Texts in pieces, as they come, with a line `---` between two.

    end_line: the last text is ended with a newline if it has none.
    """
    piece = b"\n"
    for number, text in enumerate(texts):
        if number:
            yield b"---\n" if piece.endswith(b"\n") else b"\n---\n"
        piece = b"\n"
        for piece in text:
            yield piece
    if end_line and not piece.endswith(b"\n"):
        yield b"\n"
