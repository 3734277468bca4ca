"""What samples share with the training text: hand-made lines and runs with known answers."""

import pytest

from charrnn.config import TextSettings
from charrnn.errors import CorpusError
from charrnn.insight import copies, matches
from charrnn.text.building import build, survey


@pytest.fixture
def corpus_of(tmp_path):
    """A corpus of this text, in the order of the text where mode is stream."""

    def make(text, mode, split="0.5,0.25,0.25"):
        (tmp_path / "some.txt").write_text(text)
        settings = TextSettings(mode=mode, split=split)
        return build(
            survey(str(tmp_path / "some.txt"), settings, 0), settings, 0, tmp_path / "corpus"
        )[0]

    return make


def ids_of(corpus, text):
    return corpus.vocabulary.encode(text).astype(corpus.dtype)


def test_each_line_is_counted_where_it_is_from(corpus_of):
    corpus = corpus_of("".join(f"name{i}\n" for i in range(20)), "lines")
    splits = {
        name: corpus.vocabulary.decode(corpus.split(name)).split()
        for name in ("train", "val", "test")
    }
    texts = [
        *splits["train"][:3],
        splits["train"][0],
        splits["val"][0],
        splits["test"][1],
        "ename",
        "name",
        "",
    ]
    report = matches.lines_report(
        [corpus], [ids_of(corpus, text) for text in texts], [ids_of(corpus, splits["train"][1])]
    )
    # An empty text is no line.
    assert report.counts == {"train": 4, "val": 1, "test": 1, "new": 2}
    assert report.lines == 8 and report.in_train == 0.5 and report.repeated == 1 / 8
    assert report.held_out_in_train == 1.0


def test_streams_lose_the_first_and_last_line_of_a_sample_and_short_ones(corpus_of):
    long_, other = "a line of twenty-one.", "another line of a text"
    corpus = corpus_of(f"{long_}\n{other}\nshort\n" * 20, "stream")
    pieces = [ids_of(corpus, f"{long_}\n{other}\nshort\n{other}\n{long_}"), ids_of(corpus, long_)]
    report = matches.lines_report([corpus], pieces, pieces)
    assert (report.lines, report.counts["train"], report.repeated) == (2, 2, 0.5)


@pytest.mark.parametrize("chunk", [3, 1 << 20])
def test_lines_are_found_whole_across_chunks(corpus_of, monkeypatch, chunk):
    monkeypatch.setattr(matches, "CHUNK", chunk)
    corpus = corpus_of("Ann\nAnna\nB\u00e9a\n" * 10 + "end" * 20, "stream")
    wanted = {"Ann", "nna", "B\u00e9a", "An", "end"}
    assert matches.lines_in({text.encode() for text in wanted}, corpus, "train") == {
        b"Ann",
        "B\u00e9a".encode(),
    }


@pytest.mark.parametrize("chunk", [2, 1 << 20])
def test_the_longest_run_names_its_line_and_column(corpus_of, monkeypatch, chunk):
    monkeypatch.setattr(matches, "CHUNK", chunk)
    corpus = corpus_of("first\nline\nsecond line\nthe third\n" + "x" * 40, "stream")
    run = matches.longest_copy(
        [corpus], [ids_of(corpus, "xx"), ids_of(corpus, "fie cond line\nth")]
    )
    assert (run.text, run.chars, run.sample, run.start) == ("cond line\nth", 12, 1, 4)
    assert (run.line, run.column) == (3, 3)


def test_the_newline_that_ends_a_line_is_no_part_of_it(corpus_of):
    names = corpus_of("".join(f"n{i}\n" for i in range(20)), "lines")
    for text in ("n1\n", "n1"):
        assert names.vocabulary.decode(copies.without_newline(ids_of(names, text), names)) == "n1"


def test_held_out_pieces_are_whole_lines_or_equally_long(corpus_of):
    names = corpus_of("".join(f"n{i}\n" for i in range(20)), "lines")
    split = names.vocabulary.decode(names.split("test")).split()
    assert [
        names.vocabulary.decode(piece) for piece in copies.held_out(names, "test", 99, 500)
    ] == split
    stream = corpus_of("abcdefgh" * 10, "stream")
    assert [len(piece) for piece in copies.held_out(stream, "test", 2, 6)] == [6, 6]


def test_a_run_without_held_out_text_says_so(corpus_of):
    with pytest.raises(CorpusError, match="held out no text"):
        copies.held_out(corpus_of("abcdefgh" * 10, "stream", "1,0,0"), "val", 2, 6)


def test_training_lines_are_expected_as_often_as_held_out_ones(corpus_of):
    corpus = corpus_of("".join(f"n{i}\n" for i in range(40)), "lines", "0.8,0.1,0.1")  # 32, 4 and 4
    expected = matches.expected_in_train({"train": 50, "val": 3, "test": 1, "new": 46}, [corpus])
    assert expected.share == pytest.approx(0.16)
    assert expected.deviation == pytest.approx(5**0.5 * 4 / 100)
