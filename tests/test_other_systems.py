"""A system without what only Unix or glibc have: the package trains, resumes and samples there."""

import os
import subprocess
import sys

import pytest
from support import FEW

TAKEN_AWAY = """
import ctypes, os, signal, sys

for name in ("fcntl", "termios", "tty", "resource"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGCONT", "SIGBUS"):
    delattr(signal, name)
for name in ("sched_getaffinity", "posix_fadvise", "O_NONBLOCK", "O_NOFOLLOW"):
    delattr(os, name)
load = ctypes.CDLL

def without_mallopt(name, *arguments, **options):
    if name is None:
        raise OSError("no mallopt")
    return load(name, *arguments, **options)

ctypes.CDLL = without_mallopt
"""
USE = """
import charrnn

small = {"steps": 4, "hidden_size": 5, "seed": 3, "threads": 1}
run = charrnn.train("few.txt", run="mine", **small)
assert run.resume(steps=6).step <= 6
print(*run.samples(3, seed=1))
"""
COMMAND = """
from charrnn.cli.main import main

sys.argv = ["charrnn", "train", "few.txt", "--steps", "4", "--hidden-size", "5", "--threads", "1"]
main()
"""


def run(code, folder):
    (folder / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    command = [sys.executable, "-c", TAKEN_AWAY + code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ)


@pytest.mark.medium
def test_the_package_imports_trains_resumes_and_samples(tmp_path):
    done = run(USE, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) >= 3


@pytest.mark.medium
def test_the_command_trains(tmp_path):
    done = run(COMMAND, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/few/model.safetensors").exists()
