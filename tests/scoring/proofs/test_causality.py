"""What stands later in a text changes nothing of what was scored before it.

With the kernel, with a cache, and along one stream not a bit changes. PyTorch's products of many
rows round by their number: of lines and windows a bit may differ by ROUNDING.
"""

import numpy as np
import pytest
from proofs_support import (
    TEXTS,
    alphabet_of,
    rows_of,
    write_counts,
    write_mixture,
    write_network,
)

ROUNDING = 2e-5  # bits of a character
READINGS = {
    "lines": {},
    "stateful": {},
    "windowed": {"protocol": "windowed", "window": 50},
    "cache": {"cache": 30},
    "cache of all": {"cache": 3000},
    "dynamic": {"dynamic": True},
}


def bits_of(model, text, until, options):
    """Return the bits of the characters before the place `until`."""
    return [row["bits"] for row in rows_of(model, text, **options) if row["place"] < until]


def readings(model, text, options):
    """Return the bits of a beginning that ends there, goes on, or goes on in another way."""
    end = text.index(b"\n", 700) + 1
    texts = (text[:end], text[:2000], text[:end] + text[3000:3037])
    bits = np.array([bits_of(model, one, end, options) for one in texts])
    assert bits.shape[1] > 600
    return bits


@pytest.mark.parametrize("reading", READINGS)
def test_what_a_network_said_stays_as_it_is(reading, engine, tmp_path):
    mode = "lines" if reading == "lines" else "stream"
    text = TEXTS[mode]()
    model = write_network(tmp_path, alphabet_of(text), mode, cell="gru")
    bits = readings(model, text, READINGS[reading])
    rounds = engine == "torch" and reading in ("lines", "windowed")
    assert np.ptp(bits, axis=0).max() <= (ROUNDING if rounds else 0)


@pytest.mark.parametrize("reading", READINGS)
def test_what_a_mixture_said_stays_as_it_is(reading, engine, tmp_path):
    mode = "lines" if reading == "lines" else "stream"
    text = TEXTS[mode]()
    model = write_mixture(tmp_path, alphabet_of(text), mode, text, cell="gru")
    bits = readings(model, text, READINGS[reading])
    rounds = engine == "torch" and reading in ("lines", "windowed")
    assert np.ptp(bits, axis=0).max() <= (ROUNDING if rounds else 0)


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_what_counting_said_is_the_same_to_the_bit(mode, tmp_path):
    text = TEXTS[mode]()
    model = write_counts(tmp_path, alphabet_of(text), mode, text)
    assert np.ptp(readings(model, text, {}), axis=0).max() == 0
