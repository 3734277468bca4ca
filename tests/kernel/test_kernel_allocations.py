"""Each allocation of the kernel fails once: one line of error, and no leak.

allocations/failing.h makes the n-th one fail, n = 1, 2 ... until none fails any more. Threads that
cannot begin are counted too: a call then goes on with fewer.
"""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_support import KERNEL, build, child, compiled_sampler, random_model
from sanitizers import changed
from support import FEW, needs_kernel

from charrnn.sampling import packed

pytestmark = needs_kernel

HERE = Path(__file__).parent / "allocations"
FAILING = ("-D_POSIX_C_SOURCE=200112L", f"-I{HERE}", "-include", "failing.h", "-pthread")
ADDRESSES = ("-g", "-O0", "-fsanitize=address", "-fno-sanitize-recover=all")
# What allocates, or begins a thread.
SITE = re.compile(r"\b(\w*alloc|posix_memalign|mmap|strdup|pthread_create)\(")
DRIVERS = {"sampler": "sampling.c", "layer": "training.c"}
OUT_OF_MEMORY = "charrnn: out of memory: "


def sites():
    """The places of the kernel that allocate: file and line."""
    places = set()
    for path in sorted(KERNEL.glob("*.[ch]")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = line.split("/*")[0]
            if SITE.search(code):
                places.add(f"{path.name}:{number}")
    return places


def copied(folder, *, every_level=False, change=str, of="sampling.c"):
    """A copy of the kernel; with the lowest level alone, which compiles in a second."""
    shutil.copytree(KERNEL, folder / "kernel", ignore=shutil.ignore_patterns("*.so"))
    edits = [(of, change)]
    if not every_level:
        only_lowest = changed(r"#if defined\(__x86_64__\)", "#if 0")
        edits += [(name, only_lowest) for name in DRIVERS.values()]
        edits.append(("library.c", changed(r"__builtin_cpu_init\(\);", "return 0;")))
    for name, edit in edits:
        path = folder / "kernel" / name
        path.write_text(edit(path.read_text()))
    return folder / "kernel"


def driven(folder, driver, *flags, **kernel):
    """Run a program that lets each allocation of a file fail, with gcc's AddressSanitizer."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc here")
    source = copied(folder, **kernel)
    program = folder / driver
    files = [source / DRIVERS[driver], HERE / "failing.c", HERE / f"{driver}.c"]
    # failing.c and the driver call the real malloc
    objects = []
    for file in files:
        before = FAILING if file.parent == source else (f"-I{HERE}", "-pthread")
        target = folder / f"{file.stem}.o"
        command = ["gcc", *flags, *before, f"-I{source}", "-c", file, "-o", target]
        subprocess.run(list(map(str, command)), check=True, timeout=600)
        objects.append(target)
    command = ["gcc", *flags, "-pthread", *objects, "-lm", "-o", program]
    linked = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if linked.returncode:
        pytest.skip("gcc has no AddressSanitizer here")
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:exitcode=99"}
    return subprocess.run([program], capture_output=True, text=True, timeout=600, env=environment)


def failed_sites(done):
    """The places that failed, as a driver prints them: PATH:LINE CALL."""
    return {Path(line.split()[0]).name for line in done.stdout.splitlines()}


def assert_all_fail_cleanly(folder, *flags, **kernel):
    failures = set()
    for driver in DRIVERS:
        (folder / driver).mkdir()
        done = driven(folder / driver, driver, *flags, **kernel)
        assert done.returncode == 0, done.stdout + done.stderr[-4000:]
        assert not done.stderr
        failures |= failed_sites(done)
    assert failures == sites()


def test_every_allocation_fails_once_without_a_leak(tmp_path):
    assert_all_fail_cleanly(tmp_path, *ADDRESSES)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_allocation_fails_once_at_every_level_without_undefined_behaviour(tmp_path):
    flags = (*ADDRESSES, "-fsanitize=undefined")
    assert_all_fail_cleanly(tmp_path, *flags, every_level=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "pattern", [r"\n    free\(h_next\);", r"\n    if \(work\) end_work\(work\);"]
)
def test_the_sanitizer_sees_a_leak_after_a_failure(pattern, tmp_path):
    # forgotten where memory is missing, and only there
    code = changed(pattern, r"\n    if (!work || !h_next) return NO_MEMORY;\g<0>")
    only_step_and_read = changed(r"(?s)^.*(?=/\* ---- writing)", lambda m: code(m[0]))
    done = driven(tmp_path, "sampler", *ADDRESSES, change=only_step_and_read)
    assert done.returncode == 99, done.stdout + done.stderr[-2000:]
    assert "LeakSanitizer" in done.stderr


# What a person sees


@pytest.fixture(scope="module")
def failing_library(tmp_path_factory):
    """The kernel of the lowest level, whose FAILING_ALLOCATION-th allocation fails."""
    folder = tmp_path_factory.mktemp("failing")
    source = copied(folder)
    plain = build([HERE / "failing.c"], folder / "failing.so", f"-I{HERE}", "-pthread")
    assert plain.returncode == 0, plain.stderr
    done = build(
        [*sorted(source.glob("*.c")), folder / "failing.so", f"-Wl,-rpath,{folder}"],
        folder / "kernel.so",
        "-std=c99",
        "-O0",
        *FAILING,
    )
    assert done.returncode == 0, done.stderr
    return folder / "kernel.so"


def assert_one_line_whatever_fails(library, command, folder):
    """Run a command with an allocation that fails, later and later, until it succeeds."""
    failures = 0
    number = 1
    while True:
        done = subprocess.run(
            [sys.executable, "-m", "charrnn", *command],
            env=child(CHARRNN_KERNEL=library, FAILING_ALLOCATION=number),
            capture_output=True,
            text=True,
            timeout=200,
            cwd=folder,
        )
        if done.returncode == 0:
            return failures
        failures += 1
        lines = [line for line in done.stderr.splitlines() if line.startswith("charrnn: ")]
        assert done.returncode == 2, (number, done.stderr)
        assert "Traceback" not in done.stderr
        assert len(lines) == 1 and lines[0].startswith(OUT_OF_MEMORY), done.stderr
        number += 1 + number // 8


def test_sample_says_one_line_whatever_allocation_fails(failing_library, trained, tmp_path):
    command = ["sample", str(trained), "-n", "2", "--length", "3", "--seed", "1"]
    # two of the prompt's reading, two of the writing
    assert assert_one_line_whatever_fails(failing_library, command, tmp_path) == 4


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eval_says_one_line_whatever_allocation_fails(failing_library, trained, tmp_path):
    command = ["eval", str(trained), "--text", "anna", "--no-baselines"]
    assert assert_one_line_whatever_fails(failing_library, command, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_train_says_one_line_whatever_allocation_fails(failing_library, tmp_path, cell):
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    sizes = ["--hidden-size", "8", "--embedding-size", "4", "--num-layers", "1", "--steps", "2"]
    command = ["train", "few.txt", "--cell", cell, *sizes, "--batch-size", "8", "--overwrite"]
    command += ["--run", "runs/few", "--threads", "1", "--quiet"]
    # forward, backward, the head and its products
    assert assert_one_line_whatever_fails(failing_library, command, tmp_path) >= 8


def test_a_sampler_without_memory_for_its_weights_says_so(monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(packed.mmap, "mmap", refuse)
    with pytest.raises(MemoryError):
        compiled_sampler(random_model())
