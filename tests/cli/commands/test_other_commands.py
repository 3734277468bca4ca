"""charrnn eval, divergence and threads: figures, exit codes, clean streams."""

import json
import math
import os
import shutil
import sys

import pytest
from commands_support import TRAIN, one_line


def test_eval_prints_bits_per_character_beside_counting(charrnn, run):
    result = json.loads(charrnn("eval", run, "--json").stdout)
    assert result["split"] == "test" and result["protocol"] == "lines"
    assert set(result["baselines"]) == {"uniform", "unigram", "ngram"}
    assert result["bits_per_char"] == pytest.approx(result["nats_per_char"] / math.log(2))
    assert result["perplexity"] == pytest.approx(math.exp(result["nats_per_char"]))


def test_compressors_read_a_thousand_characters_and_more(charrnn, run, tmp_path):
    (tmp_path / "long.txt").write_text("Anna\n" * 200)
    result = json.loads(charrnn("eval", run, "--file", "long.txt", "--json").stdout)
    assert set(result["baselines"]) == {"uniform", "unigram", "ngram", "zlib", "bz2", "xz"}


def test_eval_shows_a_table_to_people(charrnn, run):
    shown = charrnn("eval", "--split", "val").stdout
    assert "this run" in shown and "-gram (Kneser-Ney)" in shown and "uniform" in shown


def test_eval_of_the_validation_split_is_what_training_saw(charrnn, run, tmp_path):
    result = json.loads(charrnn("eval", "--split", "val", "--json").stdout)
    rows = [
        json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()
    ]
    # Of so few lines the last weights are kept; no gate is fitted, so both scores are of one gate.
    last = [row for row in rows if row.get("event") == "eval"][-1]
    assert result["experts"]["mean_share"] == pytest.approx(0.05)
    assert result["nats_per_char"] == pytest.approx(last["val_nats_per_char"], rel=1e-6)


def test_eval_of_a_text_counts_its_characters_and_the_newline(charrnn, run):
    assert json.loads(charrnn("eval", "--text", "Anna", "--json").stdout)["chars"] == 5


def test_eval_of_a_file_equals_eval_of_its_text(charrnn, run, tmp_path):
    (tmp_path / "x.txt").write_text("Anna\nOtto\n")
    by_file = json.loads(charrnn("eval", "--file", "x.txt", "--json").stdout)
    by_text = json.loads(charrnn("eval", "--text", "Anna\nOtto", "--json").stdout)
    assert by_file["nats_per_char"] == pytest.approx(by_text["nats_per_char"])
    assert by_file["chars"] == 10


def test_eval_names_unknown_characters_and_skips_them_on_request(charrnn, run):
    line = one_line(charrnn("eval", "--text", "Anna\u00e9!"), 3)
    assert (
        "2 characters, the first at position 4" in line
        and "U+00E9 LATIN SMALL LETTER E WITH ACUTE" in line
    )
    assert (
        json.loads(charrnn("eval", "--text", "Anna\u00e9!", "--unknown", "skip", "--json").stdout)[
            "chars"
        ]
        == 5
    )


def test_eval_of_a_file_names_unknown_characters_with_their_counts(charrnn, run, tmp_path):
    (tmp_path / "x.txt").write_text("Anna\nZo\u00eb\nNo\u00eb\u00e9\n")
    line = one_line(charrnn("eval", "--file", "x.txt"), 3)
    assert "x.txt has 3 characters, the first at position 7, that are not among the" in line
    assert "'\u00eb' U+00EB LATIN SMALL LETTER E WITH DIAERESIS x2" in line
    assert (
        json.loads(charrnn("eval", "--file", "x.txt", "--unknown", "skip", "--json").stdout)[
            "chars"
        ]
        == 11
    )


@pytest.mark.parametrize("command", ["sample", "eval"])
def test_what_is_not_a_checkpoint_is_refused_with_3(charrnn, tmp_path, command):
    (tmp_path / "x.pt").write_bytes(b"PK\x03\x04 not ours")
    assert "is not a charrnn checkpoint" in one_line(charrnn(command, "x.pt"), 3)
    assert "no run under runs/" in one_line(charrnn(command), 3)
    assert "no run or checkpoint nowhere" in one_line(charrnn(command, "nowhere"), 3)


def test_a_pickle_given_as_checkpoint_runs_no_code(charrnn, tmp_path):
    import torch

    class Canary:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "canary"),))

    torch.save({"model": Canary()}, tmp_path / "evil.pt")
    assert "is not a charrnn checkpoint" in one_line(charrnn("sample", "evil.pt"), 3)
    assert not (tmp_path / "canary").exists()


def test_a_model_alone_is_evaluated_on_a_file_and_says_what_it_lacks(charrnn, run, tmp_path):
    shutil.copy(tmp_path / run / "model.safetensors", tmp_path / "shared.safetensors")
    assert "pass --file or --text" in one_line(charrnn("eval", "shared.safetensors"), 3)
    assert charrnn("eval", "shared.safetensors", "--text", "Ida").returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize(
    "arguments",
    [["sample", "runs/few"], ["eval", "runs/few", "--json"], ["train", "--print-config"]],
)
def test_a_full_standard_output_is_5(tmp_path, run, arguments):
    import subprocess

    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "charrnn", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr


def test_an_unwritable_place_is_5(charrnn, few, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file/run" in one_line(charrnn("train", few, "--run", "file/run", "--quiet"), 5)


@pytest.mark.parametrize("lr", ["1e30", "1e300"])
def test_divergence_at_the_first_step_is_4_too(charrnn, few, lr):
    done = charrnn("train", few, *TRAIN, "--lr", lr, "--quiet")
    assert done.returncode == 4, done.stderr
    *told, last = done.stderr.splitlines()
    assert "training diverged" in last and "after going back 3 times" in last
    assert [line.startswith("warning: training diverged") for line in told] == [True] * 3


def test_divergence_is_4_and_names_what_is_kept(charrnn, few):
    done = charrnn(
        "train",
        few,
        "--hidden-size",
        8,
        "--steps",
        400,
        "--lr",
        "1e30",
        "--clip",
        0,
        "--quiet",
        "--optimizer",
        "sgd",
        "--cell",
        "rnn",
    )
    assert done.returncode == 4, done.stderr
    assert "training diverged" in done.stderr
    assert "last good checkpoint is runs/few/checkpoints/step-00000000.safetensors" in done.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_waiting_threads_soon_sleep_unless_a_person_says_otherwise(monkeypatch, given, expected):
    from charrnn.cli import main

    monkeypatch.setattr("sys.argv", ["charrnn", "--version"])
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main.main()
    assert os.environ.get("GOMP_SPINCOUNT") == expected
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)


def test_training_without_the_kernel_is_asked_for_by_its_variable(charrnn):
    done = charrnn(
        "train",
        "names",
        "--config",
        "tiny",
        "--steps",
        "2",
        "--verbose",
        env={"CHARRNN_KERNEL": "off"},
    )
    assert done.returncode == 0, done.stderr
    assert "kernel: none" in done.stderr
