"""Of a model of bytes, figures are per byte, and per character beside them where it is UTF-8."""

import io
import math
from contextlib import redirect_stdout

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Watcher

from charrnn.cli.score_view import show_card
from charrnn.cli.train import _closing_lines
from charrnn.modelfile import read_model
from charrnn.progress import OF_BYTES, TrainingProgress
from charrnn.report.curves import charts
from charrnn.report.record import read_metrics, read_samples
from charrnn.scoring.evaluation import How, evaluated
from charrnn.scoring.figures import figures, measured
from charrnn.scoring.score import BLOCK, Tally
from charrnn.scoring.text import text_given
from charrnn.text.vocabulary import Vocabulary
from charrnn.texts import OpenedRun
from charrnn.training.session import Request, train

BYTES = Vocabulary("byte", tuple(range(256)))
RUSSIAN = "мороз и солнце день чудесный\n" * 40


def size_of(data, mode="lines"):
    return measured(np.frombuffer(data, np.uint8), BYTES, mode)


@given(text=st.text(min_size=1, max_size=30))
def test_characters_are_counted_in_bytes(text):
    assert size_of(text.encode()).utf8_chars == len(text)


@pytest.mark.parametrize(("begin", "chars"), [(0, 2), (1, 1), (2, 1), (3, 1), (4, 1)])
def test_a_part_of_a_text_may_begin_within_a_character(begin, chars):
    assert size_of("😀a".encode()[begin:]).utf8_chars == chars


@pytest.mark.parametrize("data", [b"a\xff", b"\xe9t\xe9", b"\x80\x80\x80\x80a", b"\xc3("])
def test_bytes_that_are_no_utf8_have_no_characters(data):
    assert size_of(data).utf8_chars is None


def test_pieces_may_cut_a_character(monkeypatch):
    monkeypatch.setattr("charrnn.scoring.figures.PIECE", 3)
    assert size_of("жжж€a".encode()).utf8_chars == 5


def card_of(tmp_path, unit, text=RUSSIAN, encoding="utf-8"):
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    layers = (("--", {"unit": unit, "cell": "ngram", "order": "2", "mode": "stream"}),)
    run, _ = train(Request(str(tmp_path / "a.txt"), layers, run=tmp_path / unit), Watcher())
    opened = OpenedRun(read_model(run))
    scored = text_given(opened, tmp_path / "a.txt", None, opened.model.reading, "error")
    how = How("stateful", 256, "cpu", False, None, 0)
    return evaluated(opened, scored, how, False, lambda note: None)


def shown(card):
    out = io.StringIO()
    with redirect_stdout(out):
        show_card("m", card)
    return " ".join(out.getvalue().split())


def test_a_model_of_bytes_scores_bytes_and_names_characters_beside(tmp_path):
    card = card_of(tmp_path, "byte")
    figures = card.figures
    size = len(RUSSIAN.encode()) - 1
    chars = len(RUSSIAN) - 1
    assert (figures.unit, figures.chars) == ("byte", size)
    assert figures.bits_per_utf8_char == pytest.approx(figures.bits_per_char * size / chars)
    values = card.to_json()
    assert (values["unit"], values["bits_per_utf8_char"]) == ("byte", figures.bits_per_utf8_char)
    text = shown(card)
    assert f"{size:,} predicted bytes" in text and "bits/byte" in text
    assert f"{figures.bits_per_utf8_char:.4f} bits/char, as UTF-8" in text


def test_bytes_of_another_encoding_have_no_figure_per_character(tmp_path):
    card = card_of(tmp_path, "byte", encoding="koi8-r")
    assert card.figures.bits_per_utf8_char is None
    assert "bits/char" not in shown(card)


def test_a_model_of_characters_scores_characters(tmp_path):
    card = card_of(tmp_path, "char")
    assert card.figures.unit == "char"
    assert math.isclose(card.figures.bits_per_utf8_char, card.figures.bits_per_char)
    assert "predicted characters" in shown(card) and "bits/char" in shown(card)


@pytest.mark.parametrize("mode", ["lines", "stream"])
@pytest.mark.parametrize("unit", ["char", "byte"])
def test_an_interval_leaves_the_unit_of_the_score_as_it_is(mode, unit):
    tally = Tally(np.zeros(20 * BLOCK, np.uint8), None)
    tally.nats[:] = np.arange(20) + 2.0 * BLOCK
    tally.chars[:] = BLOCK
    size = size_of("ж".encode() * 200)
    scored = figures(tally, size, mode, unit)
    assert scored.interval is not None
    assert scored.unit == unit


def test_the_charts_of_a_page_name_bytes(tmp_path):
    card_of(tmp_path, "byte")
    metrics = read_metrics(tmp_path / "byte" / "metrics.jsonl")
    assert {chart["unit"] for chart in charts(metrics, 1.0, 9, "byte")} == {"bits per byte"}


def trained(tmp_path, unit, capsys, encoding="utf-8"):
    """Count the bigrams of a text, watched by a person. Returns the outcome, and what was said."""
    (tmp_path / "a.txt").write_bytes(RUSSIAN.encode(encoding))
    layers = (("--", {"unit": unit, "cell": "ngram", "order": "2", "mode": "stream"}),)
    request = Request(str(tmp_path / "a.txt"), layers, run=tmp_path / unit)
    path, outcome = train(request, TrainingProgress(every=True), lambda tensors, meta: "x")
    lines = _closing_lines(path, outcome, is_stopped=False)
    return outcome, capsys.readouterr().err + "\n".join(lines)


def test_a_training_of_bytes_says_bits_per_byte_and_per_character(tmp_path, capsys):
    outcome, said = trained(tmp_path, "byte", capsys)
    assert outcome.symbols_per_char > 1.5
    assert OF_BYTES in said and "bits/byte (" in said
    bits = outcome.place.best_nats / math.log(2) * outcome.symbols_per_char
    assert f"{bits:.3f} bits/char, as UTF-8" in said
    samples = read_samples(tmp_path / "byte" / "samples.txt")
    assert {sample.noun for sample in samples} == {"byte"}


def test_a_training_of_bytes_that_are_no_utf8_names_no_characters(tmp_path, capsys):
    outcome, said = trained(tmp_path, "byte", capsys, "koi8-r")
    assert outcome.symbols_per_char is None
    assert "bits/char" not in said


def test_a_training_of_characters_says_bits_per_character(tmp_path, capsys):
    outcome, said = trained(tmp_path, "char", capsys)
    assert (outcome.unit, outcome.symbols_per_char) == ("char", 1.0)
    assert "bits/byte" not in said and "bits/char (" in said
