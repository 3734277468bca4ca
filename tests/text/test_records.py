"""Records: items of several lines that begin and end."""

import numpy as np
import pytest
from textfiles import build_text, lines_of, survey_text

from charrnn.config import TextSettings
from charrnn.errors import CorpusError
from charrnn.text.batches import IGNORED
from charrnn.text.batching import make_batches
from charrnn.text.novelty import make_filter
from charrnn.text.records import BREAK_SIGN, records, separator_of
from charrnn.text.vocabulary import BREAK, NEWLINE

RECORDS = [f"Title {n}\n\nline {n * n}\n" + "x\n" * (n % 5) + "end" for n in range(40)]


def text_of(separator, end="\n"):
    return "".join(record.replace("\n", end) + f"{end}{separator}{end}" for record in RECORDS)


def all_records(corpus):
    ids = np.concatenate([corpus.split(name) for name in corpus.bounds])
    codes = corpus.vocabulary.codes_of(ids)
    parts = np.split(codes, np.flatnonzero(codes == NEWLINE) + 1)[:-1]
    assert all(part[-1] == NEWLINE for part in parts)
    return ["".join(map(chr, part[:-1].tolist())).replace(BREAK_SIGN, "\n") for part in parts]


@pytest.mark.parametrize("separator", ["---", "%", "***", "* * *", "==="])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_records_between_lines_of_signs_are_found(separator, end, tmp_path):
    corpus, notes = build_text(tmp_path, text_of(separator, end), TextSettings(mode="records"))
    assert sorted(all_records(corpus)) == sorted(RECORDS)
    assert any(f"between lines of {separator} " in note for note in notes)


def test_records_between_blank_lines_are_found_where_there_are_no_signs(tmp_path):
    text = "a\nb\n\nc\n\n\n d\ne\n\n" + "".join(f"f{n}\n\n" for n in range(9))
    corpus, notes = build_text(tmp_path, text, TextSettings(mode="records"))
    expected = ["a\nb", "c", " d\ne", *(f"f{n}" for n in range(9))]
    assert sorted(all_records(corpus)) == sorted(expected)
    assert any("between blank lines" in note for note in notes)


def test_a_separator_that_is_said_makes_records(tmp_path):
    corpus, _ = build_text(tmp_path, text_of("NEXT"), TextSettings(separator="NEXT"))
    assert sorted(all_records(corpus)) == sorted(RECORDS)


def test_a_text_without_separators_is_told_what_to_pass(tmp_path):
    with pytest.raises(CorpusError, match="no line of signs .* pass --separator TEXT"):
        survey_text(tmp_path, "a\nb\nc\n" * 9, TextSettings(mode="records"))


def test_a_record_that_is_too_long_is_named_by_its_line():
    texts = iter(["a\n---\n", "b" * 60_000, "\n", "b" * 60_000, "\n---\nc\n"])
    with pytest.raises(CorpusError, match=r"f: the record that begins on line 3 has 120,001 char"):
        list(records(texts, "---", "f"))


def test_the_separator_is_the_most_frequent_line_of_signs():
    assert separator_of("a\n--\nb\n%\nc\n%\nd\n%\n--\n") == "%"
    assert separator_of("a\nb\n") == ""


def test_cells_with_line_breaks_make_records(tmp_path):
    cells = "".join(f'{n},"{record}"\n' for n, record in enumerate(RECORDS))
    corpus, _ = build_text(tmp_path, "n,text\n" + cells, TextSettings(column="text"))
    assert sorted(all_records(corpus)) == sorted(RECORDS)
    lines, notes = build_text(
        tmp_path, "n,text\n" + cells, TextSettings(column="text", mode="lines")
    )
    assert "Title 1 line 1 x end" in {
        line for name in lines.bounds for line in lines_of(lines, name)
    }
    assert any("40 entries had line breaks inside" in note for note in notes)


def test_lines_have_no_break_among_their_symbols(tmp_path):
    survey, _ = survey_text(tmp_path, "name\n" * 9 + "other\n", TextSettings(mode="lines"))
    assert not survey.vocabulary.has_breaks
    assert BREAK not in survey.vocabulary.symbols


def test_a_line_break_of_a_prompt_is_one_inside_a_record(tmp_path):
    corpus, _ = build_text(tmp_path, text_of("---"), TextSettings(mode="records"))
    vocabulary = corpus.vocabulary
    ids = vocabulary.encode("Title 1\n\nline")
    assert vocabulary.newline not in ids
    assert vocabulary.decode(ids) == "Title 1\n\nline"


def test_the_filter_knows_whole_records_and_no_parts(tmp_path):
    corpus, _ = build_text(tmp_path, text_of("---"), TextSettings(mode="records"))
    found = make_filter(corpus.split("train"), corpus.vocabulary, "lines", "f")
    text = corpus.vocabulary.decode(corpus.split("train"))
    held = [record for record in RECORDS if f"{record}\n" in text]
    assert len(held) > 30
    assert all(found.may_hold(corpus.vocabulary.breaking(record)) for record in held)
    assert not found.may_hold(corpus.vocabulary.breaking("Title 1\n\nline"))


def rows_of(batches, steps, rows):
    """What each row read and was to predict, item by item."""
    items, open_items = [], [None] * rows
    for step in range(steps):
        batch = batches.batch(step)
        for row in range(rows):
            if batch.begins[row]:
                open_items[row] = ([], [])
                items.append(open_items[row])
            is_target = batch.targets[row] != IGNORED
            open_items[row][0].extend(batch.inputs[row][is_target].tolist())
            open_items[row][1].extend(batch.targets[row][is_target].tolist())
    return items


@pytest.mark.parametrize("window", [1, 3, 4, 1000])
@pytest.mark.parametrize("size", [1, 3, 50])
def test_each_pass_reads_every_record_whole_in_windows(window, size, tmp_path):
    corpus, _ = build_text(tmp_path, text_of("---"), TextSettings(mode="records"))
    batches = make_batches(corpus, size, window, seed=5)
    items = rows_of(batches, 2 * batches.steps_per_epoch + 80, batches.rows)
    newline = corpus.vocabulary.newline
    count = len(corpus.lines("train")[0])
    train = corpus.vocabulary.decode(corpus.split("train"))
    first = [corpus.vocabulary.decode(np.array(targets)) for _, targets in items[:count]]
    assert "".join(sorted(first)) == "".join(sorted(r + "\n" for r in RECORDS if r + "\n" in train))
    for inputs, targets in items[:count]:
        assert inputs == [newline, *targets[:-1]]
        assert targets[-1] == newline


def test_a_batch_of_records_follows_from_its_step_alone(tmp_path):
    corpus, _ = build_text(tmp_path, text_of("---"), TextSettings(mode="records"))
    ahead = make_batches(corpus, 3, 4, seed=5)
    late = ahead.batch(300)
    for step in (7, 0, 299, 300):
        again = make_batches(corpus, 3, 4, seed=5).batch(step)
        batch = ahead.batch(step)
        assert (batch.inputs == again.inputs).all() and (batch.targets == again.targets).all()
        assert (batch.begins == again.begins).all() and batch.fresh == (step == 0)
    assert (late.targets == ahead.batch(300).targets).all()


def test_a_line_with_the_code_of_a_break_keeps_it(tmp_path):
    corpus, _ = build_text(tmp_path, f"a{BREAK_SIGN}b\n" * 9 + "c\nd\n", TextSettings(mode="lines"))
    assert not corpus.vocabulary.has_breaks
    assert (
        corpus.vocabulary.decode(corpus.vocabulary.encode(f"a{BREAK_SIGN}\n")) == f"a{BREAK_SIGN}\n"
    )
