"""The command `charrnn` in a process of its own, forked from one that has loaded PyTorch.

Loading takes most of the time of a short command. A test that gives an environment of its own gets
a process that loads everything anew.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import charrnn

PACKAGE = Path(charrnn.__file__).parent
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch", "charrnn.cli.main", "charrnn.training.session"])


def run(arguments, *, stdin, cwd, timeout):
    """Return the CompletedProcess of `charrnn ARGUMENTS`, its streams in bytes."""
    command = ["charrnn", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("stdin", "stdout", "stderr")]
        streams[0].write_bytes(stdin or b"")
        what = (arguments, str(cwd), dict(os.environ), [str(place) for place in streams])
        process = _CONTEXT.Process(target=_command, args=what)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, timeout)
        output, errors = (place.read_bytes() for place in streams[1:])
        return subprocess.CompletedProcess(command, process.exitcode, output, errors)


def _command(arguments, cwd, environment, streams):
    """What the forked process does: become `python -m charrnn ARGUMENTS`."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, (place, flags) in enumerate(
        zip(streams, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_APPEND] * 2), strict=True)
    ):
        opened = os.open(place, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = open(0, closefd=False)
    sys.argv = [str(PACKAGE / "__main__.py"), *arguments]
    runpy.run_module("charrnn", run_name="__main__", alter_sys=True)
