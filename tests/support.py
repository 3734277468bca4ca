"""What many tests import: a compiler, who watches a training, forty names."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field

import pytest

from charrnn.kernel.library import library


def find_compiler():
    """A C compiler that works, as pip looks for one: $CC, if that is set (CC=/bin/false hides it),
    else the usual names.
    """
    names = (os.environ["CC"],) if os.environ.get("CC") else ("cc", "gcc", "clang")
    found = filter(None, map(shutil.which, names))
    return next(
        (
            path
            for path in found
            if not subprocess.run([path, "--version"], capture_output=True).returncode
        ),
        None,
    )


COMPILER = find_compiler()
# With a compiler an absent library is a fault, unless it was switched off: then these tests fail.
IS_SWITCHED_OFF = os.environ.get("CHARRNN_KERNEL") == "off"
needs_kernel = pytest.mark.skipif(
    library() is None and (COMPILER is None or IS_SWITCHED_OFF),
    reason="no C compiler here and no compiled kernel, or it is switched off",
)


class Killed(BaseException):
    """Stands for SIGKILL inside one process: nothing is saved after it.

    (Files are closed; a real kill is tested too.)
    """


@dataclass
class Watcher:
    """A training.listener.Progress that remembers, and that can kill the training after a step."""

    kill_at: int | None = None
    said: list[str] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)

    def say(self, text):
        self.said.append(text)

    def started(self, path, settings, step):
        pass

    def step(self, update):
        if update.step == self.kill_at:
            raise Killed

    def evaluated(self, step, total, recent, val, best):
        self.evaluations.append((step, val.nats_per_char))

    def sampled(self, step, text):
        self.samples.append(text)

    def saved(self, step, path):
        pass

    def ended(self, path, reason, place):
        pass

    def close(self):
        pass

    def stop_reason(self):
        return ""


FEW = """
Ada Alan Alma Ann Anna Bea Ben Bob Cara Carl Clara Dana Dora Edda Edna Elena Ella Emma Eva Finn
Flora Gina Hanna Hugo Ida Ina Iris Jana Kara Lara Lena Lina Mara Mia Nina Nora Olga Otto Paula
Rosa Sara Tina Vera Zora
""".split()
