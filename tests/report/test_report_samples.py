"""charrnn report reads any samples.txt: a kill, a resume or a stranger may have left it."""

import json
import re
import shutil

import pytest

from charrnn.cli.report import report
from charrnn.report.record import MAX_SAMPLES_BYTES, read_samples
from charrnn.report.writing import SAMPLE_CHARS, samples_of

pytestmark = pytest.mark.usefixtures("one_thread")

HEADING = b"--- step 4, 2.500 bits per character ---\n"
FILES = {
    "empty": b"",
    "no heading": b"Anna\nBob",
    "a heading that was cut": HEADING[:20],
    "a heading that was cut in its figure": b"--- step 4, 2.5",
    "not UTF-8": b"\xff\xfe\x80--- step",
    "zeros": bytes(100),
    "newlines": b"\n" * 100,
    "megabytes without a heading": b"Anna\n" * 1_000_000,
    "megabytes of one line": b"a" * 8_000_000,
    "megabytes of what is nearly a heading": b"--- step 4, " * 500_000,
}
WITH_ONE = {
    "a heading alone": HEADING,
    "a heading without its newline": HEADING[:-1],
    "a cut sample": HEADING + b"Ann",
    "a cut character": HEADING + "Zoë".encode()[:-1],
    "what was left of an earlier one": b"na\nBob\n" + HEADING + b"Anna\n",
    "not UTF-8 inside": HEADING + b"\xff\xfeAnna\n",
    "a cut heading after it": HEADING + b"Anna\n--- step 8, 1.",
    "a sample of megabytes": HEADING + b"a" * 8_000_000,
    "no number": b"--- step 4, nan bits per character ---\nAnna\n",
    "infinite": b"--- step 4, inf bits per character ---\nAnna\n",
}


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    return shutil.copytree(trained, tmp_path_factory.mktemp("samples") / "few")


@pytest.fixture
def kept(run, tmp_path):
    """kept(data) -> what the page says of a samples.txt with these bytes."""

    def read(data):
        (run / "samples.txt").write_bytes(data)
        report(run, out=tmp_path / "x.html")
        page = (tmp_path / "x.html").read_text()
        return json.loads(re.search('id="contents">(.*?)</script>', page, re.DOTALL)[1])["samples"]

    return read


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_a_record_without_a_heading_has_no_samples(kept, data):
    assert kept(data) == {"why": "", "kept": 0, "shown": []}


def test_a_record_too_large_to_read_is_told(run, tmp_path):
    with open(run / "samples.txt", "wb") as file:
        file.write(HEADING + b"Anna\n")
        file.truncate(MAX_SAMPLES_BYTES + 1)  # a hole
    why = "samples.txt is larger than 64 MiB, so no samples are shown."
    assert samples_of(run / "samples.txt", set()) == {"why": why, "kept": 0, "shown": []}


@pytest.mark.parametrize("data", WITH_ONE.values(), ids=WITH_ONE)
def test_a_record_with_one_heading_has_one_sample(kept, data):
    samples = kept(data)
    assert samples["kept"] == 1
    [sample] = samples["shown"]
    assert sample["step"] == 4 and len(sample["text"]) <= SAMPLE_CHARS + 2


@pytest.mark.parametrize("data", [*FILES.values()][:-3])
def test_what_stands_before_a_heading_is_no_part_of_its_sample(tmp_path, data):
    (tmp_path / "samples.txt").write_bytes(data + b"\n" + HEADING + b"Anna\n")
    [sample] = read_samples(tmp_path / "samples.txt")
    assert sample[:3] == (4, 2.5, "Anna")


def test_no_file_of_samples_is_no_fault(run, tmp_path):
    (run / "samples.txt").unlink(missing_ok=True)
    (run / "samples.txt").mkdir()
    report(run, out=tmp_path / "x.html")
    (run / "samples.txt").rmdir()
    (run / "samples.txt").symlink_to("nowhere")
    report(run, out=tmp_path / "x.html")
    (run / "samples.txt").unlink()
