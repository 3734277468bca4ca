"""Splits that add up, with a minimum that suffices."""

from dataclasses import replace

import pytest
from textfiles import build_text, lines_of, texts

from charrnn.config import Settings, TextSettings
from charrnn.errors import CorpusError
from charrnn.text.building import build, survey

STREAM = TextSettings(mode="stream", split="0.5,0.25,0.25")
LINES = TextSettings(mode="lines", split="0.5,0.25,0.25")


@pytest.fixture
def make(tmp_path):
    """text or bytes, settings -> (corpus, notes), written to a directory of its own."""

    def make_corpus(text, options=STREAM, seed=1, **files):
        return build_text(tmp_path, text, options, seed, **files)

    return make_corpus


# Texts that are too short


@pytest.mark.parametrize(
    "split", ["0.9,0.05,0.05", "0.5,0.5", "0.34,0.33,0.33", "0.98,0.01,0.01", "1,0"]
)
@pytest.mark.parametrize(("options", "unit"), [(STREAM, "x"), (LINES, "line")])
def test_a_short_text_is_refused_with_a_minimum_that_then_suffices(options, unit, split, make):
    def text(count):
        return "x" * count if unit == "x" else "".join(f"line {index}\n" for index in range(count))

    options = replace(options, split=split)
    count = 1
    refused = False
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
        CorpusError, match=r"the text has 1 character, 1 of them for train: too few; .* at least 2"
    ):
        make("a", replace(STREAM, split="1,0"))


def test_an_empty_validation_file_is_refused(make):
    with pytest.raises(CorpusError, match=r"val\.txt is empty"):
        make("abcdef", val="")


def test_a_validation_file_of_one_character_is_named_as_too_short(make):
    with pytest.raises(
        CorpusError, match="the --val file has 1 character: too few; it needs at least 2"
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


def test_a_split_of_nine_tenths_is_nanogpts(tmp_path):
    text = "ab\n\n" * 2500 + "abcde"  # 10,005 characters: int(0.9 * 10005) = 9004
    (tmp_path / "t.txt").write_text(text)
    settings = TextSettings(mode="stream", split="0.9,0.1")
    corpus, _ = build(survey(str(tmp_path / "t.txt"), settings, 1), settings, 1, tmp_path / "c")
    assert corpus.bounds == {"train": (0, 9004), "val": (9004, 10005), "test": (10005, 10005)}


def test_the_seed_of_the_split_alone_decides_which_lines_are_held_out(make):
    """The same fingerprint and ids for any seed of the training."""
    lines = "".join(
        f"{word}\n" for word in ("one", "two", "six", "ten", "ann", "bob", "eve", "dan")
    )
    first = Settings().with_values("training", seed=1).with_values("text", split_seed=7)
    second = first.with_values("training", seed=2)
    assert first.split_seed == second.split_seed == 7
    one, _ = make(lines, replace(LINES, split_seed=7), seed=first.split_seed)
    plain, _ = make(lines, LINES, seed=7)
    other, _ = make(lines, LINES, seed=8)
    assert one.fingerprint == plain.fingerprint != other.fingerprint


def test_without_a_seed_of_its_own_the_split_has_the_trainings():
    assert Settings().with_values("training", seed=5).split_seed == 5
