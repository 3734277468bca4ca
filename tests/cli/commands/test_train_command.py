"""charrnn train and what all commands share: one line of complaint, exit codes, clean streams."""

import json
import math
import os
import sys
import tomllib

import pytest
from commands_support import TRAIN, one_line

from charrnn.cli.habits import ALIASES

WRONG_OPTIONS = [
    (["train", "--lr", "inf"], "--lr: 'inf' is not a finite number"),
    (["train", "--lr", "nan"], "--lr: 'nan' is not a finite number"),
    (["train", "--lr", "-1"], "--lr: -1 is below 0"),
    (["train", "--dropout", "1.0"], "--dropout: 1.0 must be below 1"),
    (["train", "--clip", "-5"], "--clip: -5 is below 0"),
    (["train", "--hidden-size", "0"], "--hidden-size: 0 is below 1"),
    (["train", "--batch-size", "x"], "--batch-size: 'x' is not a whole number"),
    (["train", "--seed", "-1"], "--seed: -1 is below 0"),
    (["train", "--seed", str(2**64)], "is above 9223372036854775807"),
    (["train", "--cell", "lstn"], "did you mean lstm?"),
    (["train", "--split", "0.9,0.3"], "add up to 1"),
    (["train", "--budget", "soon"], "is not a duration; write 90s, 5m or 1h30m"),
    (["train", "--epochs", "3", "--steps", "5"], "--epochs and --steps both say how long"),
    (["train", "--no-such"], "no option --no-such of train"),
    (
        ["train", "--hiden-size", "3"],
        "no option --hiden-size of train; did you mean --hidden-size?",
    ),
    (
        ["train", "--config", "nowhere.toml"],
        "presets: char-rnn, latex, linux, names, shakespeare, tiny",
    ),
    (["train", "--config", "names", "--config", "tiny"], "--config given 2 times"),
    (["train", "--set", "training.lrr=1"], "did you mean lr?"),
    (["train", "--set", "lr"], "write it as setting=value"),
    (["train", "--encoding", "klingon"], "not a text encoding"),
    (["train", "--encoding", "rot13"], "not a text encoding"),
    (["train", "--cell", "gru-before", "--backend", "torch"], "use --backend own"),
    (["train", "--resume", "--overwrite"], "give one"),
    (["eval", "--file", "x", "--text", "y"], "--file and --text both say what to score"),
    (["eval", "--protocol", "windows"], "choose stateful or windowed"),
    (["eval", "--protocol", "windowed", "--window", "0"], "--window 0"),
    (["eval", "--split", "dev"], "choose train, val or test"),
    (["nonsense"], "nonsense"),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG_OPTIONS)
def test_a_wrong_option_is_one_line_and_2(charrnn, arguments, says):
    assert says in one_line(charrnn(*arguments), 2)


@pytest.mark.parametrize("name", ["cuda:7", "gpu", "tpu"])
def test_a_device_that_is_not_there_is_named_with_those_that_are(charrnn, tmp_path, name):
    line = one_line(charrnn("train", "names", "--device", name), 2)
    assert f"--device {name!r} is not here; this machine has cpu" in line
    assert not (tmp_path / "runs").exists()


def test_a_network_that_cannot_fit_is_refused_before_it_is_made(charrnn, tmp_path):
    line = one_line(
        charrnn("train", "names", "--hidden-size", 65536, "--num-layers", 64, "--quiet"), 2
    )
    assert "GB are free; try --hidden-size" in line
    assert not (tmp_path / "runs" / "names").exists()


def test_tf32_without_a_gpu_is_refused(charrnn):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    done = charrnn("train", "names", "--precision", "tf32")
    assert "needs a CUDA device" in one_line(done, 2)


WRONG_TEXTS = {
    "empty": (b"", "is empty"),
    "bom": (b"\xef\xbb\xbf", "is empty"),
    "one": (b"a", "too few"),
    "latin": ("na\u00efve caf\u00e9 ".encode("latin-1") * 30, "byte 0xef at offset 2, line 1"),
    "utf16": ("text in two bytes".encode("utf-16"), "--encoding utf-16"),
    "surrogate": (b"text \xed\xa0\x80 text", "byte 0xed at offset 5"),
}


@pytest.mark.parametrize("name", WRONG_TEXTS)
def test_a_wrong_text_is_one_line_and_3(charrnn, tmp_path, name):
    data, says = WRONG_TEXTS[name]
    (tmp_path / "text.txt").write_bytes(data)
    assert says in one_line(charrnn("train", "text.txt"), 3)
    assert not (tmp_path / "runs" / "text").exists()


def test_a_missing_file_names_close_ones_and_what_is_shipped(charrnn, tmp_path):
    (tmp_path / "shakespeare.txt").write_text("x")
    line = one_line(charrnn("train", "shakespear.txt"), 3)
    assert (
        "near it: shakespeare.txt; corpora that come with charrnn: names, shakespeare, surnames"
        in line
    )


def test_train_writes_a_run_and_ends_with_one_json_object(charrnn, tmp_path, few):
    done = charrnn("train", few, *TRAIN, "--json")
    assert done.returncode == 0
    result = json.loads(done.stdout)
    assert result["schema"] == 1
    assert {
        "run",
        "step",
        "epochs",
        "parameters",
        "chars_seen",
        "elapsed_s",
        "train_chars_per_s",
        "val_nats_per_char",
        "val_bits_per_char",
        "best_val_nats_per_char",
        "weights_sha256",
        "device",
    } <= set(result)
    assert result["run"] == "runs/few"
    assert result["step"] == 12
    assert result["val_bits_per_char"] == pytest.approx(result["val_nats_per_char"] / math.log(2))
    assert {path.name for path in (tmp_path / "runs/few").iterdir()} >= {
        "model.safetensors",
        "metrics.jsonl",
        "samples.txt",
        "run.json",
    }


def test_a_second_training_of_a_corpus_gets_a_directory_of_its_own(charrnn, tmp_path, few):
    for expected in ("runs/few", "runs/few-2", "runs/few-3"):
        assert json.loads(charrnn("train", few, *TRAIN, "--json").stdout)["run"] == expected


def test_without_a_terminal_there_are_no_escapes_and_no_carriage_returns(charrnn, few):
    done = charrnn("train", few, *TRAIN)
    assert done.stdout == ""
    assert "\x1b" not in done.stderr and "\r" not in done.stderr
    assert "val" in done.stderr and "now: charrnn sample runs/few" in done.stderr


def test_resuming_a_finished_run_still_ends_with_its_json_object(charrnn, few):
    first = json.loads(charrnn("train", few, *TRAIN, "--json").stdout)
    again = json.loads(charrnn("train", "--resume", "--json").stdout)
    assert again["reason"] == "already done"
    assert again["weights_sha256"] == first["weights_sha256"]


def test_names_that_are_not_utf8_are_no_obstacle(tmp_path, few):
    import subprocess

    os.rename(tmp_path / few, os.path.join(os.fsencode(tmp_path), b"q\xff.txt"))
    command = [
        sys.executable,
        "-m",
        "charrnn",
        "train",
        b"q\xff.txt",
        "--run",
        b"r\xff",
        "--steps",
        "2",
        "--json",
        "--threads",
        "1",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 2


def test_a_closed_standard_output_is_5(tmp_path, run):
    import subprocess

    done = subprocess.run(
        f"{sys.executable} -m charrnn sample runs/few >&-",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr


def test_quiet_still_tells_what_matters(charrnn, tmp_path):
    (tmp_path / "crlf.txt").write_bytes(b"".join(b"line %d\r\n" % n for n in range(60)))
    options = ("--steps", 1, "--hidden-size", 4, "--newlines", "keep", "--quiet")
    assert "carriage returns" in charrnn("train", "crlf.txt", *options).stderr


def test_repeated_lines_are_refused_for_what_they_are(charrnn, tmp_path):
    (tmp_path / "same.txt").write_text("Hello there\n" * 300)
    assert "the text has 1 distinct lines (--no-deduplicate keeps repeats)" in one_line(
        charrnn("train", "same.txt", "-q"), 3
    )


def test_stdin_trains_and_resumes_without_the_text(charrnn, few, tmp_path):
    text = (tmp_path / few).read_text()
    assert charrnn("train", "-", *TRAIN, stdin=text).returncode == 0
    done = charrnn("train", "--resume", "--steps", 20, "--json")
    assert json.loads(done.stdout)["step"] == 20


def test_python_m_and_aliases_and_environment_reach_the_settings(charrnn):
    done = charrnn(
        "train",
        "--rnn-size",
        77,
        "--seq-len",
        33,
        "--grad-clip",
        2,
        "--print-config",
        env={"CHARRNN_LR": "0.25"},
    )
    assert "hidden_size = 77  # --hidden-size" in done.stdout
    assert "seq_length = 33" in done.stdout and "clip = 2.0" in done.stdout
    assert "lr = 0.25  # environment" in done.stdout


def test_print_config_is_toml_of_the_same_settings_without_raw_escapes(charrnn):
    glob = 'a\x9b31m\u202e"\\\t\x7f\U0001f600é'
    done = charrnn("train", "--glob", glob, "--print-config")
    assert r"a\u009b31m\u202e" in done.stdout and "\x9b" not in done.stdout
    assert tomllib.loads(done.stdout)["text"]["glob"] == glob


def test_aliases_never_shadow_a_real_option():
    from charrnn.config import FIELDS

    assert not {name.replace("-", "_") for name in ALIASES} & set(FIELDS)


def test_a_misspelt_environment_variable_is_an_error(charrnn):
    assert "did you mean dropout?" in one_line(charrnn("train", env={"CHARRNN_DROPOUTS": "0.1"}), 2)
