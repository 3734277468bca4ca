"""What the figures of a look at samples mean: warnings, doubts, and the verdict in one line.

Thresholds leave room for chance. What they compare stands in the card (`card.py`).
"""

from __future__ import annotations

from charrnn.insight.card import Examination
from charrnn.text.novelty import DOUBT

LEAST_CHARS = 5000  # characters of streams that are needed to tell copies from chance
LONG_RUN = 40  # characters; a shorter run is no sign of copying
MANY = 0.05  # of the n-grams: fewer are no sign of copying


def warnings_of(card: Examination) -> list[str]:
    """A line for each sign that the model copies, or that it garbles."""
    candidates = (
        _run_warning(card),
        _ngram_warning(card),
        _garble_warning(card),
        _line_warning(card),
    )
    warnings = [warning for warning in candidates if warning is not None]
    return warnings + before_warnings(card)


def before_warnings(card: Examination) -> list[str]:
    """A line for each sign that samples stand in texts learnt before, or why that is not told."""
    before = card.learnt_before
    if before is None:
        return []
    warnings = []
    share = before.share.samples
    if share is not None and share > DOUBT:
        warnings.append(
            f"{share:.1%} of the {_asked_kind(card)} may be in a text learnt before "
            "(a filter says so; it is wrong for 1 or 2 in a hundred)"
        )
    return warnings + list(before.gaps)


def _asked_kind(card: Examination) -> str:
    """What the filters of texts learnt before were asked about."""
    before = card.learnt_before
    if before is None or before.piece_chars is None:
        return line_kind(card)
    return f"pieces of {before.piece_chars} characters"


def _run_warning(card: Examination) -> str | None:
    run = card.longest_run.samples
    real = card.longest_run.held_out
    real_chars = real.chars if real else 0
    if not run or run.chars < LONG_RUN or run.chars <= 2 * real_chars:
        return None
    return (
        f"copies: a run of {run.chars:,} characters is in the training text; "
        f"held-out text shares {real_chars:,} at most"
    )


def _ngram_warning(card: Examination) -> str | None:
    for n in (50, 30, 20):
        shares = card.ngrams_in_training[str(n)]
        written = shares.samples or 0.0
        real = shares.held_out or 0.0
        if written > MANY and written > 2 * real:
            return (
                f"copies: {written:.1%} of the {n}-grams are in the training text; "
                f"of held-out text {real:.1%}"
            )
    return None


def _garble_warning(card: Examination) -> str | None:
    pairs = card.ngrams_in_training["2"]
    if pairs.samples is None or pairs.held_out is None:
        return None
    if 1 - pairs.samples <= 0.01 + 5 * (1 - pairs.held_out):
        return None
    return (
        f"garbles: {1 - pairs.samples:.1%} of the pairs of characters never occur in the training "
        f"text; of held-out text {1 - pairs.held_out:.1%}"
    )


def _line_warning(card: Examination) -> str | None:
    expected = card.lines.expected_in_train
    share = card.lines.in_train
    if expected is None or share is None:
        return None
    if share <= max(1.5 * expected.share, expected.share + 3 * expected.deviation):
        return None
    if expected.share:
        times = share / expected.share
        return f"copies: a training line is written {times:.1f} times as often as a held-out line"
    return f"copies: {share:.1%} of the samples are training lines, and none is a held-out line"


def doubt_of(card: Examination) -> str | None:
    """Why copies could have gone without a warning here; None if they could not."""
    before = card.learnt_before
    if before is not None:
        share = before.share.samples
        if share is not None and share > DOUBT:
            kind = _asked_kind(card)
            return f"cannot tell, for {share:.1%} of the {kind} may be in a text learnt before"
        if before.gaps:
            return "cannot tell, for not every text that it learnt is here"
    expected = card.lines.expected_in_train
    if card.mode == "lines" and card.lines.lines and expected is None:
        return "cannot tell, for the held-out lines are no random part of the text"
    if expected:  # chance alone could make half of the samples training lines
        is_too_little = 3 * expected.deviation >= 0.5
    else:
        is_too_little = card.chars < LEAST_CHARS
    if is_too_little:
        return "too few samples to tell"
    grams = card.ngrams_in_training["50"]
    real = grams.held_out or 0.0
    if (grams.samples or 0.0) > MANY and real >= 0.5:
        return (
            f"cannot tell, for {real:.1%} of the held-out text's 50-grams "
            "are in the training text too"
        )
    return None


def verdict(card: Examination) -> str:
    """Whether it copies, and the figures that say so: `no sign of copying: 2.1 % ...`"""
    lines = card.lines
    facts = []
    if lines.lines:
        beside = f"held-out text: {percent(lines.held_out_in_train)}"
        if lines.expected_in_train is not None:
            expected = percent(lines.expected_in_train.share)
            beside = f"{expected} if they were written as often as held-out lines"
        share = percent(lines.in_train)
        facts.append(f"{share} of the {line_kind(card)} are training lines ({beside})")
    run = card.longest_run.samples
    real = card.longest_run.held_out
    if run:
        real_chars = real.chars if real else 0
        facts.append(
            f"the longest run has {run.chars:,} characters (held-out text: {real_chars:,})"
        )
    if any(warning.startswith("copies") for warning in card.warnings):
        answer = "copies"
    else:
        answer = card.doubt or "no sign of copying"
    return f"{answer}: {'; '.join(facts) or 'nothing was written'}"


def line_kind(card: Examination) -> str:
    """What a whole line is called: in lines mode each sample is one."""
    return "samples" if card.mode == "lines" else "whole lines"


def percent(share: float | None) -> str:
    """`12.3 %`, or a dash."""
    return "-" if share is None else f"{100 * share:.1f} %"
