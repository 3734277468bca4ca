"""charrnn sample with patterns that few texts fit, with --fill, and with --likeliest."""

import json
import re

import pytest
from sample_support import run

from charrnn.cli.seeking import write_likeliest
from charrnn.errors import SettingsError
from charrnn.sampling import prefixes
from charrnn.sampling.constraints import Constraints
from charrnn.sampling.engine import load


def texts(result):
    return result.stdout.decode().splitlines()


def test_a_form_is_filled(lines):
    result = run(lines, "--fill", "__nn_", "-n", 8, "--seed", 4)
    assert result.returncode == 0 and len(texts(result)) == 8
    assert all(re.fullmatch("..nn.", text) for text in texts(result))


def test_texts_that_rejection_would_not_find_are_found(lines):
    """One of some 14,000 texts fits."""
    asked = (lines, "--matching", "ennbb", "-n", 2, "--seed", 4)
    result = run(*asked)
    assert result.returncode == 0 and len(texts(result)) == 2
    assert all("ennbb" in text for text in texts(result))
    assert re.search(rb"kept 2 of [\d,]+ tries", result.stderr)
    assert run(*asked).stdout == result.stdout


def test_what_is_sought_keeps_to_the_other_constraints(lines):
    result = run(
        *(lines, "--matching", "bb", "--fill", "e_____", "--novel", "--unique", "--seed", 4),
        *("--prime", "e", "--max-length", 6, "--top-k", 4, "-n", 4, "--json"),
    )
    objects = [json.loads(line) for line in texts(result)]
    written = [each["text"] for each in objects]
    assert len(set(written)) == 4 and all(each["novel"] for each in objects)
    assert all(re.fullmatch("e(?=.*bb).{5}", text) for text in written)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("n(?=a)", "it looks ahead or back"),
        ("(a|b|n|e)*a(a|b|n|e){11}", "it has over 3,000 states"),
    ],
)
def test_a_pattern_that_cannot_steer_is_said(lines, pattern, reason):
    result = run(lines, "--matching", pattern, "-n", 1, "--seed", 4)
    words = f"note: --matching only rejects here, and cannot steer: {reason}\n"
    assert words in result.stderr.decode()
    assert result.returncode == 0 and re.search(pattern, texts(result)[0])


def test_a_pattern_that_nothing_fits_is_refused_at_once(lines):
    result = run(lines, "--matching", "z", "--seed", 1)
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert b"no text of this model fits --matching; check for characters" in result.stderr


def test_a_wrong_form_is_refused(lines):
    result = run(lines, "--fill", r"a\n")
    assert result.returncode == 2 and b"--fill" in result.stderr
    assert b"after a backslash" in result.stderr


# --likeliest


def test_the_likeliest_are_written_with_their_probability(lines):
    objects = [json.loads(line) for line in texts(run(lines, "--likeliest", 5, "--json"))]
    assert [each["rank"] for each in objects] == [1, 2, 3, 4, 5]
    chances = [each["probability"] for each in objects]
    assert chances == sorted(chances, reverse=True) and 0 < chances[-1] < chances[0] < 1
    written = texts(run(lines, "--likeliest", 5))
    expected = [f"{each['probability']:.3g}".rjust(9) + f"  {each['text']}" for each in objects]
    assert written == expected


def test_the_likeliest_keep_to_the_constraints(lines):
    every = [line[11:] for line in texts(run(lines, "--likeliest", 400, "--max-length", 5))]
    for more, is_kept in (
        (("--matching", "n(?=a)"), lambda text: "na" in text),
        (("--fill", "_n__"), lambda text: re.fullmatch(".n..", text)),
    ):
        some = texts(run(lines, "--likeliest", 5, "--max-length", 5, *more))
        assert [line[11:] for line in some] == list(filter(is_kept, every))[:5]


def test_fewer_than_asked_for_is_said(lines):
    result = run(lines, "--likeliest", 50, "--fill", "n_")
    assert result.returncode == 0 and 1 <= len(texts(result)) < 50
    assert f"no more than {len(texts(result))} texts can be written so" in result.stderr.decode()


@pytest.mark.parametrize("more", [("--count", 3), ("--temp", 1), ("--seed", 1), ("--rank",)])
def test_what_the_likeliest_do_not_go_with_is_refused(lines, more):
    result = run(lines, "--likeliest", 3, *more)
    assert (result.returncode, result.stdout) == (2, b"")
    assert f"leave out {more[0]}" in result.stderr.decode()


def test_a_search_beyond_memory_says_what_is_sure(lines, monkeypatch, capfdbinary):
    monkeypatch.setattr(prefixes, "MOST_BYTES", 30_000)
    how = {"length": 1000, "prime": "", "until": "", "unknown": "error", "threads": None}
    with pytest.raises(SettingsError) as caught:
        write_likeliest(load(lines), Constraints(), None, 3000, how, json=False, raw=False)
    found = capfdbinary.readouterr().out.count(b"\n")
    assert 0 < found < 3000
    assert re.match(
        rf"found {found} of 3,000: memory for [\d,]+ beginnings is used up, and any other text has "
        r"a probability below 0\.\d+; ask for fewer",
        str(caught.value),
    )
