"""Long texts: every character against its exact distribution given all before it.

Of T places with distributions P_t the counts of the characters, less the sum of the P_t, have the
covariance S = sum of diag(P_t) - P_t P_t': (counts - sum P)' S^-1 (counts - sum P) is chi-square
with V - 1 degrees of freedom, though no two places need be independent. The counts are kept apart
by the character before, and those of rows add up: each makes V - 1 degrees of freedom.
"""

import numpy as np
import pytest
from draws_reference import distribution, opened
from draws_support import FEW, LEAST_P, MANY, p_value

import charrnn

TURNS = 20_000  # characters of a stream that numpy writes once more
FORGOTTEN = 500  # characters after which it does not matter which state was before them
PARTS = 50  # of a stream, which the reference reads side by side
LENGTH = 200  # beyond the 64 characters of the penalty
# The filters leave room for the rare letters, which alone can be absent from the last 64.
ALL = {"temperature": 1.2, "top_k": 9, "top_p": 0.98, "min_p": 0.01, "repetition_penalty": 1.5}
DECODINGS = {
    "nothing": {},
    "--repetition-penalty 2.5": {"repetition_penalty": 2.5},
    "all": ALL,
}


class Places:
    """Sums over places, apart by the character before each."""

    def __init__(self, size):
        self.surplus = np.zeros((size, size))  # counts less sum of P, by the character before
        self.covariance = np.zeros((size, size, size))
        self.draws = 0

    def add(self, before, p, chars):
        """Take in places with distributions p (B, V), and what was drawn there (B,)."""
        rows = np.arange(len(chars))
        assert (p[rows, chars] > 0).all(), "drawn, but impossible"
        difference = -p
        difference[rows, chars] += 1
        self.draws += len(chars)
        for char in set(before):
            here = np.array(before) == char
            self.surplus[char] += difference[here].sum(0)
            self.covariance[char] += np.diag(p[here].sum(0)) - p[here].T @ p[here]

    def __iadd__(self, other):
        self.surplus += other.surplus
        self.covariance += other.covariance
        self.draws += other.draws
        return self

    def chi_square(self):
        """Return (chi2, df)."""
        chi2 = 0.0
        df = 0
        for surplus, covariance in zip(self.surplus, self.covariance, strict=True):
            chi2 += surplus @ np.linalg.pinv(covariance, rcond=1e-9, hermitian=True) @ surplus
            df += np.linalg.matrix_rank(covariance, tol=1e-9 * covariance.trace(), hermitian=True)
        return chi2, int(df)


def places_of(reference, decoding, texts, prime="", read=0):
    """Return the sums over all places of generated ids (B, T) but the first `read` of each."""
    ids = np.array(texts)
    places = Places(len(reference.symbols))
    prompt = reference.ids(prime)
    scores, state = reference.begin(prompt)
    scores = scores.repeat(len(ids), 0)
    state = [part.repeat(len(ids), 0) for part in state]
    before = [(prompt or [reference.start])[-1]] * len(ids)
    another = [np.ones_like(part) for part in state]
    for t in range(ids.shape[1]):
        if t < read:
            another = reference.step(another, ids[:, t])[1]
        else:
            recent = ids[:, max(0, t - 64) : t].tolist()
            p = distribution(scores, decoding, recent)
            places.add(before, p, ids[:, t])
        before = ids[:, t].tolist()
        scores, state = reference.step(state, before)
        if t + 1 == read:  # whatever stood before these characters is forgotten
            np.testing.assert_allclose(state, another, rtol=0, atol=1e-12)
    return places


def places_of_stream(reference, decoding, ids):
    """Return the sums over all places of one stream (T,), cut into parts.

    Each part is read with the characters before it, which alone decide the state there.
    """
    length = (len(ids) - FORGOTTEN) // PARTS
    assert FORGOTTEN + PARTS * length == len(ids)
    begins = range(0, PARTS * length, length)
    parts = [ids[begin : begin + FORGOTTEN + length] for begin in begins]
    places = places_of(reference, decoding, parts, read=FORGOTTEN)
    places += places_of(reference, decoding, [ids[:FORGOTTEN]])
    return places


def assert_placed(name, engine, places):
    chi2, df = places.chi_square()
    p = p_value(chi2, df)
    print(f"| {name} | {engine} | {places.draws:,} | {chi2:.1f} / {df} | {p:.3f} |")
    assert p > LEAST_P


def check_texts(run_of, engine, draws, option, cache):
    """Many texts side by side."""
    run = run_of("stream")
    reference = opened(run / "model.safetensors", is_half=True, cache=cache)
    sampler = charrnn.load(run, engine=engine, cache=cache)
    decoding = DECODINGS[option]
    samples = sampler.generate(
        draws // LENGTH,
        length=LENGTH,
        prime="abdabdab",
        seed=8,
        decoding=charrnn.Decoding(**decoding),
    )
    texts = [sample.ids for sample in samples]
    places = places_of(reference, decoding, texts, "abdabdab")
    assert_placed(f"long texts: {option}, --cache {cache}", engine, places)


def check_stream(run_of, engine, draws):
    """One text as it comes: `charrnn sample` without --json, and --interactive."""
    run = run_of("stream")
    reference = opened(run / "model.safetensors", is_half=True)
    sampler = charrnn.load(run, engine=engine)
    decoding = charrnn.Decoding(**ALL)
    streamed = b"".join(sampler.stream(length=draws, seed=9, decoding=decoding, threads=1)).decode()
    places = places_of_stream(reference, ALL, reference.ids(streamed))
    assert places.draws == draws
    assert_placed("one stream", engine, places)

    # Once more, with a step split over threads, which are for the compiled engine.
    begun = min(draws, TURNS) if engine == "numpy" else draws
    again = b"".join(sampler.stream(length=begun, seed=9, decoding=decoding, threads=2)).decode()
    assert again == streamed[:begun]

    # By turns: the window of the penalty goes on over the turns.
    writer = sampler.begin(seed=9)
    turns = []
    while (left := begun - sum(map(len, turns))) > 0:
        turns.append(b"".join(writer.write(min(777, left), decoding=decoding)).decode())
    assert "".join(turns) == streamed[:begun]


@pytest.mark.parametrize(("option", "cache"), [("--repetition-penalty 2.5", 0), ("all", 4)])
def test_every_character_of_long_texts_follows_the_definition(run_of, engine, option, cache):
    check_texts(run_of, engine, FEW, option, cache)


@pytest.mark.slow
@pytest.mark.parametrize("cache", [0, 4])
@pytest.mark.parametrize("option", DECODINGS)
def test_a_million_characters_of_long_texts_follow_it(run_of, engine, option, cache):
    check_texts(run_of, engine, MANY, option, cache)


def test_every_character_of_a_stream_follows_the_definition(run_of, engine):
    check_stream(run_of, engine, 5000)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # numpy draws a million characters one by one
def test_a_million_characters_of_a_stream_follow_it(run_of, engine):
    check_stream(run_of, engine, MANY)
