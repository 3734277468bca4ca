"""charrnn eval: what it prints.

The command is called in this process; commands/ starts the program itself.
"""

import json
from pathlib import Path

import pytest

from charrnn.cli.eval import evaluate
from charrnn.errors import SettingsError


@pytest.fixture
def shown(trained, one_thread, capsys, monkeypatch):
    """Run eval on the small run of lines: shown(text="Anna") -> what stands on standard output."""

    def call(**options):
        evaluate(**({"run": trained} | options))
        return capsys.readouterr().out

    return call


@pytest.fixture
def objects(shown):
    return lambda **options: [json.loads(line) for line in shown(json=True, **options).splitlines()]


def test_it_says_what_somebody_else_needs_to_quote_it(shown):
    page = shown(split="train", baselines=False)
    for words in (
        "bits/byte",
        "95 %  ",
        "few, sha256 ",
        "seed 1337",
        "warning",
        "the text it learnt from",
    ):
        assert words in page, page


def test_the_object_has_every_part_and_fits_one_line(objects):
    (card,) = objects(split="val")
    assert {
        "schema",
        "run",
        "step",
        "split",
        "split_rule",
        "file",
        "protocol",
        "window",
        "nats_per_char",
        "bits_per_char",
        "bits_per_byte",
        "perplexity",
        "chars",
        "interval",
        "data",
        "experts",
        "cache",
        "dynamic",
        "baselines",
        "ngram",
        "gain_over_ngram",
        "overlap",
        "unseen",
        "model",
        "unknown",
        "notes",
        "warnings",
        "unit",
        "bits_per_utf8_char",
    } == set(card)


def test_per_char_is_an_object_a_character_or_a_table(shown, objects):
    rows = objects(text="Anna", per_char=True)
    assert "".join(row["char"] for row in rows) == "Anna\n" and all(
        row["schema"] == 1 for row in rows
    )
    (whole,) = objects(text="Anna")
    assert sum(row["bits"] for row in rows) / len(rows) == pytest.approx(
        whole["bits_per_char"], rel=1e-5
    )
    page = shown(text="Anna", per_char=True)
    assert "guess" in page and "'\\n'" in page and f"{whole['bits_per_char']:.4f} bits/char" in page


def test_per_char_shows_a_person_a_thousand_at_most(shown, objects, tmp_path):
    (tmp_path / "x.txt").write_text("Anna\n" * 300)
    page = shown(file=tmp_path / "x.txt", per_char=True)
    assert (
        "1,000 characters" in page and "--json gives all" in page and len(page.splitlines()) < 1010
    )
    assert len(objects(file=tmp_path / "x.txt", per_char=True)) == 1500


def test_rank_lists_the_likeliest_line_first(shown, objects, tmp_path):
    (tmp_path / "x.txt").write_text("Anna\nZZZZ\n\nOtto\n")
    rows = objects(file=tmp_path / "x.txt", rank=True)
    assert [row["rank"] for row in rows] == [1, 2, 3] and {row["text"] for row in rows} == {
        "Anna",
        "ZZZZ",
        "Otto",
    }
    bits = [row["bits_per_char"] for row in rows]
    assert bits == sorted(bits)
    page = shown(file=tmp_path / "x.txt", rank=True)
    assert [line.split()[1] for line in page.splitlines()] == [row["text"] for row in rows]


def test_a_file_of_lines_shows_both_ends_beneath_the_table(shown, tmp_path):
    (tmp_path / "x.txt").write_text("".join(f"{a}{b}\n" for a in "ABCDE" for b in "aeo"))
    page = shown(file=tmp_path / "x.txt")
    assert (
        page.index("-gram (Kneser-Ney)")
        < page.index("likeliest lines")
        < page.index("least likely lines")
    )
    assert len(page[page.index("likeliest lines") :].splitlines()) == 12


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"per_char": True, "rank": True}, "--per-char and --rank show different things"),
        ({"dynamic_lr": 0.0}, "--dynamic-lr 0"),
        ({"dynamic_lr": float("inf")}, "--dynamic-lr inf"),
        ({"dynamic": True}, "--dynamic is for streams"),
        ({"cache": 5}, "--cache looks back along one stream"),
        ({"cache": 5, "rank": True}, "--cache cannot be combined with --rank"),
        (
            {"cache": 5, "dynamic": True, "per_char": True},
            "--cache and --dynamic cannot be combined with --per-char",
        ),
        ({"protocol": "windowed"}, "windowed is for streams"),
        ({"protocol": "windowed", "rank": True}, "leave out --protocol windowed"),
    ],
)
def test_what_it_cannot_do_is_one_line(shown, options, words):
    with pytest.raises(SettingsError, match=words):
        shown(**options)


def test_a_name_that_steers_terminals_is_escaped(shown, tmp_path):
    (tmp_path / "a\x1b[2J\n.txt").write_text("Anna\nOtto\n")
    assert "\x1b" not in shown(file=Path(tmp_path / "a\x1b[2J\n.txt"))


@pytest.mark.parametrize(
    "options",
    [
        ["--window", "64"],
        ["--encoding", "utf-8"],
        ["--unknown", "skip"],
        ["--text", "Ada", "--errors", "replace"],
        ["--samples", "3", "--protocol", "windowed"],
        ["--samples", "3", "--no-baselines"],
        ["--samples", "3", "--device", "cpu"],
    ],
)
def test_options_that_would_do_nothing_are_refused(charrnn, trained, options):
    done = charrnn("eval", trained, *options)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "leave" in done.stderr


def test_characters_left_out_are_counted_and_warned_of(charrnn, trained):
    card = json.loads(
        charrnn("eval", trained, "--text", "A€da§", "--unknown", "skip", "--json").stdout
    )
    assert card["unknown"] == 2 and "2 characters" in card["warnings"][0]
