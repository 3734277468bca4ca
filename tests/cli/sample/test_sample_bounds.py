"""What asks for more than memory holds is refused at once, in words that name what was typed."""

import pytest
from sample_support import run

from charrnn.cli import main
from charrnn.errors import SettingsError
from charrnn.sampling import bounds
from charrnn.sampling.bounds import MAX_LENGTH
from charrnn.sampling.constraints import ranked
from charrnn.sampling.engine import load


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-n", 10**10, "--rank"], "--count 10,000,000,000 with --rank: at most 1,000,000 texts"),
        (["-n", 10**10, "--unique"], "--count 10,000,000,000 with --unique: at most 10,000,000"),
        (["-n", 10**10, "--rank", "--json"], "--count 10,000,000,000 with --rank"),
        (["-n", 10**30], f"--count {10**30:,}: must be at most 1,000,000,000,000"),
        (["-l", 10**12, "--json"], "--length 1,000,000,000,000: at most 20,000,000 characters"),
        (["-l", 10**12, "--rank"], "--length 1,000,000,000,000: at most"),
        (["-l", 10**12, "--unique"], "--length 1,000,000,000,000: at most"),
        (["-l", 10**12, "--min-length", 3], "--length 1,000,000,000,000: at most"),
        (["-l", 10**6, "-n", 100, "--json"], "at most 200,000 characters for 100 texts"),
        (["-l", 10**30], f"--length {10**30:,}: must be at most 1,000,000,000,000"),
    ],
    ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, list) else "",
)
def test_more_than_memory_holds_is_refused_at_once(stream, options, says):
    told = run(stream, *options)
    assert (told.returncode, told.stdout) == (2, b"")
    assert says in told.stderr.decode() and told.stderr.count(b"\n") == 1


def test_a_line_without_end_is_not_waited_for(lines):
    told = run(lines, "--length", 10**9)
    assert told.returncode == 2
    assert b"--length 1,000,000,000: at most 2,000,000 characters for 10 texts" in told.stderr


def test_what_is_written_as_it_comes_has_no_such_bound(stream):
    sampler = load(stream)
    assert len(next(sampler.stream(length=MAX_LENGTH, seed=1))) > 0
    assert next(sampler.generate(10**12, length=3, seed=1)).chars == 3


def test_texts_that_are_sorted_are_bounded_in_all(stream, monkeypatch):
    monkeypatch.setattr(bounds, "MOST_HELD_CHARS", 100)
    samples = load(stream).generate(50, length=10, seed=1)
    with pytest.raises(SettingsError, match="--rank: the texts have over 100 characters"):
        ranked(samples)
    assert next(samples).index < 12


@pytest.mark.parametrize("command", ["sample", "eval", "report", "cells", "cooccur", "explain"])
def test_a_reader_that_runs_out_of_memory_is_given_no_advice_on_training(
    command, monkeypatch, capsys
):
    def full(**named):
        raise MemoryError

    monkeypatch.setattr(main, "app_of", lambda words: full)
    monkeypatch.setattr(main.sys, "argv", ["charrnn", command, "run"])
    with pytest.raises(SystemExit) as left:
        main.main()
    message = capsys.readouterr().err
    assert left.value.code == 2 and "--batch-size" not in message
    assert "out of memory: ask for less at once" in message


def test_the_verdicts_of_a_long_run_are_counted_and_not_listed(lines):
    told = run(lines, "-n", 300, "--seed", 1)
    assert b" of 300 are not in the training text" in told.stderr
