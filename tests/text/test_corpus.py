"""The stored ids of a text: what they contain, and damage that is seen."""

import dataclasses
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textfiles import NAMES, build_text, lines_of, reusing_files, texts

from charrnn.config import TextSettings
from charrnn.errors import (
    CheckpointError,
)
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.text.splits import SPLITS
from charrnn.text.vocabulary import Vocabulary

STREAM = TextSettings(mode="stream", split="0.5,0.25,0.25")
LINES = TextSettings(mode="lines", split="0.5,0.25,0.25")


@pytest.fixture
def make(tmp_path):
    """text or bytes, settings -> (corpus, notes), written to a directory of its own."""

    def make_corpus(text, options=STREAM, seed=1, **files):
        return build_text(tmp_path, text, options, seed, **files)

    return make_corpus


# contains


def test_contains_finds_every_piece_of_the_training_text_and_nothing_of_the_others(make):
    corpus, _ = make("abcabdXYZW", replace(STREAM, split="0.6,0.2,0.2"))
    text = texts(corpus)
    assert text["train"] == "abcabd"
    for start in range(6):
        for stop in range(start + 1, 7):
            assert corpus.contains(corpus.ids[start:stop], whole_line=False)
    for absent in (text["val"], text["test"], "dX", "ba", "abcabdX"):
        assert not corpus.contains(corpus.vocabulary.encode(absent), whole_line=False)


def wide(ids):
    """A corpus of uint16 ids as they lie on disk, made by hand."""

    def made(path):
        np.array(ids, np.uint16).tofile(path)
        vocabulary = Vocabulary("char", tuple(range(10, 10 + 600)))
        return Corpus(
            "wide",
            path,
            "uint16",
            {"train": (0, len(ids)), "val": (len(ids),) * 2, "test": (len(ids),) * 2},
            vocabulary,
            "lines",
            "",
        )

    return made


def test_contains_is_not_fooled_by_bytes_that_match_across_two_ids(tmp_path):
    # little-endian bytes 01 01 02 01 | 02 01: the id 0x0201 = 513 shows up at odd offsets only
    corpus = wide([0x0101, 0x0102, 0x0102])(tmp_path / "x.ids")
    assert (
        np.array([0x0101, 0x0102, 0x0102], "<u2")
        .tobytes()
        .find(np.array([0x0201], "<u2").tobytes())
        % 2
        == 1
    )
    assert not corpus.contains(np.array([0x0201]), whole_line=False)
    assert corpus.contains(np.array([0x0102, 0x0102]), whole_line=False)


def test_contains_goes_on_after_a_misaligned_match(tmp_path):
    corpus = wide([0x0101, 0x0102, 0x0102, 0x0201])(tmp_path / "x.ids")
    assert corpus.contains(np.array([0x0201]), whole_line=False)


@pytest.mark.parametrize("extra", ["", "€" + "".join(map(chr, range(0x100, 0x300)))])
def test_whole_lines_are_found_at_both_ends_of_the_split_and_parts_are_not(extra, make):
    text = "anna\nann\nbob\nboby\n" + (f"{extra}\n" if extra else "")
    corpus, _ = make(text, replace(LINES, split="1,0"))
    assert corpus.dtype == ("uint16" if extra else "uint8")
    for line in ("anna", "ann", "bob", "boby"):
        assert corpus.contains(corpus.vocabulary.encode(line), whole_line=True), line
    for part in ("an", "nna", "oby", "bo", "", "a"):
        assert not corpus.contains(corpus.vocabulary.encode(part), whole_line=True), part


def test_whole_lines_of_other_splits_are_not_in_the_training_text(make):
    corpus, _ = make(NAMES, LINES)
    for name in SPLITS:
        for line in lines_of(corpus, name):
            assert corpus.contains(corpus.vocabulary.encode(line), whole_line=True) == (
                name == "train"
            )


@reusing_files
@given(
    lines=st.lists(st.text(alphabet="abé", min_size=1, max_size=4), min_size=1, max_size=6),
    asked=st.text(alphabet="abé", min_size=1, max_size=4),
)
def test_contains_equals_a_search_in_python(lines, asked, make):
    corpus, _ = make("abé\n" + "\n".join(lines), replace(LINES, split="1,0"))
    ids = corpus.vocabulary.encode(asked)
    assert corpus.contains(ids, whole_line=True) == (asked in ["abé", *lines])
    assert corpus.contains(ids, whole_line=False) == any(asked in line for line in ["abé", *lines])


def test_ids_stay_right_after_their_memory_was_released(make):
    corpus, _ = make("abcdefgh")
    before = corpus.ids.tolist()
    corpus.release()
    assert corpus.ids.tolist() == before


# Opening again


def test_open_corpus_gives_what_build_gave(make):
    corpus, _ = make(NAMES, LINES)
    opened = open_corpus(corpus.path.parent, corpus.fingerprint)
    for item in dataclasses.fields(Corpus):
        assert getattr(opened, item.name) == getattr(corpus, item.name), item.name
    assert opened.ids.tolist() == corpus.ids.tolist()


def test_every_flipped_bit_of_the_ids_is_seen(make):
    corpus, _ = make("abcdefgh")
    data = bytearray(corpus.path.read_bytes())
    for index in range(len(data)):
        changed = data.copy()
        changed[index] ^= 1 << (index % 8)
        corpus.path.write_bytes(changed)
        with pytest.raises(CheckpointError, match="damaged"):
            open_corpus(corpus.path.parent, corpus.fingerprint)


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: b"", lambda data: data + b"\0"]
)
@pytest.mark.parametrize("verify", [True, False])
def test_another_length_of_the_ids_is_seen_even_without_verification(change, verify, make):
    corpus, _ = make("abcdefgh")
    corpus.path.write_bytes(change(corpus.path.read_bytes()))
    with pytest.raises(CheckpointError, match="start a new run"):
        open_corpus(corpus.path.parent, corpus.fingerprint, verify=verify)


@pytest.mark.parametrize("ending", [".ids", ".json"])
def test_a_missing_file_is_seen(ending, make):
    corpus, _ = make("abcdefgh")
    corpus.path.with_suffix(ending).unlink()
    with pytest.raises(CheckpointError) as caught:
        open_corpus(corpus.path.parent, corpus.fingerprint)
    assert caught.value.exit_code == 3


def test_a_missing_folder_is_seen(tmp_path):
    with pytest.raises(CheckpointError):
        open_corpus(tmp_path / "none", "0" * 64)


def test_another_fingerprint_with_the_same_beginning_is_seen(make):
    corpus, _ = make("abcdefgh")
    with pytest.raises(CheckpointError):
        open_corpus(corpus.path.parent, corpus.fingerprint[:16] + "0" * 48)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        {"sha256": None},
        {"name": None},
        {"mode": None},
        {"mode": "words"},
        {"dtype": "float64"},
        {"dtype": ["uint8"]},
        {"bounds": None},
        {"bounds": {"train": [0, 4]}},
        {"bounds": {"train": [4, 0], "val": [4, 6], "test": [6, 8]}},
        {"bounds": {"train": [0, 9], "val": [9, 9], "test": [9, 9]}},
        {"bounds": {"train": [float("inf"), 4], "val": [4, 6], "test": [6, 8]}},
        {"vocabulary": {"unit": "char", "symbols": [98, 97]}},
        {"vocabulary": []},
    ],
)
def test_a_damaged_description_is_seen(change, verify, make):
    corpus, _ = make("abcdefgh")
    about = json.loads(corpus.path.with_suffix(".json").read_text())
    for key, value in change.items():
        if value is None:
            del about[key]
        else:
            about[key] = value
    corpus.path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError):
        open_corpus(corpus.path.parent, corpus.fingerprint, verify=verify)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_description_that_is_no_json_object_is_seen(data, make):
    corpus, _ = make("abcdefgh")
    corpus.path.with_suffix(".json").write_bytes(data)
    with pytest.raises(CheckpointError):
        open_corpus(corpus.path.parent, corpus.fingerprint)
