"""Faults of torch (docs/processes.md): each test fails when one is gone."""

import os

import pytest
from launch_support import Launched
from torch.distributed.run import config_from_args, parse_args

STORE = """
import os, sys
from torch.distributed.rendezvous import rendezvous
store, _, _ = next(iter(rendezvous("env://")))
life = os.environ["TORCHELASTIC_RESTART_COUNT"]
if life == "1":
    print("stale" if store.check(["of a dead process"]) else "clean")
    sys.exit(0)
store.set("of a dead process", "1")
sys.exit(1)
"""


def test_torchrun_takes_an_option_of_the_program_for_its_own(capsys):
    with pytest.raises(SystemExit):
        parse_args(["--standalone", "-m", "charrnn", "train", "--run", "r"])
    assert "ambiguous option: --run" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["-m", "charrnn", "train", "--run-dir", "r"]])
def test_and_not_its_other_name(words):
    arguments = parse_args(["--standalone", *words])
    assert [arguments.training_script, *arguments.training_script_args] == words[1:]


def test_torchrun_gives_each_process_one_thread(monkeypatch):
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "gone")  # put back afterwards
    del os.environ["OMP_NUM_THREADS"]
    config_from_args(parse_args(["--standalone", "--nproc-per-node", "2", "x.py"]))
    assert os.environ["OMP_NUM_THREADS"] == "1"


@pytest.mark.slow
def test_a_restart_finds_the_keys_of_dead_processes(tmp_path):
    (tmp_path / "store.py").write_text(STORE)
    with Launched(tmp_path, processes=1, restarts=1, program=("store.py",)) as launch:
        code, out = launch.end()
    assert code == 0, launch.stderr
    assert out == "stale\n"
