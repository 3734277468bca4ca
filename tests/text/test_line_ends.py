"""In lines mode a line ends at CRLF or CR as it does at LF; a stream keeps what it has."""

from dataclasses import replace
from pathlib import Path

import pytest
from support import FEW, Watcher
from textfiles import build_text, lines_of, survey_text, texts

from charrnn.config import TextSettings
from charrnn.insight.cooccur import count_text
from charrnn.modelfile import read_model
from charrnn.sampling.engine import load
from charrnn.scoring.text import text_given
from charrnn.text.characters import line_ends_of
from charrnn.text.doctor import examine
from charrnn.texts import OpenedRun
from charrnn.training.session import Request, train

ENDS = ("\r\n", "\r")
COUNTING = {"cell": "ngram", "order": "2", "mode": "lines"}


def names(end):
    """The forty names, each with this line end."""
    return "".join(f"{name}{end}" for name in FEW).encode()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("unit", ["char", "byte"])
def test_names_of_any_line_end_are_the_same_lines(end, unit, tmp_path):
    options = TextSettings(unit=unit)
    corpus, _ = build_text(tmp_path, names(end), options)
    plain, _ = build_text(tmp_path, names("\n"), options)
    assert corpus.mode == "lines"
    assert corpus.vocabulary == plain.vocabulary
    assert texts(corpus) == texts(plain)


def test_names_of_both_line_ends_are_one_name_each(tmp_path):
    corpus, _ = build_text(tmp_path, names("\n") + names("\r\n"), TextSettings(split="0.5,0.5"))
    both = lines_of(corpus, "train") + lines_of(corpus, "val")
    assert sorted(both) == sorted(FEW)


def test_a_validation_file_of_windows_has_the_lines_of_one_of_unix(tmp_path):
    options = TextSettings(mode="lines")
    corpus, _ = build_text(tmp_path, names("\n"), options, val=b"Ana\r\nBo\r\n", test=b"Cy\n")
    assert lines_of(corpus, "val") == ["Ana", "Bo"]


def test_a_report_on_a_text_still_names_its_line_ends(tmp_path):
    survey, options = survey_text(tmp_path, names("\r\n"), TextSettings())
    findings = examine(survey, options, 1)
    assert (findings.lf, findings.crlf, findings.lone_cr) == (0, len(FEW), 0)
    assert (findings.chars, findings.leaks) == (len(names("\n")), ())
    assert line_ends_of(survey.censuses["train"]) == "CRLF"


@pytest.mark.parametrize("options", [{"mode": "stream"}, {"mode": "lines", "newlines": "keep"}])
def test_a_carriage_return_is_kept_by_a_stream_and_by_who_asks(options, tmp_path):
    corpus, _ = build_text(tmp_path, names("\r\n"), TextSettings(**options))
    assert 13 in corpus.vocabulary.symbols
    assert sum(text.count("\r") for text in texts(corpus).values()) == len(FEW)


def test_bytes_of_utf16_are_no_lines_with_other_ends(tmp_path):
    data = names("\r\n").decode().encode("utf-16-le")
    corpus, _ = build_text(tmp_path, data, TextSettings(mode="lines", unit="byte"))
    assert 13 in corpus.vocabulary.symbols


def counted(data, folder, **settings):
    """Count the bigrams of a text, which takes no time. Returns the run."""
    text = folder / "names.txt"
    text.write_bytes(data)
    layers = (("--", COUNTING | settings),)
    return train(Request(str(text), layers, run=folder / "run"), Watcher())[0]


def ids(run, **what):
    model = read_model(run)
    given = {"file": None, "text": None} | what
    scored = text_given(OpenedRun(model), **given, settings=model.reading, unknown="error")
    return scored.ids.tolist()


@pytest.mark.parametrize("end", ["\n", *ENDS])
@pytest.mark.parametrize("unit", ["char", "byte"])
def test_a_model_of_lines_reads_and_writes_no_carriage_return(end, unit, tmp_path):
    run = counted(names(end), tmp_path, unit=unit)
    sampler = load(run)
    samples = list(sampler.generate(9, seed=1))
    assert not any("\r" in sample.text for sample in samples)
    Path(tmp_path / "other.txt").write_bytes(b"Anna\r\nDana\r\n")
    expected = ids(run, text="Anna\nDana")
    assert ids(run, text="Anna\r\nDana") == expected
    assert ids(run, file=tmp_path / "other.txt") == expected
    assert sampler.score("Anna\r\n") == sampler.score("Anna\n")


def test_a_model_that_knows_a_carriage_return_writes_it_as_before(tmp_path):
    run = counted(names("\r\n"), tmp_path, newlines="keep")
    assert read_model(run).reading == read_model(run).settings.text
    assert all(sample.text.endswith("\r") for sample in load(run).generate(3, seed=1))


def test_a_run_of_names_goes_on_with_the_same_text_in_windows_line_ends(tmp_path):
    text = tmp_path / "names.txt"
    text.write_bytes(names("\n"))
    tiny = {"hidden_size": 4, "num_layers": 1, "mode": "lines", "counting": "off", "threads": 1}
    run = tmp_path / "run"
    train(Request(str(text), (("--", tiny | {"steps": 1}),), run=run), Watcher())
    text.write_bytes(names("\r\n"))
    request = Request(
        str(text), (("--", {"steps": 2}),), run=run, resume=True, allow_corpus_change=True
    )
    assert train(request, Watcher())[1].place.step == 2


@pytest.mark.parametrize("words", [True, False])
def test_a_table_of_neighbours_knows_no_carriage_return(words, tmp_path):
    def table(end):
        path = tmp_path / "names.txt"
        path.write_bytes(names(end))
        return count_text(str(path), TextSettings(), words=words, top=5, window=2)

    assert replace(table("\r\n"), shown="") == replace(table("\n"), shown="")
