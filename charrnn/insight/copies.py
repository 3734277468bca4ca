"""What of a model's samples is new, and what was copied; and how much of the text's structure they keep.

Every figure of the samples stands beside that of real text which the model has not learnt from ("held out"): real text
shares lines, n-grams and long runs with the training text too, and a model copies only as far as it shares more.
Nothing here is estimated; what is looked at in part says so. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.errors import CorpusError, SettingsError
from charrnn.insight.nearest import MAX_LENGTH, MOST, Lines
from charrnn.insight.structure import dictionary_of, distinct_report, structure_report
from charrnn.sampling.codec import Sample
from charrnn.sampling.decode import Decoding, checked_seed
from charrnn.sampling.engine import LINE_LENGTH, STREAM_LENGTH, Sampler
from charrnn.text.corpus import Corpus
from charrnn.text.matching import longest_run, shares_found
from charrnn.text.splits import SPLITS
from charrnn.texts import OpenedRun

TEMPERATURES = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1)
HOTTER = (1.2, 1.3, 1.5, 1.7, 2.0)  # only until samples are as surprising as the validation text
LENGTHS = (*range(2, 11), 15, 20, 30, 50)  # of the n-grams
FEW_STREAMS, FEW_LINES = 100, 1000  # samples for each further temperature, at most
OTHER_CHARS = 100_000  # characters of streams for each further temperature, at most
LEAST_CHARS = 5000  # of streams, to tell copies from chance
LEAST_LINE = (
    20  # characters of a line of a stream; shorter ones, such as `}` or `ROMEO:`, say nothing
)
NEAREST = (
    100  # new lines whose nearest training line is sought: the first different ones that were drawn
)
EXAMPLES = 5
READ_CHARS = 32_000_000  # of the training text, for its dictionary and for the nearest lines
MAX_SAMPLES, MAX_CHARS = 100_000, 10_000_000  # 5 GB of memory at MAX_CHARS
LONG_WORK = 5e11  # characters times parameters that take some ten seconds to draw
LONG_TEXT = 10_000_000  # characters of a training text that take some ten seconds to search
CHUNK = 1 << 20


@dataclass(frozen=True)
class Question:
    """length: of a stream's samples (None: 500), of lines at most (None: 1000). Raises SettingsError."""

    count: int
    temperature: float = 0.8
    length: int | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        Decoding(self.temperature)
        checked_seed(self.seed)
        if not 1 <= self.count <= MAX_SAMPLES:
            raise SettingsError(f"--samples {self.count}: must be between 1 and {MAX_SAMPLES:,}")
        if self.length is not None and self.length < 1:
            raise SettingsError(f"--length {self.length}: must be at least 1")


def examine(
    run: OpenedRun, question: Question, note: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Draw samples and look at them; all of it can be written as JSON. note: is told what is done, if that takes long.

    Of a place, "sample", "start" (in the sample) and "place" (in the training text) count from 0, as in Python; "line"
    and "column" from 1, as in an editor. Raises CheckpointError, CorpusError, SettingsError.
    """
    run.folder("--samples compares with it: name the run")
    model = run.model
    corpora = run.corpora
    corpus, lines = corpora[0], model.mode == "lines"
    train = run.training_splits
    count, length = question.count, question.length or (LINE_LENGTH if lines else STREAM_LENGTH)
    if count * length > MAX_CHARS and not (lines and length <= LINE_LENGTH):
        raise SettingsError(
            f"--samples {count:,} of {length:,} characters: at most {MAX_CHARS:,} in all; ask for less"
        )
    sampler = Sampler(model)

    def draw(count: int, length: int, temperature: float) -> list[Sample]:
        drawn, chars = list[Sample](), 0
        for sample in sampler.generate(
            count, decoding=Decoding(temperature), length=length, seed=question.seed
        ):
            drawn.append(sample)
            chars += sample.chars
            if chars > MAX_CHARS:  # lines that do not end
                raise SettingsError(
                    f"--samples {count:,}: over {MAX_CHARS:,} characters in all; ask for less"
                )
        return drawn

    usual = min(length, len(train[0]) / max(1, len(corpus.lines("train")[0]))) if lines else length
    work = count * usual * sum(tensor.size for tensor in model.tensors.values())
    say = note if work > LONG_WORK or sum(map(len, train)) > LONG_TEXT else lambda text: None
    say(f"drawing {_samples(count)} of {'at most ' if lines else ''}{length:,} characters")
    samples = draw(count, length, question.temperature)
    say("looking for them in the training text")
    held_name = "test" if len(corpus.split("test")) else "val"
    held = held_out(corpus, held_name, count, length)
    pieces = [without_newline(sample.ids, corpus) for sample in samples]
    few, short = other_size(count, length, lines)
    found: dict[str, Any] = {
        "samples": len(samples),
        "mode": model.mode,
        "temperature": question.temperature,
        "seed": question.seed,
        "length": length,
        "chars": sum(sample.chars for sample in samples),
        "other_temperatures": {"samples": few, "length": short},
        "held_out": {"split": held_name, "pieces": len(held), "chars": sum(map(len, held))},
        "training_texts": len(corpora),
        "lines": lines_report(corpora, pieces, held),
        "longest_run": {
            "samples": longest_copy(corpora, pieces),
            "held_out": longest_copy(corpora, held),
        },
        "ngrams_in_training": {
            str(n): {"samples": _ratio(ours), "held_out": _ratio(theirs)}
            for (n, ours), theirs in zip(
                shares_found(pieces, train, LENGTHS).items(),
                shares_found(held, train, LENGTHS).values(),
                strict=True,
            )
        },
        "distinct": distinct_report(pieces, held, corpus),
        "nearest": nearest_report(corpora, pieces, held),
    }
    if not (model.settings.text.val or model.settings.text.test):
        found["lines"]["expected_in_train"] = expected_in_train(found["lines"]["counts"], corpora)
    say(
        f"drawing {_samples(few)} of at most {short:,} characters at each of {len(TEMPERATURES)} or more temperatures"
    )
    val = model.meta.get("val_nats_per_char")
    val = float(val) if isinstance(val, int | float) else None
    sets = at_temperatures(
        lambda other: draw(few, short, other), question.temperature, samples, val
    )
    words = (
        None
        if lines
        else set[str]().union(
            *(dictionary_of(_data(each, "train", READ_CHARS)) for each in corpora)
        )
    )
    texts = {temperature: [sample.text for sample in each] for temperature, each in sets.items()}
    found["structure"] = structure_report(
        texts, [corpus.vocabulary.decode(piece) for piece in held], words, whole=lines
    )
    nats = {temperature: _nats_per_char(each) for temperature, each in sets.items()}
    found["entropy"] = {
        "val_nats_per_char": val,
        "nats_per_char": {f"{t:g}": value for t, value in nats.items()},
        "matching_temperature": matching_temperature(nats, val) if val is not None else None,
    }
    found["warnings"] = warnings_of(found)
    found["doubt"] = doubt_of(found)
    return found


def held_out(corpus: Corpus, split: str, count: int, length: int) -> list[np.ndarray]:
    """At most count pieces of a split, evenly spread: whole lines without their newline, or pieces of length ids."""
    ids = corpus.split(split)
    if not len(ids):
        raise CorpusError(
            "this run has held out no text to compare with; train one with --split 0.9,0.1"
        )
    if corpus.mode == "lines":
        starts, lengths = corpus.lines(split)
    else:
        starts = np.arange(max(1, len(ids) // length)) * length
        lengths = np.full(len(starts), length)
    which = np.unique(np.linspace(0, len(starts) - 1, min(count, len(starts))).astype(np.int64))
    return [ids[starts[i] : starts[i] + lengths[i]] for i in which]


def without_newline(ids: np.ndarray, corpus: Corpus) -> np.ndarray:
    return (
        ids[:-1]
        if corpus.mode == "lines" and len(ids) and ids[-1] == corpus.vocabulary.newline
        else ids
    )


# Whole lines


def whole_lines(pieces: Sequence[np.ndarray], corpus: Corpus) -> list[np.ndarray]:
    """Lines mode: the pieces. Stream: their lines of at least LEAST_LINE ids, but for the first and the last of each."""
    if corpus.mode == "lines":
        return [piece for piece in pieces if len(piece)]
    newline = corpus.vocabulary.newline
    if newline is None:
        return []
    inner = (
        line[1:]
        for piece in pieces
        for line in np.split(piece, np.flatnonzero(piece == newline))[1:-1]
    )
    return [line for line in inner if len(line) >= LEAST_LINE]


def lines_in(wanted: set[bytes], corpus: Corpus, split: str) -> set[bytes]:
    """Which of these lines a split holds as whole lines. Memory: a chunk, and the longest line."""
    found, rest = set[bytes](), b""
    for data in _data(corpus, split, None):
        *lines, rest = (rest + data).split(b"\n")
        found |= wanted.intersection(lines)
    return found | wanted.intersection([rest])


def _data(corpus: Corpus, split: str, most: int | None) -> Iterator[bytes]:
    ids = corpus.split(split)[:most]
    return (corpus.vocabulary.to_bytes(ids[at : at + CHUNK]) for at in range(0, len(ids), CHUNK))


def lines_report(
    corpora: list[Corpus], pieces: list[np.ndarray], held: list[np.ndarray]
) -> dict[str, Any]:
    """Shares of whole lines by the first of train, val and test that has them, or "new"."""
    to_bytes = corpora[0].vocabulary.to_bytes
    ours, theirs = (
        [to_bytes(line) for line in whole_lines(each, corpora[0])] for each in (pieces, held)
    )
    wanted = set(ours)
    inside = {
        split: set[bytes]().union(*(lines_in(wanted, each, split) for each in corpora))
        for split in SPLITS
    }
    counts = dict.fromkeys((*SPLITS, "new"), 0)
    for line in ours:
        counts[next((split for split in SPLITS if line in inside[split]), "new")] += 1
    in_train = set[bytes]().union(*(lines_in(set(theirs), each, "train") for each in corpora))
    return {
        "lines": len(ours),
        **{
            f"in_{name}" if name != "new" else name: _ratio((n, len(ours)))
            for name, n in counts.items()
        },
        "counts": counts,
        "repeated": _ratio((len(ours) - len(wanted), len(ours))),
        "expected_in_train": None,
        "held_out_lines": len(theirs),
        "held_out_in_train": _ratio((sum(line in in_train for line in theirs), len(theirs))),
    }


# Runs and n-grams


def longest_copy(corpora: list[Corpus], pieces: list[np.ndarray]) -> dict[str, Any] | None:
    """The longest run of a piece in the training text, with the line where it begins there (numbers from 1)."""
    runs = [(longest_run(pieces, corpus.split("train")), corpus) for corpus in corpora]
    run, corpus = max(runs, key=lambda each: each[0].length if each[0] else 0)
    if run is None:
        return None
    train, newline, decode = (
        corpus.split("train"),
        corpus.vocabulary.newline,
        corpus.vocabulary.decode,
    )
    number, begin = 1, 0
    for at in range(0, run.place, CHUNK):
        ends = np.flatnonzero(train[at : min(at + CHUNK, run.place)] == newline)
        number += len(ends)
        begin = at + int(ends[-1]) + 1 if len(ends) else begin
    line = train[begin : run.place + run.length]
    rest = train[run.place + run.length :][:CHUNK]
    line = np.concatenate(
        [line, rest[: int(np.argmax(rest == newline)) if (rest == newline).any() else len(rest)]]
    )
    return {
        "chars": run.length,
        "text": decode(pieces[run.piece][run.start : run.start + run.length]),
        "sample": run.piece,
        "start": run.start,
        "text_name": corpus.name,
        "place": run.place,
        "line": number,
        "column": run.place - begin + 1,
        "source": decode(line[: 4 * MAX_LENGTH + run.length]),
    }


def nearest_report(
    corpora: list[Corpus], pieces: list[np.ndarray], held: list[np.ndarray]
) -> dict[str, Any] | None:
    """How far new lines are from training lines, in edits; the nearest of them as examples."""
    corpus = corpora[0]
    newline, decode = corpus.vocabulary.newline, corpus.vocabulary.decode
    if newline is None:
        return None
    texts = [Lines(each.split("train")[:READ_CHARS], newline) for each in corpora]
    report: dict[str, Any] = {"training_lines": sum(map(len, texts)), "most_chars": MOST}
    for name, each in (("samples", pieces), ("held_out", held)):
        different = {
            line.tobytes(): line for line in whole_lines(each, corpus) if len(line) <= MOST
        }
        known = set[bytes]()
        for one in corpora:
            known |= lines_in(
                {corpus.vocabulary.to_bytes(line) for line in different.values()}, one, "train"
            )
        new = [
            line for line in different.values() if corpus.vocabulary.to_bytes(line) not in known
        ][:NEAREST]
        pairs = []
        for line in new:
            nearest = min(
                (hit for text in texts if (hit := text.nearest(line))),
                key=lambda hit: hit[0],
                default=None,
            )
            if nearest:
                pairs.append((nearest[0] / len(line), nearest[0], line, nearest[1]))
        pairs.sort(key=lambda pair: pair[:2])
        report[name] = {
            "lines": len(pairs),
            "one_edit": _ratio((sum(pair[1] <= 1 for pair in pairs), len(pairs))),
            "median_edits": pairs[len(pairs) // 2][1] if pairs else None,
            "median_edits_per_char": pairs[len(pairs) // 2][0] if pairs else None,
            "examples": [
                {"text": decode(line), "nearest": decode(other), "edits": edits}
                for _, edits, line, other in pairs[:EXAMPLES]
            ],
        }
    return report


# By temperature


def other_size(count: int, length: int, lines: bool) -> tuple[int, int]:
    """Samples for each further temperature, and their characters at most: as asked, within bounds."""
    if lines:
        return min(count, FEW_LINES), min(length, LINE_LENGTH)
    return max(1, min(count, FEW_STREAMS, OTHER_CHARS // length)), min(length, OTHER_CHARS)


def at_temperatures(
    draw: Callable[[float], list[Sample]],
    temperature: float,
    samples: list[Sample],
    val: float | None,
) -> dict[float, list[Sample]]:
    """Samples by temperature, the coolest first; one that prints like `temperature` is not drawn again."""
    sets = {temperature: samples}
    for t in (*TEMPERATURES, *HOTTER):
        is_wanted = t in TEMPERATURES or (
            val is not None
            and all(_nats_per_char(each) < val for cooler, each in sets.items() if cooler < t)
        )
        if is_wanted and f"{t:g}" != f"{temperature:g}":
            sets[t] = draw(t)
    return dict(sorted(sets.items()))


def _samples(count: int) -> str:
    return "1 sample" if count == 1 else f"{count:,} samples"


def _nats_per_char(samples: list[Sample]) -> float:
    """Under the model itself, at temperature 1."""
    return sum(one.nats for one in samples) / max(1, sum(one.chars for one in samples))


def matching_temperature(nats: dict[float, float], wanted: float) -> float | None:
    """Where the broken line through (temperature, nats) first reaches `wanted`; None if it never does."""
    points = sorted(nats.items())
    for (t, low), (later, high) in zip(points, points[1:], strict=False):
        if min(low, high) <= wanted <= max(low, high):
            return t + (later - t) * ((wanted - low) / (high - low) if high != low else 0.0)
    return None


# Verdicts


def warnings_of(found: dict[str, Any]) -> list[str]:
    """A line for each sign of copying. Thresholds leave room for chance; what they compare is in the report."""
    warnings = []
    run, real = found["longest_run"]["samples"], found["longest_run"]["held_out"]
    if run and run["chars"] >= 40 and run["chars"] > 2 * (real["chars"] if real else 0):
        warnings.append(
            f"copies: a run of {run['chars']:,} characters is in the training text; held-out text shares "
            f"{real['chars'] if real else 0:,} at most"
        )
    for n in (50, 30, 20):
        both = found["ngrams_in_training"][str(n)]
        ours, theirs = both["samples"] or 0.0, both["held_out"] or 0.0
        if ours > 0.05 and ours > 2 * theirs:
            warnings.append(
                f"copies: {ours:.1%} of the {n}-grams are in the training text; of held-out text {theirs:.1%}"
            )
            break
    ours, theirs = (found["ngrams_in_training"]["2"][name] for name in ("samples", "held_out"))
    if ours is not None and theirs is not None and 1 - ours > 0.01 + 5 * (1 - theirs):
        warnings.append(
            f"garbles: {1 - ours:.1%} of the pairs of characters never occur in the training text; of held-out text "
            f"{1 - theirs:.1%}"
        )
    known = found["lines"]["expected_in_train"]
    ours = found["lines"]["in_train"]
    if known is not None and ours > max(
        1.5 * known["share"], known["share"] + 3 * known["deviation"]
    ):
        warnings.append(
            f"copies: a training line is written {ours / known['share']:.1f} times as often as a held-out line"
            if known["share"]
            else f"copies: {ours:.1%} of the samples are training lines, and none is a held-out line"
        )
    return warnings


def doubt_of(found: dict[str, Any]) -> str | None:
    """Why copies could have gone without a warning here; None if they could not."""
    lines, grams = found["lines"], found["ngrams_in_training"]["50"]
    if found["mode"] == "lines" and lines["lines"] and lines["expected_in_train"] is None:
        return "cannot tell, for the held-out lines are no random part of the text"
    if (
        3 * lines["expected_in_train"]["deviation"]
        >= 0.5  # chance alone could make half of them training lines
        if lines["expected_in_train"]
        else found["chars"] < LEAST_CHARS
    ):
        return "too few samples to tell"
    if (grams["samples"] or 0.0) > 0.05 and (grams["held_out"] or 0.0) >= 0.5:
        return f"cannot tell, for {grams['held_out']:.1%} of the held-out text's 50-grams are in the training text too"
    return None


def expected_in_train(counts: dict[str, int], corpora: list[Corpus]) -> dict[str, float] | None:
    """The share of samples that would be training lines if each were written as often as a held-out line is.

    The splits are drawn from the same lines by chance, so a model that only generalises writes both equally often.
    deviation: the standard deviation of that share, from the number of held-out lines that were written (Poisson).
    None for streams, and where a split has a file of its own.
    """
    corpus = corpora[0]
    sizes = (
        {split: len(corpus.lines(split)[0]) for split in SPLITS} if corpus.mode == "lines" else {}
    )
    held, total = sum(sizes.values()) - sizes.get("train", 0), sum(counts.values())
    if not held or not total or len(corpora) > 1:
        return None
    hits = counts["val"] + counts["test"]
    each = sizes["train"] / held / total
    return {"share": hits * each, "deviation": math.sqrt(hits + 1) * each}


def _ratio(pair: tuple[int, int]) -> float | None:
    return pair[0] / pair[1] if pair[1] else None
