"""torchrun as people call it, bounded in time, with no process left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
LIMIT_S = 120  # of a launch; alone on two cores it takes some 8 s


def children_of(pid):
    """The processes that a process has started, with theirs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                child = int(stat.parent.name)
                found += [child, *children_of(child)]
    return found


def rank_of(pid):
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if line.startswith(b"RANK="):
                return int(line.removeprefix(b"RANK="))
    return None


class Launched:
    """A torchrun that is at work. Use as a context manager."""

    def __init__(
        self, folder, *words, processes=2, restarts=0, program=("-m", "charrnn"), env=None
    ):
        command = [*TORCHRUN, "--standalone", "--nproc-per-node", str(processes)]
        command += ["--max-restarts", str(restarts), *program, *map(str, words)]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=open(folder / "stderr", "w"),
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | (env or {}),
            start_new_session=True,
        )
        self._folder = folder

    def __enter__(self):
        return self

    def __exit__(self, *what):
        for pid in [*children_of(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def end(self, limit_s=LIMIT_S):
        """Wait for it. Returns its exit code and standard output."""
        out, _ = self.process.communicate(timeout=limit_s)
        return self.process.returncode, out

    @property
    def stderr(self):
        return (self._folder / "stderr").read_text()

    def rank(self, rank):
        """The process of this rank."""
        return next(pid for pid in children_of(self.process.pid) if rank_of(pid) == rank)

    def wait_for_steps(self, run, steps):
        """Wait until a run has so many steps."""
        for _ in range(LIMIT_S * 50):
            with contextlib.suppress(FileNotFoundError):
                if (run / "metrics.jsonl").read_text().count('"train_nats_per_char"') >= steps:
                    return
            assert self.process.poll() is None, self.stderr
            time.sleep(0.02)
        raise AssertionError(self.stderr)
