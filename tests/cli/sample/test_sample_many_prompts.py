"""charrnn sample --prompts: a JSON line for each text, or one line of complaint."""

import json

import pytest
from sample_support import run

from charrnn.cli.prompts import read_prompts
from charrnn.errors import SettingsError
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import load


def test_every_text_says_which_prompt_it_is_of(lines, tmp_path):
    (tmp_path / "prompts.txt").write_text("an\n\nb\n")
    done = run(lines, "--prompts", tmp_path / "prompts.txt", "-n", 2, "--seed", 4)
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert [about["prompt"] for about in objects] == [1, 1, 2, 2, 3, 3]
    how = {"seed": 4, "decoding": Decoding(0.8)}
    expected = [
        sample.text
        for place, prompt in enumerate(["an", "", "b"])
        for sample in load(lines).generate(2, prime=prompt, first=2 * place, **how)
    ]
    assert [about["text"] for about in objects] == expected
    keys = ["schema", "prompt", "text", "nats", "chars", "bits_per_char", "novel", "seed", "index"]
    assert [list(about) for about in objects] == [keys] * 6


def test_prompts_of_json_on_standard_input_may_have_newlines(stream):
    prompts = b'{"prompt": "an\\nb"}\n{"prompt": "e"}\n'
    done = run(stream, "--prompts", "-", "-l", 3, "--seed", 1, input=prompts)
    texts = [json.loads(line)["text"] for line in done.stdout.splitlines()]
    assert [text[:-3] for text in texts] == ["an\nb", "e"]


def test_an_unknown_character_is_refused_before_anything_is_written(lines):
    done = run(lines, "--prompts", "-", input="an\nb€\n".encode())
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--prompts: prompt 2 has 1 character," in done.stderr and done.stderr.count(b"\n") == 1


def test_unknown_characters_are_skipped_on_request(lines):
    done = run(lines, "--prompts", "-", "--unknown", "skip", "-l", 0, input="b€a\n".encode())
    assert json.loads(done.stdout)["text"] == "ba"


@pytest.mark.parametrize("option", ["--novel", "--interactive"])
def test_what_does_not_go_with_prompts_is_refused(lines, option):
    done = run(lines, "--prompts", "-", option, input=b"an\n")
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1
    assert f"leave out {option}".encode() in done.stderr


@pytest.mark.parametrize(
    ("data", "prompts"),
    [
        (b"a\nb", ["a", "b"]),
        (b"a\r\n\r\nb\r\n", ["a", "", "b"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (b'{"x": 1}\n', ['{"x": 1}']),
        (b'{"prompt": "a"}\n{"prompt": ""}\n', ["a", ""]),
        (b"\n", [""]),
    ],
)
def test_prompts_are_read_line_by_line(tmp_path, data, prompts):
    (tmp_path / "prompts").write_bytes(data)
    assert read_prompts(tmp_path / "prompts") == prompts


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "there is no prompt"),
        (b'{"prompt": "a"}\nb\n', 'line 2 is no JSON object with "prompt" alone'),
        (b'{"prompt": "a"}\n{"prompt": "b", "temp": 1}\n', "line 2 is no JSON object"),
        (b"a\xff\n", "is not UTF-8"),
    ],
)
def test_what_holds_no_prompts_is_refused(tmp_path, data, message):
    (tmp_path / "prompts").write_bytes(data)
    with pytest.raises(SettingsError, match=message):
        read_prompts(tmp_path / "prompts")
