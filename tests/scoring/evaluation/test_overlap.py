"""The card of a score: what a text shares with the training text, each line, each character."""

import math

import numpy as np
import pytest
from evaluation_support import LETTERS, Fixed, ids_of

from charrnn.config import Settings
from charrnn.modelfile import ModelFile
from charrnn.scoring.detail import characters, likeliest_first, outliers, ranked
from charrnn.scoring.overlap import SharedRun, inherited, known_lines, overlap, warnings
from charrnn.scoring.score import Predictions, Tally, tallied
from charrnn.scoring.text import whole_lines
from charrnn.text.novelty import lines_held, make_filter, write_filter
from charrnn.text.vocabulary import Vocabulary
from charrnn.texts import OpenedRun

# Overlap


def compared(train, text, mode="stream", vocabulary=LETTERS):
    known = known_lines([train], text, vocabulary, mode) if vocabulary.newline is not None else None
    return overlap([train], text, vocabulary, mode, known)


def test_lines_and_runs_of_every_text_that_was_learnt_count():
    first, second = ids_of("anna\nbert\n"), ids_of("carla\nberta\n")
    text = ids_of("carla\nxbertay\nanna\n")
    known = known_lines([first, second], text, LETTERS, "lines")
    assert known.known.tolist() == [True, False, True]
    run = overlap([first, second], text, LETTERS, "lines", known).longest_run
    assert (run.text, run.train_text, run.train_at) == ("carla", 1, 0)


def test_a_carriage_return_makes_no_other_line():
    vocabulary = Vocabulary("char", (10, 13, *range(97, 123)))
    train, text = (
        vocabulary.encode(each).astype(np.uint8) for each in ("anna\nbert\n", "anna\r\nberta\r\n")
    )
    assert known_lines([train], text, vocabulary, "lines").known.tolist() == [True, False]


def test_filters_tell_which_lines_an_earlier_text_may_hold(tmp_path):
    names = [f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmno" for c in "pqrst"]
    old, new = names[:140], names[140:]
    made = make_filter(ids_of("".join(f"{name}\n" for name in old)), LETTERS, "lines", "0" * 64)
    half = ids_of("".join(f"{name}\n" for name in [*old[:50], *new[:50]]))
    held, asked = lines_held([made], half, LETTERS, "lines")
    assert asked == 100 and 50 <= held <= 55


def test_a_score_of_what_an_earlier_model_learnt_is_called_flattered(tmp_path):
    names = [f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmno" for c in "pqrst"]
    old = ids_of("".join(f"{name}\n" for name in names[:140]))
    new = ids_of("".join(f"{name}\n" for name in names[140:]))
    model = ModelFile(tmp_path / "model.safetensors", Settings(), LETTERS, "lines", 0, {}, {})
    (tmp_path / "corpus").mkdir()
    file = tmp_path / "corpus" / ("0" * 16 + ".novel")
    write_filter(file, old, LETTERS, "lines", "0" * 64)
    filters = OpenedRun(model).inherited_filters
    assert "50 of 50 lines" in inherited(filters, old[:200], LETTERS, "lines")[0]
    assert inherited(filters, new, LETTERS, "lines") == []
    # Where the text itself is there, it is compared exactly instead.
    file.with_suffix(".json").write_text("{}")
    assert OpenedRun(model).inherited_filters == []


def test_known_lines_equal_a_naive_search():
    random = np.random.default_rng(8)
    texts = [
        "\n".join("".join(random.choice(list("ab"), size)) for size in random.integers(0, 4, 60))
        for _ in "tu"
    ]
    train, text = (whole_lines(ids_of(each), 0) for each in texts)
    known, is_counted, _ = known_lines([train], text, LETTERS, "lines")
    learnt = set(LETTERS.decode(train).split("\n"))
    assert known.tolist() == [line in learnt for line in LETTERS.decode(text).split("\n")[:-1]]
    assert 0 < known.sum() < len(known) and is_counted.all()


def test_wide_ids_are_compared_as_such():
    vocabulary = Vocabulary("char", (10, *range(97, 600)))
    train, text = np.array([300, 44, 0], np.uint16), np.array([44, 0, 300, 44, 0], np.int32)
    assert known_lines([train], text, vocabulary, "lines").known.tolist() == [False, True]
    assert compared(train, text, "lines", vocabulary).duplicate_lines == 1


def test_short_lines_of_a_stream_are_no_overlap():
    train = ids_of("end\nthislineislongenoughnow\nabc\n")
    text = ids_of("end\nthislineislongenoughnow\nthislineisanotheronehere\nabc\n")
    found = compared(train, text)
    assert (found.lines, found.duplicate_lines, found.duplicate_share) == (2, 1, 0.5)
    assert "1 of 2 lines of 20 or more characters (50.0%)" in warnings(found, "stream")[0]


SPACED = Vocabulary("char", (10, 32, *range(65, 91), *range(97, 123), 0x2028))


@pytest.mark.parametrize("line", [" anna", "anna ", "ANNA", "anna\u2028", "bert\u2028anna"])
def test_lines_that_are_alike_but_for_their_form_are_counted_and_warned_of(line):
    train = SPACED.encode("anna\nbert\n").astype(np.uint8)
    text = SPACED.encode(f"{line}\nbert\ncarla\n").astype(np.uint8)
    shared = compared(train, text, "lines", SPACED)
    assert (shared.lines, shared.duplicate_lines, shared.alike_lines) == (3, 1, 1)
    assert (
        "1 of 3 lines is a training line except for white space, case"
        in warnings(shared, "lines")[1]
    )
    assert "1 more except for white space" in str(shared)


def test_few_alike_lines_of_a_stream_are_no_warning():
    line = "thislineislongenoughnow{}"
    train = SPACED.encode("".join(f"{line.format(chr(97 + k))}\n" for k in range(26)))
    lines = [f" {line.format('a')}", *(f"{line.format('x')}{k:b}" for k in range(120))]
    text = "\n".join(lines).replace("0", "o").replace("1", "i")
    shared = compared(
        train.astype(np.uint8), SPACED.encode(text).astype(np.uint8), "stream", SPACED
    )
    assert (shared.lines, shared.alike_lines) == (121, 1)
    assert not any("except for" in warning for warning in warnings(shared, "stream"))


def test_the_longest_shared_run_has_its_text_and_both_places():
    train, text = ids_of("aaaabcdefgaaaa"), ids_of("zzbcdefgz")
    run = compared(train, text).longest_run
    assert run == SharedRun(chars=6, text="bcdefg", at=2, train_at=4, train_text=0)


def test_a_shared_run_of_lines_does_not_cross_them():
    train, text = ids_of("anna\nbert\n"), ids_of("be\nxanna\nberta\n")
    run = compared(train, text, "lines").longest_run
    assert (run.chars, run.text, run.at, run.train_at) == (4, "anna", 4, 0)


def test_a_long_run_is_warned_of_and_a_short_one_is_not():
    random = np.random.default_rng(9)
    train = random.integers(1, 27, 3000).astype(np.uint8)
    for size, warned in ((49, 0), (50, 1)):
        text = np.concatenate([[0], train[100 : 100 + size], [0]]).astype(np.uint8)
        assert len(warnings(compared(train, text), "stream")) == warned


def test_nothing_in_common_is_no_warning():
    found = compared(
        ids_of("abc\n"), ids_of("xyz"), "stream", Vocabulary("char", tuple(range(97, 123)))
    )
    assert found.longest_run is None and found.lines is None and warnings(found, "stream") == []


# Each line, each character


def test_lines_are_ranked_by_nats_per_character():
    ids = ids_of("zz\nab\n\nmmmmmmm\nab\n")
    tally = tallied(Fixed(), ids, "lines", 0)
    tally.nats[2] = tally.chars[2] = 0  # as a network leaves blank lines out
    rows = list(ranked(ids, tally, 0, LETTERS, likeliest_first(tally)))
    assert [row.text for row in rows] == ["ab", "ab", "mmmmmmm", "zz"]
    assert rows[0].nats == pytest.approx(0.3) and rows[0].chars == 3
    assert rows[0].bits_per_char == pytest.approx(0.1 / math.log(2))


def test_many_lines_show_five_of_each_end_and_few_show_all():
    ids = ids_of("".join(f"{chr(97 + k)}\n" for k in range(11)))
    tally = tallied(Fixed(), ids, "lines", 0)
    likeliest, least_likely = outliers(ids, tally, 0, LETTERS)
    assert [row.text for row in likeliest] == list("abcde")
    assert [row.text for row in least_likely] == list("ghijk")
    _, least_likely = outliers(ids[:20], Tally(ids[:20], 0), 0, LETTERS)
    assert least_likely == []


def test_each_character_tells_its_price_and_its_rank():
    class Ranked(Fixed):
        def predictions(self, ids, protocol, *, window=256, detailed=False, first=None):
            assert detailed
            yield Predictions(
                np.array([1]),
                np.array([math.log(4)]),
                np.array([2]),
                np.array([3]),
                np.array([math.log(2)]),
            )

    (one,) = characters(Ranked(), ids_of("ab"), "stateful", LETTERS, 256)
    assert one._asdict() == {
        "place": 1,
        "char": "b",
        "code": 98,
        "bits": pytest.approx(2),
        "probability": pytest.approx(0.25),
        "rank": 2,
        "guess": "c",
        "guess_code": 99,
        "guess_probability": pytest.approx(0.5),
    }


def test_a_model_without_ranks_shows_none():
    rows = list(characters(Fixed(), ids_of("abcd"), "stateful", LETTERS, 256))
    assert [row.char for row in rows] == list("bcd") and {row.rank for row in rows} == {None}


def test_blank_lines_are_left_out_and_the_last_line_is_closed():
    assert LETTERS.decode(whole_lines(ids_of("\n\nab\n\n\nc"), 0)) == "ab\nc\n"
    assert LETTERS.decode(whole_lines(ids_of("ab\nc\n"), 0)) == "ab\nc\n"
    assert len(whole_lines(ids_of("\n\n"), 0)) == 0
    assert len(whole_lines(ids_of(""), 0)) == 0
