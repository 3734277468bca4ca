"""charrnn sample with constraints: what is written, what is told, and when tries run out."""

import json
import subprocess
import sys

import numpy as np
import pytest
from sample_support import LINES, run

from charrnn.modelfile import MODEL_FILE
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import load

# Constraints


def drawn(run, count, seed, **how):
    """What the engine draws: samples to choose from by hand."""
    return list(load(run).generate(count, seed=seed, decoding=Decoding(0.8), **how))


def texts(result):
    return result.stdout.decode().splitlines()


@pytest.mark.parametrize(
    ("arguments", "is_kept"),
    [
        (["--novel"], lambda text: text and text not in LINES.splitlines()),
        (["--matching", "^b.*e$"], lambda text: text[:1] == "b" and text[-1:] == "e"),
        (["--min-length", 5], lambda text: len(text) >= 5),
        (["--max-length", 2], lambda text: len(text) <= 2),
        (
            ["--min-length", 3, "--max-length", 4, "--matching", "n"],
            lambda text: len(text) in (3, 4) and "n" in text,
        ),
    ],
)
def test_only_lines_that_satisfy_are_written_in_the_order_of_their_draws(lines, arguments, is_kept):
    result = run(lines, "-n", 6, "--seed", 4, *arguments)
    assert result.returncode == 0
    assert texts(result) == [one.text for one in drawn(lines, 2000, 4) if is_kept(one.text)][:6]


def test_unique_lines_are_the_first_of_each(lines):
    result = run(lines, "-n", 12, "--seed", 4, "--unique", "--max-length", 3)
    short = [one.text for one in drawn(lines, 2000, 4) if len(one.text) <= 3]
    assert texts(result) == list(dict.fromkeys(short))[:12] != short[:12]


def test_a_cache_keeps_to_the_prompt(stream):
    how = (stream, "--prime", "anna\nben\nanna\nben\n", "--length", "200", "--seed", "2", "--json")
    plain, cached = (json.loads(run(*how, *more).stdout) for more in ((), ("--cache", "50")))
    assert cached["chars"] == plain["chars"] == 200 and cached["text"] != plain["text"]
    assert plain["text"].count("\U0001f600") > 10 * cached["text"].count(
        "\U0001f600"
    )  # the prompt has none


@pytest.mark.parametrize(
    ("more", "words"),
    [(("--cache", "9"), "add --prime or --prime-file"), (("--cache", "-1"), "--cache -1")],
)
def test_a_cache_that_would_do_nothing_is_refused(stream, more, words):
    done = run(stream, *more)
    assert done.returncode == 2 and words in done.stderr.decode() and done.stderr.count(b"\n") == 1


def test_starts_with_is_another_name_of_prime(lines):
    assert texts(run(lines, "--starts-with", "an", "--seed", 4)) == texts(
        run(lines, "--prime", "an", "--seed", 4)
    )


def test_what_was_thrown_away_is_told_on_stderr(lines):
    result = run(lines, "-n", 5, "--seed", 4, "--matching", "n", "--novel")
    kept = [
        one
        for one in drawn(lines, 500, 4)
        if "n" in one.text and one.text not in LINES.splitlines()
    ]
    assert f"kept 5 of {kept[4].index + 1} tries: " in result.stderr.decode()
    assert b"not in the training text" not in result.stderr.replace(b"(--novel)", b"")


@pytest.mark.parametrize("extra", [[], ["--json"], ["--rank"]])
def test_when_tries_run_out_what_was_found_is_written_and_one_line_says_why(lines, extra):
    result = run(lines, "-n", 9, "--seed", 4, "--tries", 20, "--matching", "nn", *extra)
    kept = sum("nn" in one.text for one in drawn(lines, 20, 4))
    assert 0 < kept < 9
    assert (result.returncode, len(texts(result))) == (2, kept)
    assert result.stderr.decode() == (
        f"charrnn: found {kept} of 9 in 20 tries: {20 - kept} do not match --matching; "
        "loosen them or raise --tries\n"
    )


def test_greedy_texts_are_not_tried_ten_thousand_times(lines):
    result = run(lines, "-n", 3, "--temp", 0, "--unique")
    assert (result.returncode, len(texts(result))) == (2, 1)
    assert b"found 1 of 3 in 3 tries: 2 are repeats (--unique); --temp 0 always" in result.stderr


@pytest.mark.parametrize("seed", [1, 4])
def test_ranked_lines_come_likeliest_first_with_bits_per_character(lines, seed):
    samples = sorted(drawn(lines, 7, seed), key=lambda one: one.nats / one.chars)
    expected = [f"{one.nats / one.chars / np.log(2):.2f}  {one.text}" for one in samples]
    assert texts(run(lines, "-n", 7, "--seed", seed, "--rank")) == expected


def test_json_of_ranked_lines_has_the_rank_beside_the_bits(lines):
    objects = [
        json.loads(line) for line in texts(run(lines, "-n", 5, "--seed", 4, "--rank", "--json"))
    ]
    assert [each["rank"] for each in objects] == [1, 2, 3, 4, 5]
    assert sorted(each["index"] for each in objects) == [0, 1, 2, 3, 4]
    assert [each["bits_per_char"] for each in objects] == sorted(
        each["bits_per_char"] for each in objects
    )
    assert list(objects[0])[4:6] == ["bits_per_char", "rank"]


def test_texts_without_a_generated_character_can_be_ranked(lines):
    assert texts(run(lines, "-n", 2, "--seed", 4, "-l", 0, "--prime", "an", "--rank")) == [
        "-  an",
        "-  an",
    ]


def test_the_further_lines_of_a_ranked_stream_stand_beneath_its_first(stream):
    result = run(stream, "-n", 2, "-l", 40, "--seed", 4, "--rank", "--prime", "a\nb")
    first, second, *_ = texts(result)
    assert first.endswith("  a")
    assert second.startswith(" " * (len(first) - 1) + "b")


def test_streams_that_satisfy_are_divided_by_a_visible_line(stream):
    result = run(stream, "-n", 3, "-l", 30, "--seed", 2, "--matching", "^[a-n]", "--novel")
    kept = [
        one.data for one in drawn(stream, 100, 2, length=30) if one.text[0] in "abcdefghijklmn"
    ][:3]
    ended = [data if data.endswith(b"\n") else data + b"\n" for data in kept[:2]]
    assert result.stdout == b"---\n".join([*ended, kept[2]])


def test_a_stream_ends_at_the_longest_that_is_allowed(stream):
    assert (
        run(stream, "--seed", 2, "--max-length", 33).stdout.decode()
        == drawn(stream, 1, 2, length=33)[0].text
    )


def test_lines_of_a_stream_can_be_chosen_by_their_length(stream):
    result = run(
        stream,
        "-n",
        4,
        "--seed",
        2,
        "--until",
        "\n",
        "--min-length",
        2,
        "--max-length",
        5,
        "--json",
    )
    written = [json.loads(line)["text"] for line in texts(result)]
    fits = [
        one.text
        for one in drawn(stream, 400, 2, until="\n")
        if 3 <= len(one.text) <= 6 and one.text[-1] == "\n"
    ]
    assert written == fits[:4]


def test_novel_texts_can_be_had_from_the_filter_alone(lines, tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / MODEL_FILE).write_bytes((lines / MODEL_FILE).read_bytes())
    [novelty] = (lines / "corpus").glob("*.novel")
    (tmp_path / "corpus" / novelty.name).write_bytes(novelty.read_bytes())
    assert texts(run(tmp_path, "-n", 5, "--seed", 4, "--novel")) == texts(
        run(lines, "-n", 5, "--seed", 4, "--novel")
    )


@pytest.mark.parametrize("count", [5, 0])
def test_novel_without_the_training_text_is_exit_3_before_anything_is_drawn(lines, tmp_path, count):
    (tmp_path / MODEL_FILE).write_bytes((lines / MODEL_FILE).read_bytes())
    result = run(tmp_path, "--novel", "-n", count)
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (3, b"", 1)
    assert b"--novel" in result.stderr


def test_a_reader_that_leaves_hears_nothing_of_tries(lines):
    command = [
        sys.executable,
        "-m",
        "charrnn",
        "sample",
        str(lines),
        "-n",
        "100000",
        "--min-length",
        "3",
        "--seed",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert len(process.stdout.read(100)) == 100
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert b"found" not in process.stderr.read()
