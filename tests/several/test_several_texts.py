"""Several texts as one corpus: each is split by itself, whatever it is."""

import itertools

import numpy as np
import pytest
from several_support import built, found
from textfiles import lines_of, texts

from charrnn.config import resolve
from charrnn.errors import CheckpointError, CorpusError, SettingsError
from charrnn.text.batching import make_batches
from charrnn.text.corpus import open_corpus
from charrnn.text.sources import digest_of
from charrnn.text.survey import survey

SPLIT = "0.5,0.25,0.25"
NAMES = [f"{a}{b}" for a in "abcdefgh" for b in ("na", "lo", "mi")]  # 24


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path, names):
    path.write_text("".join(f"{name}\n" for name in names))


def test_each_stream_is_split_by_itself(here):
    (here / "a.txt").write_text("abcdefgh")
    (here / "b.txt").write_text("ABCDEFGHIJKLMNOP")
    _, corpus, _ = built(here, ["a.txt", "b.txt"], mode="stream", split=SPLIT)
    assert texts(corpus) == {"train": "abcdABCDEFGH", "val": "efIJKL", "test": "ghMNOP"}
    assert corpus.parts.names == ("a", "b")
    assert corpus.parts.segments["val"] == [(0, 2), (1, 4)]
    assert corpus.parts.texts_at("val", np.arange(6)).tolist() == [0, 0, 1, 1, 1, 1]


def test_what_was_written_is_what_is_opened(here):
    (here / "a.txt").write_text("abcdefgh")
    (here / "b.txt").write_text("ABCDEFGHIJKLMNOP")
    _, corpus, _ = built(here, ["a.txt:0.3", "b.txt:0.7"], mode="stream", split=SPLIT)
    assert open_corpus(here / "corpus", corpus.fingerprint).parts == corpus.parts
    description = corpus.path.with_suffix(".json")
    description.write_text(description.read_text().replace('"segments"', '"x"'))
    with pytest.raises(CheckpointError):
        open_corpus(here / "corpus", corpus.fingerprint)


def test_a_long_held_out_part_comes_in_rounds_of_all_texts(here, monkeypatch):
    monkeypatch.setattr("charrnn.text.parts.ROUNDS", (4, 9))
    (here / "a.txt").write_text("abcdefghijklmnop")
    (here / "b.txt").write_text("ABCDEFGHIJKLMNOP" * 2)
    _, corpus, _ = built(here, ["a.txt", "b.txt"], mode="stream", split="0.5,0.5,0")
    assert texts(corpus)["val"] == "ijABCkDEFlmnopGHIJKLMNOP"
    assert corpus.parts.segments["val"] == [(0, 2), (1, 3), (0, 1), (1, 3), (0, 5), (1, 10)]


def test_characters_that_are_bytes_are_not_cut(here, monkeypatch):
    monkeypatch.setattr("charrnn.text.parts.ROUNDS", (3, 7))
    first = "añ€😀b" * 6
    second = "xé漢字y" * 9
    (here / "a.txt").write_text(first)
    (here / "b.txt").write_text(second)
    _, corpus, _ = built(
        here, ["a.txt", "b.txt"], mode="stream", split=SPLIT, rare=1000, newlines="keep"
    )
    assert corpus.vocabulary.spelling is not None
    starts = corpus.vocabulary.spelling.is_start
    for split in ("train", "val", "test"):
        place = 0
        parts = {0: "", 1: ""}
        for text, length in corpus.parts.segments[split]:
            ids = corpus.split(split)[place : place + length]
            assert starts[ids[0]]
            parts[text] += corpus.vocabulary.decode(ids)
            place += length
        edges = {"train": (0, 0.5), "val": (0.5, 0.75), "test": (0.75, 1)}[split]
        for number, whole in enumerate((first, second)):
            begin, end = (int(len(whole) * edge) for edge in edges)
            assert parts[number] == whole[begin:end]


def test_texts_in_different_encodings_are_read(here):
    (here / "a.txt").write_text("née " * 9, encoding="utf-8")
    (here / "b.txt").write_text("été " * 9, encoding="cp1252")
    _, corpus, _ = built(here, ["a.txt", "b.txt"], encoding="utf-8,cp1252", split=SPLIT)
    assert set("".join(texts(corpus).values())) == set("née été ")


def test_a_wrong_encoding_is_told_for_all_texts(here):
    (here / "a.txt").write_text("née " * 9, encoding="utf-8")
    (here / "b.txt").write_text("naïve été " * 9, encoding="cp1252")
    with pytest.raises(CorpusError, match="pass --encoding utf-8,cp1252, one for each text"):
        built(here, ["a.txt", "b.txt"])


def test_encodings_are_one_or_one_for_each_text(here):
    written(here / "a.txt", NAMES)
    with pytest.raises(SettingsError, match="names 3 encodings for 2 texts"):
        found(["a.txt", "names"], encoding="utf-8,utf-8,latin-1")


def test_a_table_and_a_plain_list_are_one_training(here):
    (here / "a.csv").write_text("band,year\n" + "".join(f"{name},1999\n" for name in NAMES))
    written(here / "b.txt", [name.upper() for name in NAMES])
    _, corpus, notes = built(here, ["a.csv", "b.txt"])
    lines = [line for split in ("train", "val", "test") for line in lines_of(corpus, split)]
    assert sorted(lines) == sorted(NAMES + [name.upper() for name in NAMES])
    assert any("learning its column band" in note for note in notes)


@pytest.mark.parametrize("labels", [False, True])
def test_a_line_of_two_texts_stays_in_one_split(here, labels):
    (here / "x").mkdir()
    written(here / "x" / "a.txt", NAMES[:18])
    written(here / "x" / "b.txt", NAMES[6:])
    settings = {"label": "file"} if labels else {}
    _, corpus, notes = built(here, ["x/a.txt", "x/b.txt"], mode="lines", split=SPLIT, **settings)
    splits = {split: lines_of(corpus, split) for split in ("train", "val", "test")}
    for one in splits:
        for other in splits:
            assert one == other or not set(splits[one]) & set(splits[other])
    lines = sorted(itertools.chain.from_iterable(splits.values()))
    if labels:  # a line is learnt with each of its labels
        assert lines == sorted(NAMES[:18] + NAMES[6:])
        pairs = []
        for split, own in splits.items():
            pairs += zip(own, corpus.labels_of(split).tolist(), strict=True)
        expected = [(name, 1) for name in NAMES[:18]] + [(name, 2) for name in NAMES[6:]]
        assert sorted(pairs) == sorted(expected)
    else:
        assert lines == sorted(NAMES)
        assert any("12 lines of x/b.txt are in an earlier text" in note for note in notes)


def test_a_line_counts_for_the_text_it_is_of(here):
    written(here / "a.txt", NAMES[:8])
    written(here / "b.txt", NAMES[8:])
    _, corpus, _ = built(here, ["a.txt", "b.txt"], mode="lines", split=SPLIT)
    for split in ("train", "val", "test"):
        numbers = corpus.parts.texts_at(split, np.arange(len(corpus.split(split))))
        starts, _ = corpus.lines(split)
        for line, start in zip(lines_of(corpus, split), starts.tolist(), strict=True):
            assert numbers[start] == (0 if line in NAMES[:8] else 1)


def test_items_of_an_epoch_are_drawn_by_shares(here):
    written(here / "a.txt", NAMES[:16])
    written(here / "b.txt", NAMES[16:])
    _, corpus, _ = built(here, ["a.txt:0.25", "b.txt:0.75"], mode="lines", split=SPLIT)
    batches = make_batches(corpus, 3, 8, seed=5)
    assert batches.steps_per_epoch == 4  # 12 lines
    rows = {0: 0, 1: 0}
    for step in range(8):
        for row in batches.batch(step).inputs[:, 1:].tolist():
            text = corpus.vocabulary.decode(np.array(row)).split("\n")[0]
            rows[any(text and name.startswith(text) for name in NAMES[16:])] += 1
    assert rows == {0: 6, 1: 18}


def test_a_text_that_is_too_short_is_named(here):
    (here / "a.txt").write_text("abcdefgh" * 9)
    (here / "b.txt").write_text("ABC")
    with pytest.raises(CorpusError, match=r"b\.txt has 3 characters"):
        built(here, ["a.txt", "b.txt"], mode="stream")


def test_a_text_that_is_named_twice_is_refused(here):
    written(here / "a.txt", NAMES)
    with pytest.raises(SettingsError, match="named twice"):
        found(["a.txt", "./a.txt"])


def test_shares_that_leave_nothing_to_the_others_are_refused(here):
    written(here / "a.txt", NAMES)
    with pytest.raises(SettingsError, match="leave nothing to the texts without one"):
        found(["a.txt:1", "names"])


def test_texts_of_the_same_file_name_have_names_of_their_own(here):
    for folder in ("x", "y"):
        (here / folder).mkdir()
        written(here / folder / "input.txt", NAMES)
    source = found(["x/input.txt", "y/input.txt"])
    assert [part.source.name for part in source.parts] == ["x/input.txt", "y/input.txt"]


def test_shares_and_texts_are_in_the_fingerprint(here):
    written(here / "a.txt", NAMES[:12])
    written(here / "b.txt", NAMES[12:])
    text = resolve([])[0].text

    def fingerprint(*operands):
        return survey(found(operands), text, 1).fingerprint

    usual = fingerprint("a.txt", "b.txt")
    others = [
        fingerprint("b.txt", "a.txt"),
        fingerprint("a.txt:0.3", "b.txt:0.7"),
        fingerprint("a.txt:0.4", "b.txt:0.6"),
    ]
    assert len({usual, *others}) == 4
    assert fingerprint("a.txt", "b.txt") == usual
    assert digest_of(found(["a.txt", "b.txt"])) == (
        survey(found(["a.txt", "b.txt"]), text, 1).censuses["train"].sha256
    )


def test_a_validation_file_is_of_no_text(here):
    (here / "a.txt").write_text("abcdefgh" * 9)
    (here / "b.txt").write_text("ABCDEFGH" * 9)
    (here / "v.txt").write_text("abAB" * 9)
    _, corpus, _ = built(here, ["a.txt", "b.txt"], mode="stream", val="v.txt")
    assert texts(corpus)["val"] == "abAB" * 9
    assert corpus.parts.segments["val"] == []
