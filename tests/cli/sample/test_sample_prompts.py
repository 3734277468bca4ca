"""charrnn sample: bytes, runs, prompts, wrong options, terminals and readers that leave."""

import json
import os
import subprocess
import sys

import pytest
from sample_support import make_run, on_terminal, run

from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import load

# Bytes, runs, prompts


def test_bytes_of_a_byte_model_are_exact_in_a_pipe_and_replaced_in_json(tmp_path):
    folder = make_run(
        tmp_path, "stream", unit="byte", symbols=(0x0A, 0x61, 0x62, 0x65, 0x6E, 0xC3, 0xFF)
    )
    data = run(folder, "-l", 60, "--seed", 1).stdout
    assert len(data) == 60
    assert data == next(load(folder).generate(1, length=60, seed=1, decoding=Decoding(0.8))).data
    [line] = run(folder, "-l", 60, "--seed", 1, "--json").stdout.splitlines()
    assert json.loads(line)["text"] == data.decode("utf-8", "replace")


def test_the_newest_run_is_the_default(lines, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "names").symlink_to(lines)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    result = run("-n", 2, "--seed", 1, cwd=tmp_path, env=environment)
    assert result.stdout == run(lines, "-n", 2, "--seed", 1).stdout != b""


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_prompt_file_for_lines_may_end_in_a_newline(lines, tmp_path, ending):
    (tmp_path / "prime").write_bytes(("\ufeffan" + ending).encode())
    result = run(lines, "--prime-file", tmp_path / "prime", "-n", 1, "-l", 0, "--seed", 1)
    assert result.stdout == b"an\n"


def test_a_prompt_comes_from_standard_input(stream):
    assert run(stream, "--prime-file", "-", "-l", 0, "--seed", 1, input=b"na\n").stdout == b"na\n"


def test_old_names_of_options_are_understood(stream):
    result = run(stream, "--temperature", 0, "--primetext", "ab", "-l", 9)
    assert result.stdout == run(stream, "--temp", 0, "--prime", "ab", "-l", 9).stdout != b""


def test_a_large_top_k_is_clamped_with_a_note(stream):
    result = run(stream, "--top-k", 999, "-l", 50, "--seed", 1)
    assert result.stdout == run(stream, "-l", 50, "--seed", 1).stdout
    assert b"--top-k 999" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--temp", "-1"], "--temp"),
        (["--temp", "nan"], "--temp"),
        (["--temp", "inf"], "--temp"),
        (["--top-k", "-2"], "--top-k"),
        (["--top-p", "0"], "--top-p"),
        (["--top-p", "1.5"], "--top-p"),
        (["--min-p", "2"], "--min-p"),
        (["--repetition-penalty", "0"], "--repetition-penalty"),
        (["--length", "-1"], "--length"),
        (["--count", "-1"], "--count"),
        (["--seed", "-1"], "--seed"),
        (["--seed", str(2**63)], "--seed"),
        (["--unknown", "drop"], "--unknown"),
        (["--prime", "xyz"], "U+0078"),
        (["--prime", "a\nb"], "newline"),
        (["--until", "q"], "--until"),
        (["--prime", b"a\xff"], "--prime"),
        (["--until", b"\xff"], "--until"),
        (["--prime", "a", "--prime-file", "f"], "give one"),
        (["--prime-file", "no-such-file"], "--prime-file no-such-file"),
        (["--prime-file", "/dev/zero"], "MiB"),
        (["--prime-file", "/"], "--prime-file /"),
        (["--matching", "("], "--matching '('"),
        (["--matching", b"\xff"], "--matching"),
        (["--min-length", "-1"], "--min-length"),
        (["--max-length", "-1"], "--max-length"),
        (["--tries", "9"], "--tries 9"),
        (["--min-length", "4", "--max-length", "3"], "--max-length 3"),
        (["--min-length", "1001"], "--min-length"),
        (["--max-length", "1", "--prime", "an"], "--max-length 1"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_2(lines, arguments, word):
    command = [sys.executable, "-m", "charrnn", "sample", str(lines), *arguments]
    result = subprocess.run(command, capture_output=True, timeout=120)
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (2, b"", 1)
    assert word in result.stderr.decode()


def test_a_prompt_file_that_is_not_utf8_names_the_byte(lines, tmp_path):
    (tmp_path / "prime").write_bytes(b"abc\x92d")
    result = run(lines, "--prime-file", tmp_path / "prime")
    assert result.returncode == 2
    assert b"byte 0x92 at offset 3" in result.stderr


def test_a_missing_run_is_exit_3(tmp_path):
    result = run(tmp_path / "none")
    assert (result.returncode, result.stdout) == (3, b"")


def test_a_reader_that_leaves_ends_it_quietly(stream):
    command = [
        sys.executable,
        "-m",
        "charrnn",
        "sample",
        str(stream),
        "-l",
        str(10**9),
        "--seed",
        "1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert len(process.stdout.read(100)) == 100
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux")
def test_a_full_disk_is_exit_5(stream):
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "charrnn", "sample", str(stream), "--seed", "1"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert result.returncode == 5
    assert result.stderr.count(b"\n") == 1


def test_a_terminal_gets_escapes_and_a_last_newline(stream):
    exact = run(stream, "-l", 300, "--seed", 1).stdout
    assert b"\x1b" in exact
    shown = on_terminal(stream, "-l", 300, "--seed", 1)
    assert shown == exact.replace(b"\x1b", b"\\x1b") + (b"" if exact.endswith(b"\n") else b"\n")


def test_raw_gives_a_terminal_the_exact_bytes(stream):
    exact = run(stream, "-l", 300, "--seed", 1).stdout
    assert on_terminal(stream, "-l", 300, "--seed", 1, "--raw").startswith(exact)


def test_sample_loads_no_torch_and_nothing_that_counts_or_reads_texts(lines, stream):
    heavy = {
        "torch",
        "rich.console",
        "charrnn.text.ngram",
        "charrnn.text.corpus",
        "charrnn.text.reading",
    }
    for words in (["sample", str(lines), "-n", "2", "--json"], ["sample", str(stream), "-l", "9"]):
        code = f"import sys; sys.argv = ['charrnn', *{words!r}]\n"
        code += "from charrnn.cli.main import main\ntry:\n    main()\n"
        code += f"finally:\n    assert not {heavy!r} & {{*sys.modules}}\n"
        assert (
            subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
        )


def test_help_loads_no_numpy():
    code = "import sys; sys.argv = ['charrnn', 'sample', '--help']\n"
    code += "from charrnn.cli.main import main\ntry:\n    main()\n"
    code += "finally:\n    assert 'numpy' not in sys.modules\n"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
