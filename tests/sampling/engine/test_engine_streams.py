"""Both engines: streams, texts that are written and read by turns, the sampler as an object."""

import itertools
import pickle
import subprocess
import sys
import threading
import tracemalloc

import pytest
from engine_support import random_pair, texts
from support import needs_kernel

from charrnn.errors import SettingsError
from charrnn.sampling.decode import Decoding
from charrnn.sampling.rows import Rows

# Streams


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prime": "abé"},
        {"until": "ab"},
        {"length": 0},
        {"length": 700},
        {"decoding": Decoding(0.7, repetition_penalty=1.8)},
    ],
)
def test_a_stream_is_the_sample_of_the_same_seed(mode, options, make_sampler):
    sampler = make_sampler(mode=mode, layers=2)
    for first in (0, 3):
        [sample] = sampler.generate(seed=8, first=first, **options)
        assert b"".join(sampler.stream(seed=8, first=first, **options)) == sample.data


def test_pieces_of_a_stream_are_whole_characters(make_sampler):
    pieces = [
        piece.decode("utf-8") for piece in make_sampler().stream(length=9000, seed=1, prime="é")
    ]
    assert len(pieces) > 3
    assert len("".join(pieces)) == 9001


def test_pieces_of_a_byte_stream_are_whole_where_the_bytes_are_utf8(make_sampler):
    # Two lead bytes and two continuation bytes: random text has whole characters, broken ones and
    # an open end.
    sampler = make_sampler(unit="byte", symbols=(0x61, 0x81, 0xA9, 0xC3, 0xE2))
    [sample] = sampler.generate(length=400, seed=2, prime="é")
    pieces = list(sampler.stream(length=400, seed=2, prime="é"))
    assert b"".join(pieces) == sample.data
    assert len(sample.data) == 402
    assert pieces[0] == "é".encode()
    shown = "".join(piece.decode("utf-8", "replace") for piece in pieces)
    assert shown == sample.data.decode("utf-8", "replace") == sample.text


def test_a_character_left_open_at_the_end_is_written_all_the_same(make_sampler):
    sampler = make_sampler(unit="byte", symbols=(0x61, 0xE2), scale=1.0)
    written = [b"".join(sampler.stream(length=3, seed=seed)) for seed in range(8)]
    assert written == [next(sampler.generate(length=3, seed=seed)).data for seed in range(8)]
    assert any(data.endswith(b"\xe2") for data in written)


def test_a_long_stream_takes_constant_memory(make_sampler):
    stream = make_sampler(cell="rnn").stream(length=10**9, seed=1)

    def take(chars):
        while chars > 0:
            chars -= len(next(stream).decode("utf-8"))

    take(5000)
    tracemalloc.start()
    take(5000)
    before, _ = tracemalloc.get_traced_memory()
    take(10_000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown - before < 20_000  # two bytes for a character: the ids alone would be four


# Texts that are written and read by turns


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_texts_written_in_turns_are_the_draws_of_sample_0(mode, make_sampler):
    sampler = make_sampler(layers=2)
    writer = sampler.begin("ab", seed=7)
    turns = [b"".join(writer.write(length)) for length in (1, 2, 0, 40, 5000, 31)]
    assert (
        "ab" + b"".join(turns).decode()
        == next(sampler.generate(seed=7, prime="ab", length=5074)).text
    )


def test_a_text_left_early_goes_on_where_it_was_left(make_sampler):
    sampler = make_sampler(layers=2)
    writer = sampler.begin(seed=7)
    written = b""
    for pieces in (1, 3, 2):
        turn = writer.write(10**9)
        written += b"".join(itertools.islice(turn, pieces))
        turn.close()
    whole = b"".join(sampler.stream(seed=7, length=len(written.decode()) + 50))
    assert written + b"".join(writer.write(50)) == whole


def test_a_text_that_is_read_and_written_has_the_distribution_of_its_whole_past(make_sampler):
    sampler = make_sampler(layers=2)
    writer = sampler.begin("ab", seed=3)
    first = b"".join(writer.write(20)).decode()
    writer.read("cd")
    second = b"".join(writer.write(1, decoding=Decoding(0))).decode()
    [expected] = sampler.generate(prime="ab" + first + "cd", length=1, decoding=Decoding(0))
    assert "ab" + first + "cd" + second == expected.text


def test_a_copy_of_a_text_goes_on_as_the_text_does(make_sampler):
    writer = make_sampler().begin("ab", seed=3)
    next(writer.write(100))
    copy = writer.copy()
    assert b"".join(writer.write(200)) == b"".join(copy.write(200))


# The object


def test_a_sampler_survives_pickling(make_sampler):
    sampler = make_sampler(cell="gru", layers=2)
    copy = pickle.loads(pickle.dumps(sampler))
    assert texts(copy.generate(2, seed=1)) == texts(sampler.generate(2, seed=1))


def test_threads_share_a_sampler(make_sampler):
    sampler = make_sampler(mode="lines")
    expected = [texts(sampler.generate(40, seed=seed)) for seed in range(4)]
    found = [None] * 4

    def work(seed):
        found[seed] = texts(sampler.generate(40, seed=seed))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_repr_is_short(make_sampler, engine):
    sampler = f"Sampler(lstm 1x7, 10 characters, stream, {engine})"
    assert repr(make_sampler()) == sampler
    writer = make_sampler().begin("ab", seed=7)
    assert list(writer.write(5))
    assert repr(writer) == f"Writer(seed 7, 5 drawn, {sampler})"


def test_the_engine_loads_no_torch():
    code = "import sys, charrnn; charrnn.Sampler; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_copy_taken_while_a_write_waits_goes_on_after_what_was_handed_out(make_sampler):
    writer = make_sampler().begin("ab", seed=4)
    pieces = writer.write(300)
    given = next(pieces)
    twin = writer.copy()
    assert given + b"".join(twin.write(300 - len(given.decode()))) == b"".join([given, *pieces])


def test_an_iterator_that_is_still_held_cannot_undo_a_later_read(make_sampler):
    held, fresh = make_sampler().begin("ab", seed=4), make_sampler().begin("ab", seed=4)
    pieces = held.write(300)
    given = next(pieces)
    assert b"".join(fresh.write(len(given.decode()))) == given
    for writer in (held, fresh):
        writer.read("cde")
    assert list(pieces) == []
    del pieces
    assert b"".join(held.write(50)) == b"".join(fresh.write(50))


@pytest.mark.parametrize("threads", [0, -1, 257])
def test_an_absurd_number_of_threads_is_refused_at_once(make_sampler, threads):
    with pytest.raises(SettingsError, match="--threads"):
        make_sampler().generate(2, threads=threads)


def test_a_penalty_beyond_all_bounds_is_refused():
    with pytest.raises(SettingsError, match="--repetition-penalty"):
        Decoding(repetition_penalty=1e7)


@pytest.mark.parametrize("first", [-1, 2**63 - 2])
def test_sample_numbers_beyond_what_a_seed_has_are_refused(make_sampler, first):
    with pytest.raises(SettingsError, match="first"):
        make_sampler().generate(3, first=first)


@needs_kernel
def test_a_few_dozen_lines_are_dealt_to_all_threads(monkeypatch):
    ran, run = set(), Rows.run

    def watched(rows):
        ran.add(id(rows))
        return run(rows)

    sampler = random_pair("compiled", mode="lines")[1]
    alone = texts(sampler.generate(150, seed=3, threads=1))
    monkeypatch.setattr(Rows, "run", watched)
    assert texts(sampler.generate(150, seed=3, threads=3)) == alone
    assert len(ran) == 3
