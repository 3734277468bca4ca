"""From texts to the ids of a run: the two passes, and a text that changes between them."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textfiles import NAMES, build_text, lines_of, reusing_files, survey_text, texts

from charrnn import storage
from charrnn.config import TextSettings
from charrnn.errors import CorpusError, StorageError, VocabularyError
from charrnn.text import reading
from charrnn.text.building import build, survey
from charrnn.text.corpus import open_corpus
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


@pytest.fixture
def surveyed(tmp_path):
    """text or bytes, settings -> survey."""

    def survey_one(text, options=STREAM, seed=1):
        return survey_text(tmp_path, text, options, seed)[0]

    return survey_one


def all_lines(corpus):
    return sorted(line for name in SPLITS for line in lines_of(corpus, name))


# Streams


@reusing_files
@given(
    text=st.text(st.characters(codec="utf-8"), min_size=8, max_size=60),
    split=st.sampled_from(["0.5,0.25,0.25", "0.6,0.4", "1,0"]),
)
def test_the_splits_of_a_stream_are_contiguous_and_add_up_to_the_text(text, split, make):
    corpus, _ = make(text, replace(STREAM, split=split))
    expected = text.removeprefix("\ufeff")
    assert "".join(texts(corpus).values()) == expected
    assert len(corpus.ids) == len(expected)


def test_a_stream_is_split_by_its_shares(make):
    corpus, _ = make("abcdefghijklmnopqrst", replace(STREAM, split="0.7,0.2,0.1"))
    assert texts(corpus) == {"train": "abcdefghijklmn", "val": "opqr", "test": "st"}


@pytest.mark.parametrize("piece_bytes", [3, 5, 7])
def test_the_ids_do_not_depend_on_where_pieces_are_cut(piece_bytes, make, monkeypatch):
    text = "añ€😀\r\n" * 5
    whole = make(text)[0].ids.copy()
    monkeypatch.setattr(reading, "PIECE_BYTES", piece_bytes)
    assert make(text)[0].ids.tolist() == whole.tolist()


def test_ascii_pieces_of_a_text_with_emoji_are_encoded(make, monkeypatch):
    """ASCII pieces hold uint8 codes; the vocabulary's table is longer than those can count."""
    monkeypatch.setattr(reading, "PIECE_BYTES", 8)
    assert "".join(texts(make("plain text, then 😀")[0]).values()) == "plain text, then 😀"


@pytest.mark.parametrize(
    ("count", "dtype"),
    [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")],
)
def test_ids_take_the_smallest_type_that_holds_the_alphabet(count, dtype, make):
    text = (
        "".join(map(chr, [*range(0x20, 0xD800), *range(0xE000, 0x20000)][: max(count, 1)]))
        + " " * 12
    )
    corpus, _ = make(text, replace(STREAM, split="1,0"))
    assert (corpus.dtype, len(corpus.vocabulary)) == (dtype, count)
    assert texts(corpus)["train"] == text
    assert open_corpus(corpus.path.parent, corpus.fingerprint).ids.dtype == dtype


def test_byte_unit_keeps_every_byte(make):
    data = bytes(range(256)) + b"\xef\xbb\xbf\xff"
    corpus, _ = make(data, replace(STREAM, unit="byte", split="1,0"))
    assert corpus.vocabulary.to_bytes(corpus.ids) == data


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_an_empty_text_is_refused(data, surveyed):
    with pytest.raises(CorpusError, match="empty") as caught:
        surveyed(data)
    assert caught.value.exit_code == 3


# Lines


def test_lines_are_split_whole_disjoint_and_complete(make):
    corpus, _ = make(NAMES, LINES)
    parts = [lines_of(corpus, name) for name in SPLITS]
    assert [len(part) for part in parts] == [20, 10, 10]
    assert all_lines(corpus) == sorted(NAMES.split())


def test_the_split_of_lines_is_the_same_for_the_same_seed_and_another_for_another(make):
    first, again, other = (make(NAMES, LINES, seed)[0] for seed in (1, 1, 2))
    assert texts(first) == texts(again)
    assert texts(first) != texts(other)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_split_of_lines_is_shuffled(make):
    assert lines_of(make(NAMES, LINES)[0], "train") != NAMES.split()[:20]


def test_repeats_are_used_once_and_counted(make):
    corpus, notes = make("anna\nbob\nanna\ncleo\nanna\ndora\n", LINES)
    assert all_lines(corpus) == ["anna", "bob", "cleo", "dora"]
    assert any("2 of 6 lines were repeats" in note for note in notes)


def test_repeats_stay_without_deduplication(make):
    corpus, notes = make("a\na\na\na\n", replace(LINES, deduplicate=False))
    assert [len(lines_of(corpus, name)) for name in SPLITS] == [2, 1, 1]
    assert notes == []


def test_blank_lines_are_left_out_and_counted(make):
    corpus, notes = make("a\n\nb\n\n\nc\nd", LINES)
    assert all_lines(corpus) == ["a", "b", "c", "d"]
    assert any("3 blank lines left out" in note for note in notes)


def test_a_last_line_without_a_newline_counts(make):
    corpus, _ = make("a\nb\nc\nlast", LINES)
    assert "last" in all_lines(corpus)


def test_one_line_without_a_newline_gets_a_boundary(make):
    corpus, _ = make("only", replace(LINES, split="1,0"))
    assert texts(corpus)["train"] == "only\n"
    assert corpus.vocabulary.newline == 0


@pytest.mark.parametrize(("length", "fits"), [(4096, True), (4097, False)])
def test_lines_mode_takes_lines_up_to_its_limit(length, fits, make):
    text = "é" * length + "\n"
    options = replace(LINES, split="1,0")
    if fits:
        assert len(make(text, options)[0].ids) == length + 1
    else:
        with pytest.raises(CorpusError, match=r"line 1 has 4,097 characters; .*--mode stream"):
            make(text, options)


@reusing_files
@given(text=st.text(alphabet="aé\n😀", min_size=1, max_size=30))
def test_starts_and_lengths_of_lines_equal_a_naive_split(text, make):
    if not text.strip("\n"):
        return
    corpus, _ = make(text, replace(LINES, split="1,0", deduplicate=False))
    starts, lengths = corpus.lines("train")
    ids = corpus.split("train")
    got = [
        corpus.vocabulary.decode(ids[start : start + length])
        for start, length in zip(starts, lengths, strict=True)
    ]
    assert sorted(got) == sorted(line for line in text.split("\n") if line)


def test_an_empty_split_has_no_lines(make):
    corpus, _ = make(NAMES, replace(LINES, split="0.5,0.5"))
    starts, lengths = corpus.lines("test")
    assert len(starts) == len(lengths) == 0


# Vocabulary of a resumed run


def test_a_given_vocabulary_is_used(surveyed, tmp_path):
    known = Vocabulary("char", tuple(map(ord, "abcdxyz")))
    corpus, _ = build(surveyed("abcdabcd"), STREAM, 1, tmp_path / "out", known)
    assert corpus.vocabulary == known
    assert corpus.ids.tolist() == [0, 1, 2, 3] * 2


def test_characters_that_a_given_vocabulary_lacks_are_named_and_nothing_is_written(
    surveyed, tmp_path
):
    with pytest.raises(VocabularyError, match=r"'é' U\+00E9"):
        build(
            surveyed("abcdé"),
            STREAM,
            1,
            tmp_path / "out",
            Vocabulary("char", tuple(map(ord, "abcd"))),
        )
    assert not (tmp_path / "out").exists()


# Fingerprints


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "byte"},
        {"encoding": "latin-1"},
        {"errors": "replace"},
        {"newlines": "lf"},
        {"normalize": "nfc"},
        {"split": "0.6,0.2,0.2"},
        {"mode": "lines"},
    ],
)
def test_an_option_that_changes_the_ids_changes_the_fingerprint(change, surveyed):
    assert (
        surveyed("abc\ndef\n").fingerprint
        != surveyed("abc\ndef\n", replace(STREAM, **change)).fingerprint
    )


def test_a_byte_of_the_text_changes_the_fingerprint(surveyed):
    assert surveyed("abc\ndef\n").fingerprint != surveyed("abc\ndeg\n").fingerprint


@pytest.mark.parametrize("change", [{"max_bytes": 10_000}, {"glob": "*.txt"}])
def test_what_does_not_change_the_ids_leaves_the_fingerprint(change, surveyed):
    assert (
        surveyed("abc\ndef\n").fingerprint
        == surveyed("abc\ndef\n", replace(STREAM, **change)).fingerprint
    )


def test_auto_mode_and_the_mode_it_chose_have_one_fingerprint(surveyed):
    assert (
        surveyed(NAMES, replace(LINES, mode="auto")).fingerprint
        == surveyed(NAMES, LINES).fingerprint
    )


def test_the_seed_matters_only_where_lines_are_shuffled(surveyed):
    assert surveyed(NAMES, STREAM, 1).fingerprint == surveyed(NAMES, STREAM, 2).fingerprint


# Files that change, disks that fail


@pytest.mark.parametrize("after", [b"abcdefgX", b"abcdefg", b"abcdefghi", b"", b"\xff\xff"])
@pytest.mark.parametrize("options", [STREAM, LINES])
def test_a_file_that_changes_between_the_two_passes_is_refused_and_leaves_nothing(
    after, options, surveyed, tmp_path
):
    text_survey = surveyed(b"abcdefgh", replace(options, split="1,0"))
    (tmp_path / "text.txt").write_bytes(after)
    with pytest.raises(CorpusError):
        build(text_survey, replace(options, split="1,0"), 1, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_changes_to_the_same_characters_is_refused_as_changed(surveyed, tmp_path):
    text_survey = surveyed(b"abcdefgh")
    (tmp_path / "text.txt").write_bytes(b"hgfedcba")
    with pytest.raises(CorpusError, match="changed while it was read"):
        build(text_survey, STREAM, 1, tmp_path / "out")


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(surveyed, tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    text_survey = surveyed(b"abcdefgh")
    monkeypatch.setattr(storage.disk, "sync", full)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        build(text_survey, STREAM, 1, tmp_path / "out")
    assert caught.value.exit_code == 5
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_below_a_file_is_a_storage_error(surveyed, tmp_path):
    text_survey = surveyed(b"abcdefgh")
    with pytest.raises(StorageError):
        build(text_survey, STREAM, 1, tmp_path / "text.txt" / "corpus")


def test_standard_input_becomes_a_corpus_though_it_can_be_read_only_once(tmp_path, monkeypatch):
    read, write = os.pipe()
    os.write(write, "añb".encode() * 8)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        corpus, _ = build(survey("-", STREAM, 1), STREAM, 1, tmp_path)
    assert "".join(texts(corpus).values()) == "añb" * 8


def test_splits_begin_with_the_same_characters_where_rare_ones_are_bytes(tmp_path):
    text = "Ω界a\nbé😀Ωc" * 7 + "éé"
    file = tmp_path / "text.txt"
    file.write_text(text)
    parts = []
    for rare in (0, 8):
        settings = TextSettings(mode="stream", split="0.5,0.3,0.2", rare=rare)
        surveyed = survey(str(file), settings, 0)
        corpus, _ = build(surveyed, settings, 0, tmp_path / str(rare))
        decode = corpus.vocabulary.decode
        parts.append([decode(corpus.split(name)) for name in ("train", "val", "test")])
    assert corpus.vocabulary.characters == 128 + 2  # é and Ω
    assert parts[0] == parts[1]
    assert "2 characters beyond ASCII occur fewer than 8 times" in surveyed.notes[-1]


def test_an_alphabet_without_rare_characters_is_as_it_was(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("Ωab\n" * 30)
    plain, asked = (survey(str(file), TextSettings(rare=rare), 0) for rare in (None, 30))
    assert (plain.vocabulary, plain.fingerprint) == (asked.vocabulary, asked.fingerprint)
