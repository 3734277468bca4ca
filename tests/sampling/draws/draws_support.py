"""Pearson's chi-square, and the models of this folder with the texts that they learn."""

import itertools
import random
from collections import Counter

import torch

LEAST_EXPECTED = 10  # of a cell; rarer outcomes are one cell
# A right sampler of some other seed falls below it once in 10,000 tests. Seeds here are fixed.
LEAST_P = 1e-4
FEW = 10_000
MANY = 1_000_000
MODELS = {
    "lines": {"mode": "lines", "cell": "lstm"},
    "stream": {"mode": "stream", "cell": "gru", "num_layers": 2},
    "byte lines": {"mode": "lines", "unit": "byte", "cell": "rnn"},
    "byte stream": {"mode": "stream", "unit": "byte", "cell": "gru-before"},
    "counted lines": {"mode": "lines", "cell": "ngram", "order": "3"},
    "counted stream": {"mode": "stream", "cell": "ngram", "order": "3"},
    "counted bytes": {
        "mode": "stream",
        "unit": "byte",
        "cell": "ngram",
        "order": "2",
        "smoothing": "witten-bell",
    },
}


def p_value(chi2, df):
    """Return how often chi-square with df degrees of freedom is larger: Q(df / 2, chi2 / 2)."""
    half = torch.tensor([df / 2, chi2 / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


def chi_square(outcomes, probabilities):
    """Return (draws, chi2, df, p) of outcomes against exact probabilities.

    Raises AssertionError for an outcome that has no probability.
    """
    counts = Counter(outcomes)
    draws = counts.total()
    impossible = set(counts) - set(probabilities)
    assert not impossible, f"drawn, but impossible: {sorted(impossible)[:5]}"
    cells = []  # expected, observed
    rare = [0.0, 0]
    for text, probability in sorted(probabilities.items(), key=lambda item: item[1]):
        rare[0] += draws * probability
        rare[1] += counts[text]
        if rare[0] >= LEAST_EXPECTED:
            cells.append(tuple(rare))
            rare = [0.0, 0]
    cells[-1] = (cells[-1][0] + rare[0], cells[-1][1] + rare[1])
    chi2 = sum((observed - expected) ** 2 / expected for expected, observed in cells)
    df = len(cells) - 1
    return draws, chi2, df, p_value(chi2, df)


def assert_drawn(name, engine, outcomes, probabilities):
    """Assert that outcomes follow the probabilities, and print a row of the table (pytest -s)."""
    draws, chi2, df, p = chi_square(outcomes, probabilities)
    print(f"| {name} | {engine} | {draws:,} | {chi2:.1f} / {df} | {p:.3f} |")
    assert df > 0, "one outcome is no distribution"
    assert p > LEAST_P, f"{name}, {engine}: chi2 {chi2:.1f} with {df} degrees of freedom, p {p:.1e}"


def lines_of(letters, most, seed):
    """Return different lines of 1 to `most` letters, some letters after some others."""
    generator = random.Random(seed)
    lines = set()
    for length in range(1, most + 1):
        for letters_of_line in itertools.product(letters, repeat=length):
            steps = zip(letters_of_line, letters_of_line[1:], strict=False)
            likely = all(letters.index(b) != (letters.index(a) + 2) % 4 for a, b in steps)
            if generator.random() < (0.7 if likely else 0.15):
                lines.add("".join(letters_of_line))
    return sorted(lines)


def stream_of(letters, length, seed):
    """Return a text in which each letter depends on the two before it. A fifth and more are rare.

    Only a rare letter can be absent from the window of the repetition penalty.
    """
    generator = random.Random(seed)
    text = letters[:2]
    while len(text) < length:
        place = 2 * letters.index(text[-1]) + letters.index(text[-2])
        weights = [1 + 6 * ((place + k) % 4 == 0) + (place * k) % 3 for k in range(len(letters))]
        weights[4:] = [0.6] * len(weights[4:])
        text += generator.choices(letters, weights)[0]
    return text
