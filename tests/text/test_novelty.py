"""The filter of a training text: what it calls absent is absent, whatever befalls its file."""

import random
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import Killed

from charrnn.config import TextSettings
from charrnn.text import corpus as corpus_module
from charrnn.text import novelty
from charrnn.text.building import build, survey
from charrnn.text.corpus import open_corpus
from charrnn.text.novelty import WINDOW, NoveltyFilter, make_filter, read_filter, write_filter
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.checkpoint import RunDirectory

STREAM = TextSettings(mode="stream", split="0.8,0.2")
LINES = TextSettings(mode="lines", split="0.7,0.3")
BYTES = Vocabulary("byte", tuple(range(256)))
reusing_files = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def small_chunks(monkeypatch):
    """Pieces that are cut inside the small texts of a test."""
    monkeypatch.setattr(novelty, "CHUNK", 13)


@pytest.fixture
def made(tmp_path):
    """text, settings -> (corpus, its filter as read from the disk)."""

    def make(text, options=STREAM):
        (tmp_path / "text.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        corpus, _ = build(
            survey(str(tmp_path / "text.txt"), options, 1), options, 1, tmp_path / "corpus"
        )
        return corpus, read_filter(corpus.path.with_suffix(".novel"), options.mode, options.unit)

    return make


def stream_filter(data):
    return make_filter(np.frombuffer(data, np.uint8), BYTES, "stream", "0" * 64)


# Never absent what is there


@reusing_files
@given(text=st.text(st.sampled_from("aé\n\0😀"), min_size=8, max_size=50))
def test_no_piece_of_a_stream_is_called_absent(text, made, small_chunks):
    corpus, novelty_filter = made(text)
    train = corpus.vocabulary.decode(corpus.split("train"))
    for start in range(len(train)):
        for stop in range(start + 1, len(train) + 1):
            assert novelty_filter.may_hold(train[start:stop]), train[start:stop]


@reusing_files
@given(data=st.binary(min_size=8, max_size=40))
def test_no_piece_of_a_stream_of_bytes_is_called_absent(data, made, small_chunks):
    corpus, novelty_filter = made(data, replace(STREAM, unit="byte"))
    train = corpus.vocabulary.to_bytes(corpus.split("train"))
    for start in range(len(train)):
        for stop in range(start + 1, len(train) + 1):
            assert novelty_filter.may_hold(train[start:stop]), train[start:stop]


@reusing_files
@given(
    lines=st.lists(
        st.text(st.sampled_from("abé\0😀"), min_size=1, max_size=12), min_size=1, max_size=20
    )
)
def test_no_line_is_called_absent(lines, made, small_chunks):
    corpus, novelty_filter = made(
        "\n".join([*lines, "bébé"]), replace(LINES, split="1,0", deduplicate=False)
    )
    for line in corpus.vocabulary.decode(corpus.split("train")).split("\n")[:-1]:
        assert novelty_filter.may_hold(line), line


@reusing_files
@given(lines=st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=20))
def test_no_line_of_bytes_is_called_absent(lines, made, small_chunks):
    corpus, novelty_filter = made(
        b"\n".join([*lines, b"ab"]), replace(LINES, split="1,0", unit="byte", deduplicate=False)
    )
    for line in corpus.vocabulary.to_bytes(corpus.split("train")).split(b"\n")[:-1]:
        assert novelty_filter.may_hold(line), line


def test_a_text_shorter_than_a_window_is_in_doubt():
    novelty_filter = stream_filter(b"abcdefghijkl")
    assert novelty_filter.may_hold(b"z" * (WINDOW - 1))
    assert not novelty_filter.may_hold(b"z" * WINDOW)


def test_a_training_text_shorter_than_a_window_holds_no_window():
    assert not stream_filter(b"abc").may_hold(b"abcabcab")


# Absent what is not there


def test_one_new_window_of_many_is_seen_wherever_it_stands(small_chunks):
    text = bytes(random.Random(1).choices(range(97, 123), k=60))
    novelty_filter = stream_filter(text)
    for at in range(len(text)):
        assert not novelty_filter.may_hold(text[:at] + b"~" + text[at + 1 :])


def test_a_new_joint_of_known_pieces_is_seen_wherever_it_stands(small_chunks):
    text = bytes(random.Random(1).choices(range(97, 123), k=60))
    novelty_filter = stream_filter(text)
    for at in range(4, 57):
        assert not novelty_filter.may_hold(text[at:] + text[:at])


def test_a_part_of_a_line_is_absent(made):
    _, novelty_filter = made("anna\nbernd\n", replace(LINES, split="1,0"))
    assert [
        novelty_filter.may_hold(text)
        for text in ("anna", "ann", "nna", "annab", "anna\n", "bernd", "")
    ] == [
        True,
        False,
        False,
        False,
        False,
        True,
        False,
    ]


def test_other_splits_are_absent(made):
    corpus, novelty_filter = made("".join(f"name{number}\n" for number in range(40)), LINES)
    for name, expected in (("train", True), ("val", False)):
        for line in corpus.vocabulary.decode(corpus.split(name)).split("\n")[:-1]:
            assert novelty_filter.may_hold(line) is expected


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_one_other_text_in_a_hundred_looks_like_an_entry(mode):
    """Expected: 1.0 % of 40,000 distinct entries: 400 +- 20; 480 is four deviations above."""
    numbers = np.random.default_rng(2).permutation(1 << 26)[:80_000]
    texts = [f"{number:08d}".encode() for number in numbers]
    if mode == "lines":
        novelty_filter = make_filter(
            np.frombuffer(b"\n".join(texts[:40_000]) + b"\n", np.uint8), BYTES, mode, "0" * 64
        )
    else:  # windows that do not overlap, so that no other window of theirs gets in
        novelty_filter = NoveltyFilter(
            np.zeros(40_000 * novelty.BITS_PER_ENTRY // 64, np.uint64), mode, "0" * 64
        )
        for text in texts[:40_000]:
            novelty_filter._add(novelty._window_hashes(np.frombuffer(text, np.uint8)))
    assert all(novelty_filter.may_hold(text) for text in texts[:40_000])
    assert 0 < sum(novelty_filter.may_hold(text) for text in texts[40_000:]) < 480


def test_the_filter_takes_twelve_bits_an_entry():
    assert (
        stream_filter(bytes(range(256)) * 4).words.nbytes == -(-(1024 - WINDOW + 1) * 12 // 64) * 8
    )


def test_the_filter_does_not_depend_on_the_alphabet():
    text = "hello, world"
    few = Vocabulary("char", tuple(sorted(set(map(ord, text)))))
    many = Vocabulary("char", tuple(range(10, 200)))
    filters = [
        make_filter(each.encode(text), each, "stream", "0" * 64).words.tolist()
        for each in (few, many)
    ]
    assert filters[0] == filters[1]


# Its size


def test_a_capped_filter_doubts_more_and_is_wrong_about_nothing(monkeypatch):
    monkeypatch.setattr(novelty, "MAX_WORDS", 3)
    text = bytes(random.Random(1).choices(range(256), k=500))
    novelty_filter = stream_filter(text)
    assert len(novelty_filter.words) == 3
    assert all(novelty_filter.may_hold(text[at : at + 9]) for at in range(490))


@pytest.mark.parametrize(("limit", "written"), [(11, False), (12, True)])
def test_a_text_above_the_bound_gets_no_filter(limit, written, made, monkeypatch):
    monkeypatch.setattr(novelty, "MAX_CHARS", limit)
    corpus, _ = made("abcdefghijklmno")  # 12 of them to learn from
    assert corpus.path.with_suffix(".novel").exists() is written


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_making_it_takes_little_memory_beside_its_own(mode):
    ids = np.frombuffer(b"abcdefghi\n" * 100_000, np.uint8)
    tracemalloc.start()
    novelty_filter = make_filter(ids, BYTES, mode, "0" * 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - novelty_filter.words.nbytes < 3 << 20


# Its file


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_a_filter_with_any_bit_flipped_is_none(mode, tmp_path):
    path = tmp_path / f"{'0' * 16}.novel"
    write_filter(path, np.frombuffer(b"anna\nbernd\n", np.uint8), BYTES, mode, "0" * 64)
    data = path.read_bytes()
    assert read_filter(path, mode, "byte") is not None
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        assert read_filter(path, mode, "byte") is None, at


def test_a_torn_filter_is_none(tmp_path):
    path = tmp_path / f"{'0' * 16}.novel"
    write_filter(path, np.frombuffer(b"anna\nbernd\n", np.uint8), BYTES, "stream", "0" * 64)
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert read_filter(path, "stream", "byte") is None, size


def test_a_missing_filter_is_none(tmp_path):
    assert read_filter(tmp_path / f"{'0' * 16}.novel", "stream", "byte") is None


@pytest.mark.parametrize(
    ("mode", "unit", "name"),
    [
        ("lines", "byte", "0" * 16),
        ("stream", "char", "0" * 16),
        ("stream", "byte", "1" * 16),
    ],
)
def test_a_filter_of_another_text_is_none(mode, unit, name, tmp_path):
    write_filter(
        tmp_path / f"{name}.novel",
        np.frombuffer(b"anna\nbernd\n", np.uint8),
        BYTES,
        "stream",
        "0" * 64,
    )
    assert read_filter(tmp_path / f"{name}.novel", mode, unit) is None


@pytest.mark.parametrize("constant", ["WINDOW", "HASHES", "FORMAT"])
def test_a_filter_made_by_other_rules_is_none(constant, tmp_path, monkeypatch):
    path = tmp_path / f"{'0' * 16}.novel"
    with monkeypatch.context() as other:
        other.setattr(novelty, constant, getattr(novelty, constant) + 1)
        write_filter(path, np.frombuffer(b"anna\nbernd\n", np.uint8), BYTES, "stream", "0" * 64)
    assert read_filter(path, "stream", "byte") is None


# In the run


@pytest.mark.parametrize("options", [STREAM, LINES])
def test_killed_before_the_filter_leaves_a_corpus_without_one(options, made, tmp_path, monkeypatch):
    def killed(*arguments):
        raise Killed

    monkeypatch.setattr(corpus_module, "write_filter", killed)
    with pytest.raises(Killed):
        made("anna\nberta\ncarla\n", options)
    [ids] = (tmp_path / "corpus").glob("*.ids")
    fingerprint = survey(str(tmp_path / "text.txt"), options, 1).fingerprint
    assert open_corpus(ids.parent, fingerprint).path == ids
    assert not ids.with_suffix(".novel").exists()


def test_a_run_that_is_overwritten_keeps_the_filter_of_its_text_only(tmp_path):
    run = RunDirectory(tmp_path)
    (tmp_path / "corpus").mkdir()
    for stem in ("0" * 16, "1" * 16):
        (tmp_path / "corpus" / f"{stem}.novel").touch()
    run.clear(keep_corpora={"1" * 16})
    assert [file.stem for file in (tmp_path / "corpus").iterdir()] == ["1" * 16]
