"""What many tests share: a quiet environment, and small trainings in this process."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import forked
import pytest
from hypothesis import settings
from support import FEW, Watcher

pytest.register_assert_rewrite("faults")


settings.register_profile("no clock", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("no clock")

# A shell that starts the tests in the background has SIGINT ignored, and every process they start
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

for name in ("NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "CHARRNN_DEBUG"):
    os.environ.pop(name, None)


@pytest.fixture
def watcher():
    return Watcher


# The fault matrix has rows F1 to F15. One may stand in several lines: then each says more.
ROWS = [f"F{number}" for number in range(1, 16)]
FAULTS: dict[str, list[int]] = {}  # row of the matrix: tried, survived


@pytest.fixture
def tally():
    """`with tally(row):` counts a fault tried, and survived if nothing is raised inside.

    Where a test is one fault, `@pytest.mark.fault(row)` does the same.
    """
    return count_faults


@contextlib.contextmanager
def count_faults(row, faults=1):
    counts = FAULTS.setdefault(row, [0, 0])
    counts[0] += faults
    yield
    counts[1] += faults


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    marker = item.get_closest_marker("fault")
    if marker is not None and (report.when == "call" or report.failed) and not report.skipped:
        with contextlib.suppress(AssertionError), count_faults(*marker.args):
            assert report.passed
    return report


def pytest_sessionfinish(session):
    if hasattr(
        session.config, "workeroutput"
    ):  # of pytest-xdist: what goes back to the process that prints
        session.config.workeroutput["faults"] = FAULTS


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    for row, counts in getattr(node, "workeroutput", {}).get("faults", {}).items():
        FAULTS[row] = [
            mine + more for mine, more in zip(FAULTS.get(row, (0, 0)), counts, strict=True)
        ]


def pytest_terminal_summary(terminalreporter):
    if not FAULTS:
        return
    terminalreporter.section("faults")
    for row, (tried, survived) in sorted(
        FAULTS.items(), key=lambda item: (int(item[0].split()[0][1:]), item[0])
    ):
        terminalreporter.write_line(
            f"{row:<52} tried {tried:>7,}  survived {survived:>7,}  lost {tried - survived:>5,}"
        )
    untried = [row for row in ROWS if row not in {each.split()[0] for each in FAULTS}]
    if untried:
        terminalreporter.write_line(f"not tried here: {', '.join(untried)}")


@pytest.fixture(scope="module")
def no_waiting_for_the_disk():
    """Model what a disk has and loses; that it really syncs is tested in test_storage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def charrnn(tmp_path):
    """Run the command in an empty directory: charrnn("train", "names") -> CompletedProcess."""

    def run(*arguments, stdin=None, text=True, env=None, timeout=240, cwd=tmp_path):
        words = [*map(str, arguments)]
        if env is None:
            data = stdin.encode() if isinstance(stdin, str) else stdin
            done = forked.run(words, stdin=data, cwd=cwd, timeout=timeout)
            if text:
                done.stdout, done.stderr = (part.decode() for part in (done.stdout, done.stderr))
            return done
        return subprocess.run(
            [sys.executable, "-m", "charrnn", *words],
            input=stdin,
            capture_output=True,
            text=text,
            cwd=cwd,
            timeout=timeout,
            env={**os.environ, **env},
        )

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """A run directory trained for a moment on forty names."""
    from charrnn.training.session import Request, train

    folder = tmp_path_factory.mktemp("trained")
    (folder / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    settings = {
        "cell": "lstm",
        "hidden_size": 8,
        "embedding_size": 4,
        "num_layers": 1,
        "steps": 30,
        "batch_size": 8,
        "lr": 0.02,
        "threads": 1,
    }
    run, _ = train(
        Request(str(folder / "few.txt"), (("--", settings),), run=folder / "runs" / "few"),
        Watcher(),
    )
    return run
