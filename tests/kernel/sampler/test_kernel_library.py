"""The kernel as a library: built, found, switched off."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kernel_support import FLAGS, KERNEL, SOURCES, build, child, random_model
from support import COMPILER, needs_kernel

from charrnn.errors import SettingsError
from charrnn.kernel.library import describe, library
from charrnn.sampling.engine import Sampler

pytestmark = needs_kernel


@pytest.mark.skipif(COMPILER is None, reason="no C compiler here")
def test_where_there_is_a_compiler_there_is_a_kernel():
    assert library() is not None, "install charrnn again: pip install -e ."


@pytest.mark.skipif("CHARRNN_KERNEL" in os.environ, reason="CHARRNN_KERNEL names another library")
def test_the_kernel_is_not_older_than_its_source():
    newest = max(path.stat().st_mtime for path in KERNEL.glob("*.[ch]"))
    assert Path(library()._name).stat().st_mtime >= newest, (
        "install charrnn again: pip install -e ."
    )


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_kernel_is_c99_without_a_warning(compiler, tmp_path):
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler} on the PATH")
    done = build(
        SOURCES,
        tmp_path / "k.so",
        *FLAGS,
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        compiler=compiler,
    )
    assert done.returncode == 0, done.stderr


def test_the_kernel_is_built_without_fast_math():
    """-ffast-math breaks the rounding tricks, and linking with it changes arithmetic in the whole
    process.
    """
    assert "-std=c99" in FLAGS
    assert not {
        "-ffast-math",
        "-Ofast",
        "-funsafe-math-optimizations",
        "-fassociative-math",
        "-march=native",
    } & set(FLAGS)


def engine_with(**changes):
    code = (
        "import test_kernel_library as t, charrnn.kernel.library as l; "
        "print(l.describe(), t.engine_of_a_sampler())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=child(**changes),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def engine_of_a_sampler():
    sampler = Sampler(random_model())
    next(sampler.generate(length=3))
    return sampler.engine


@pytest.mark.parametrize("other", ["missing", "a text", "no functions", "another version", "off"])
def test_without_a_fitting_library_numpy_samples(other, tmp_path):
    path = tmp_path / "library.so"
    source = {
        "no functions": "int nothing;",
        "another version": "int charrnn_version(void) { return 1 << 20; }",
    }
    if other == "a text":
        path.write_text("not a library")
    elif other in source:
        if COMPILER is None:
            pytest.skip("no C compiler here")
        (tmp_path / "other.c").write_text(source[other])
        assert build([tmp_path / "other.c"], path).returncode == 0
    assert engine_with(CHARRNN_KERNEL="off" if other == "off" else path) == "numpy numpy"


def test_the_kernel_samples_where_it_is_there():
    assert engine_with() == f"{describe()} compiled"
    assert describe().startswith("compiled")


def test_asking_for_a_kernel_that_is_not_there_is_a_message(monkeypatch):
    monkeypatch.setattr("charrnn.sampling.choice.library", lambda: None)
    with pytest.raises(SettingsError, match="C compiler"):
        Sampler(random_model(), engine="compiled")


def test_the_version_names_the_engine(charrnn):
    assert describe() in charrnn("--version").stdout
    assert "numpy" in charrnn("--version", env={"CHARRNN_KERNEL": "off"}).stdout.rsplit(",", 1)[1]
