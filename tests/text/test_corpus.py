"""From texts to the ids of a run: splits that add up, modes with reasons, and damage that is seen."""

import dataclasses
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn import storage
from charrnn.config import TextSettings
from charrnn.errors import CheckpointError, CorpusError, StorageError, VocabularyError
from charrnn.text import mode as mode_module
from charrnn.text import reading
from charrnn.text.building import build, survey
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.text.splits import SPLITS
from charrnn.text.vocabulary import Vocabulary

STREAM = TextSettings(mode="stream", split="0.5,0.25,0.25")
LINES = TextSettings(mode="lines", split="0.5,0.25,0.25")
CORPORA = Path(__file__).parent.parent.parent / "corpora"
reusing_files = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def make(tmp_path):
    """text or bytes, settings -> (corpus, notes), written to and mapped from a directory of its own."""

    def made(text, options=STREAM, seed=1, **parts):
        for name, data in {"text": text, **parts}.items():
            (tmp_path / f"{name}.txt").write_bytes(
                data if isinstance(data, bytes) else data.encode()
            )
        options = replace(options, **{name: str(tmp_path / f"{name}.txt") for name in parts})
        found = survey(str(tmp_path / "text.txt"), options, seed)
        corpus, notes = build(found, options, seed, tmp_path / "corpus")
        return corpus, [*found.notes, *notes]

    return made


@pytest.fixture
def surveyed(tmp_path):
    """text or bytes, settings -> survey."""

    def found(text, options=STREAM, seed=1):
        (tmp_path / "text.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        return survey(str(tmp_path / "text.txt"), options, seed)

    return found


def texts(corpus):
    return {name: corpus.vocabulary.decode(corpus.split(name)) for name in SPLITS}


def lines_of(corpus, name):
    return texts(corpus)[name].split("\n")[:-1]


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


# Texts that are too short


@pytest.mark.parametrize(
    "split", ["0.9,0.05,0.05", "0.5,0.5", "0.34,0.33,0.33", "0.98,0.01,0.01", "1,0"]
)
@pytest.mark.parametrize(("options", "unit"), [(STREAM, "x"), (LINES, "line")])
def test_a_short_text_is_refused_with_a_minimum_that_then_suffices(options, unit, split, make):
    def text(count):
        return "x" * count if unit == "x" else "".join(f"line {index}\n" for index in range(count))

    options, count, refused = replace(options, split=split), 1, False
    for _ in range(3):
        try:
            make(text(count), options)
            break
        except CorpusError as error:
            refused = True
            minimum = int(str(error).rpartition("at least ")[2].replace(",", ""))
            assert minimum > count
            count = minimum
    else:
        pytest.fail("the stated minimum does not suffice")
    assert refused or (unit == "line" and split == "1,0")


def test_one_character_is_too_short_for_a_stream(make):
    with pytest.raises(
        CorpusError, match=r"the text has 1 characters, 1 of them for train: too few; .* at least 2"
    ):
        make("a", replace(STREAM, split="1,0"))


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_an_empty_text_is_refused(data, surveyed):
    with pytest.raises(CorpusError, match="empty") as caught:
        surveyed(data)
    assert caught.value.exit_code == 3


def test_an_empty_validation_file_is_refused(make):
    with pytest.raises(CorpusError, match=r"val\.txt is empty"):
        make("abcdef", val="")


def test_a_validation_file_of_one_character_is_named_as_too_short(make):
    with pytest.raises(
        CorpusError, match="the --val file has 1 characters: too few; it needs at least 2"
    ):
        make("abcdef", val="a")


def test_a_validation_file_of_blank_lines_is_too_short_for_lines(make):
    with pytest.raises(CorpusError, match="the --val file has 0 lines"):
        make("a\nb\nc\nd\n", LINES, val="\n\n")


# Explicit files


def test_a_validation_file_leaves_the_whole_text_for_training(make):
    corpus, _ = make("abcdef", val="fed")
    assert texts(corpus) == {"train": "abcdef", "val": "fed", "test": ""}


def test_a_test_file_leaves_training_and_validation_to_the_text(make):
    corpus, _ = make("abcdefgh", test="hgf")
    assert texts(corpus) == {"train": "abcdef", "val": "gh", "test": "hgf"}


def test_validation_and_test_files_are_used_as_they_are(make):
    corpus, _ = make("abcdef", val="ab", test="ef")
    assert texts(corpus) == {"train": "abcdef", "val": "ab", "test": "ef"}


def test_explicit_files_in_lines_mode_keep_to_their_splits(make):
    corpus, _ = make("a\nb\nc\nd\n", LINES, val="x\ny", test="z\n")
    assert sorted(lines_of(corpus, "train")) == list("abcd")
    assert (lines_of(corpus, "val"), lines_of(corpus, "test")) == (["x", "y"], ["z"])


def test_a_test_file_in_lines_mode_leaves_validation_to_the_text(make):
    corpus, _ = make("".join(f"{char}\n" for char in "abcdefgh"), LINES, test="z\n")
    assert sorted(lines_of(corpus, "train") + lines_of(corpus, "val")) == list("abcdefgh")
    assert len(lines_of(corpus, "val")) == 2
    assert lines_of(corpus, "test") == ["z"]


def test_characters_only_in_the_validation_file_are_known_and_noted(make):
    corpus, notes = make("abcdef", val="xyz")
    assert texts(corpus)["val"] == "xyz"
    assert any("3 characters occur only in the validation or test text" in note for note in notes)


# Lines

NAMES = "".join(f"name{index}\n" for index in range(40))


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
    text, options = "é" * length + "\n", replace(LINES, split="1,0")
    if fits:
        assert len(make(text, options)[0].ids) == length + 1
    else:
        with pytest.raises(CorpusError, match=r"a line of 4,097 characters; .*--mode stream"):
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


# The mode

PROSE = ("It was a dark night.\nThe rain fell.\n\n" * 20).encode()
CODE = ("int f(int x)\n{\n    return x;\n}\n" * 20).encode()


@pytest.mark.parametrize(
    ("data", "mode", "reason"),
    [
        (NAMES, "lines", "40 short lines"),
        (PROSE, "stream", "33% of the lines are blank"),
        (PROSE.replace(b"\n", b"\r\n"), "stream", "33% of the lines are blank"),
        (CODE, "stream", "25% of the lines are indented"),
        (
            "x" * 33 + "\n" + "\n".join("y" * 33 for _ in range(30)),
            "stream",
            "half of the lines have 33 characters",
        ),
        ("ab\n" * 19, "stream", "19 lines are too few"),
        ("ab\n" * 20, "lines", "20 short lines"),
        ("ab\n" * 30 + ("z" * 65 + "\n") * 2, "stream", "6% of the lines are long"),
        ("one long text without any end " * 50, "stream", "1 line is too few"),
    ],
)
def test_auto_mode_chooses_with_a_reason(data, mode, reason, surveyed):
    found = surveyed(data, replace(STREAM, mode="auto"))
    assert found.mode == mode
    assert reason in found.reason


def test_auto_mode_takes_the_shipped_names_as_lines():
    assert survey("names", TextSettings(), 1).mode == "lines"
    assert survey("surnames", TextSettings(), 1).mode == "lines"


def test_auto_mode_takes_a_large_text_as_a_stream(surveyed, monkeypatch):
    monkeypatch.setattr(mode_module, "AUTO_LINES_BYTES", 100)
    found = surveyed(NAMES, replace(STREAM, mode="auto"))
    assert (found.mode, found.reason) == ("stream", "the text is large")


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_a_mode_that_was_asked_for_is_taken(mode, surveyed):
    found = surveyed(PROSE, replace(STREAM, mode=mode))
    assert (found.mode, found.reason) == (mode, "as asked")


# Notes


@pytest.mark.parametrize(
    ("data", "options", "note"),
    [
        (b"a\r\nb\r\nc", {}, "2 carriage returns, kept; --newlines lf"),
        (b"a\0b\0c", {}, "2 NUL characters"),
        (b"aaaaaa", {}, "one distinct character"),
        (b"aaaaaa", {"unit": "byte"}, "one distinct character"),
        (
            "".join(map(chr, range(0x4E00, 0x4E00 + 20_001))).encode(),
            {},
            "20,001 distinct characters",
        ),
    ],
)
def test_a_strange_text_is_taken_with_a_note(data, options, note, surveyed):
    assert any(note in line for line in surveyed(data, replace(STREAM, **options)).notes)


@pytest.mark.parametrize(
    ("data", "options"), [(b"a\r\nb\r\n", {"newlines": "lf"}), (b"plain\ntext", {})]
)
def test_an_ordinary_text_has_no_notes(data, options, surveyed):
    assert surveyed(data, replace(STREAM, **options)).notes == ()


def test_one_distinct_character_can_be_built(make):
    assert len(make("aaaaaaaa")[0].vocabulary) == 1


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
    found = surveyed(b"abcdefgh", replace(options, split="1,0"))
    (tmp_path / "text.txt").write_bytes(after)
    with pytest.raises(CorpusError):
        build(found, replace(options, split="1,0"), 1, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_changes_to_the_same_characters_is_refused_as_changed(surveyed, tmp_path):
    found = surveyed(b"abcdefgh")
    (tmp_path / "text.txt").write_bytes(b"hgfedcba")
    with pytest.raises(CorpusError, match="changed while it was read"):
        build(found, STREAM, 1, tmp_path / "out")


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(surveyed, tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    found = surveyed(b"abcdefgh")
    monkeypatch.setattr(storage.disk, "sync", full)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        build(found, STREAM, 1, tmp_path / "out")
    assert caught.value.exit_code == 5
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_below_a_file_is_a_storage_error(surveyed, tmp_path):
    found = surveyed(b"abcdefgh")
    with pytest.raises(StorageError):
        build(found, STREAM, 1, tmp_path / "text.txt" / "corpus")


def test_standard_input_becomes_a_corpus_though_it_can_be_read_only_once(tmp_path, monkeypatch):
    read, write = os.pipe()
    os.write(write, "añb".encode() * 8)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        corpus, _ = build(survey("-", STREAM, 1), STREAM, 1, tmp_path)
    assert "".join(texts(corpus).values()) == "añb" * 8


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
    with pytest.raises(CheckpointError, match="start the run anew"):
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


def test_a_split_of_nine_tenths_is_nanogpts(tmp_path):
    text = "ab\n\n" * 2500 + "abcde"  # 10,005 characters: int(0.9 * 10005) = 9004
    (tmp_path / "t.txt").write_text(text)
    settings = TextSettings(mode="stream", split="0.9,0.1")
    corpus, _ = build(survey(str(tmp_path / "t.txt"), settings, 1), settings, 1, tmp_path / "c")
    assert corpus.bounds == {"train": (0, 9004), "val": (9004, 10005), "test": (10005, 10005)}
