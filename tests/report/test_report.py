"""charrnn report without a browser: what is read of a run, and what goes into the page."""

import base64
import hashlib
import json
import re
import shutil

import numpy as np
import pytest
from page_support import needs_chromium
from support import FEW

from charrnn.cli.report import report
from charrnn.errors import CheckpointError, SettingsError, StorageError
from charrnn.export.shell import legible
from charrnn.modelfile import checkpoint_files, read_model
from charrnn.report import curves
from charrnn.report.page import page
from charrnn.report.record import Metrics, read_metrics, read_samples, thinned
from charrnn.report.viewer import _array, _arrays
from charrnn.training.session import Request, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def metrics(tmp_path):
    """metrics(lines) -> what is read of a file with these bytes."""

    def read(data):
        (tmp_path / "metrics.jsonl").write_bytes(data)
        return read_metrics(tmp_path / "metrics.jsonl")

    return read


def contents_of(data):
    element = re.search(
        rb'<script type="application/json" id="contents">(.*?)</script>', data, re.DOTALL
    )
    return json.loads(element[1])


# What is read of a run


def test_a_line_that_a_kill_cut_off_is_left_out_and_is_no_fault(metrics):
    record = metrics(b'{"step":1,"lr":0.5}\n{"step":2,"lr":0.25}\n{"step":3,"lr":0.')
    assert record.steps["lr"].tolist() == [0.5, 0.25] and record.unreadable == 0


def test_lines_that_are_not_ours_are_counted(metrics):
    strange = [
        b"[1]",
        b"\xff\xfe",
        b'{"step":true}',
        b'{"step":"5"}',
        b'{"step":1e300}',
        b"[" * 9999,
        b'{"event":"eval"}',
    ]
    record = metrics(b"\n".join([b'{"step":1,"lr":null}', *strange, b'{"step":2,"lr":1e999}', b""]))
    assert record.unreadable == len(strange) and np.isnan(record.steps["lr"]).all()
    assert record.steps["step"].tolist() == [1, 2]


def test_a_run_without_a_record_says_so(tmp_path):
    record = read_metrics(tmp_path / "metrics.jsonl")
    assert "metrics.jsonl" in record.missing and curves.charts(record, 1.0, 5) == []


def test_samples_are_parted_at_their_headings_and_nowhere_else(tmp_path):
    text = (
        "--- step 4, 2.500 bits per character ---\na\n--- step 5 ---\n\n"
        "--- step 8, -0.125 bits per character ---\n\nb\n"
    )
    (tmp_path / "s").write_text(text)
    first, second = read_samples(tmp_path / "s")
    assert first[:3] == (4, 2.5, "a\n--- step 5 ---\n") and second[:3] == (8, -0.125, "\nb")
    assert read_samples(tmp_path / "none") == []


# Charts


def steps(**columns):
    count = len(columns["step"])
    names = ("step", "chars", "train_nats_per_char", "grad_norm", "lr", "elapsed_s")
    return Metrics(
        {name: np.array(columns.get(name, [np.nan] * count), np.float64) for name in names}
    )


def test_points_that_stand_for_several_steps_weigh_them_by_characters():
    record = steps(
        step=[1, 2, 3],
        chars=[1, 3, 5],
        train_nats_per_char=np.log(2) * np.array([4.0, 2.0, np.nan]),
    )
    (loss,) = curves.charts(record, 0.0, 16)
    training = loss["series"][0]
    assert training["y"] == [4.0, 2.0] and training["x"] == [1, 2]
    record = steps(
        step=range(480),
        chars=[1, 3] * 240,
        train_nats_per_char=np.log(2) * np.array([4.0, 2.0] * 240),
    )
    training = curves.charts(record, 0.0, 16)[0]["series"][0]
    assert training["y"] == [2.5] * 240 and training["x"][:2] == [1, 3]


@pytest.mark.parametrize("count", [1, 239, 240, 241, 1000])
def test_thinning_leaves_no_step_out_and_takes_none_twice(count):
    parts = thinned(steps(step=range(count)), 240)
    places = [place for part in parts for place in range(count)[part]]
    assert (
        places == list(range(count))
        and len(parts) == min(count, 240)
        and all(range(count)[part] for part in parts)
    )


def test_the_share_of_clipped_updates_is_that_of_norms_above_the_limit():
    record = steps(step=range(4), grad_norm=[0.5, 1.0, 1.5, 2.0])
    norm, clipped = curves.charts(record, 1.0, 16)
    assert clipped["series"][0]["y"] == [0, 0, 100, 100] and clipped["said"].startswith(
        "2 of 4 updates"
    )
    assert norm["rules"][0]["y"] == 1.0
    assert [chart["id"] for chart in curves.charts(record, 2.0, 16)] == [
        "norm"
    ]  # nothing was clipped


# The viewer


def test_activations_are_kept_to_half_a_level_of_their_own_range():
    values = np.random.default_rng(1).normal(0, [0.001, 1.0, 50.0], (7, 3)).astype(np.float32)
    units = _array("layer0.cell", values, 3, [], 1)
    levels = np.frombuffer(base64.b64decode(units["data"]), np.int8).reshape(3, 7)
    scales = np.array(units["scales"])
    assert (np.abs(levels.T / 127 * scales - values) <= scales * (0.5 / 127 + 1e-3)).all()


def test_a_gate_is_kept_between_closed_and_open():
    units = _array("layer0.forget", np.array([[0.0], [0.5], [1.0]], np.float32), 1, [], 1)
    assert np.frombuffer(base64.b64decode(units["data"]), np.int8).tolist() == [-127, 0, 127]
    assert units["scales"] == [0.5]


def test_a_large_network_keeps_its_found_cells_and_its_states_and_stays_small():
    random = np.random.default_rng(1)
    names = [
        f"layer{k}.{name}"
        for k in range(2)
        for name in ("hidden", "cell", "input", "forget", "output", "candidate")
    ]
    activations = {name: random.random((1600, 512), np.float32) for name in names}
    tracking = [{"array": "layer1.output", "unit": unit} for unit in (511, 0, 77)]
    arrays = _arrays(activations, tracking)
    assert sum(len(array["data"]) for array in arrays) < 2.1e6
    by_name = {array["name"]: array for array in arrays}
    assert {0, 77, 511} <= set(by_name["layer1.output"]["units"])
    assert len(by_name["layer0.cell"]["units"]) > 400
    assert all(array["units"] == sorted(set(array["units"])) for array in arrays)


# The page


def test_nothing_in_the_contents_can_end_the_element_they_stand_in():
    hostile = "</script><!--<script>&\u2028\u2029\ud800\x00\u202e\U0001f600"
    data = page({hostile: [hostile]})
    inside = re.search(rb'id="contents">(.*?)</script>', data, re.DOTALL)[1]
    assert not set(inside.decode()) & set("<>&\u2028\u2029")
    shown = "</script><!--<script>&\\u2028\\u2029\\ud800\\x00\\u202e\U0001f600"
    assert contents_of(data) == {shown: [shown]}


def test_the_policy_admits_this_script_and_this_style_alone():
    text = page({}).decode()
    policy = re.search('http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1]
    for kind, name in (("script", "script"), ("style", "style")):
        (inside,) = re.findall(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert text.index("Content-Security-Policy") < text.index("<style>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("\r\x7f\x85", "\\r\\x7f\\x85"),
        ("\u200b\ufeff\u00ad", "\\u200b\\ufeff\\xad"),
        ("\ue000\U000e0041", "\\ue000\\U000e0041"),
        ("é e\u0301 א 中 😀", "é e\u0301 א 中 😀"),
    ],
)
def test_what_cannot_be_seen_is_written_as_an_escape(text, expected):
    assert legible(text) == expected


# The command


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the small run of lines."""
    return shutil.copytree(trained, tmp_path / "few")


def test_it_writes_one_small_page_into_the_run_the_same_each_time(run, capsys):
    report(run)
    first = (run / "report.html").read_bytes()
    report(run, json=True)
    assert (run / "report.html").read_bytes() == first and len(first) < 3_000_000
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (printed["schema"], printed["bytes"]) == (1, len(first))
    contents = contents_of(first)
    assert {chart["id"] for chart in contents["charts"]} >= {"loss", "rate", "norm"}
    bits = {row["name"]: row["bits"] for row in printed["results"]}
    assert bits["every character as likely"][0] == pytest.approx(
        np.log2(len(read_model(run).vocabulary)), abs=1e-4
    )
    assert (
        contents["cells"]["ids"]
        and contents["novelty"]["verdict"]
        and contents["results"]["splits"][0] == "test text"
    )


def test_an_unfinished_run_has_a_page_that_says_so(run, tmp_path):
    checkpoint = checkpoint_files(run / "checkpoints")[-1]
    (run / "model.safetensors").unlink()
    (run / "samples.txt").unlink(missing_ok=True)
    (run / "run.json").write_text("{")
    lines = (run / "metrics.jsonl").read_bytes()
    (run / "metrics.jsonl").write_bytes(lines[: len(lines) // 2])
    report(run, out=tmp_path / "x.html")
    contents = contents_of((tmp_path / "x.html").read_bytes())
    assert checkpoint.name in contents["files"][0][1] and contents["samples"]["shown"] == []
    assert contents["settings"]["command"] == "" and not (run / "report.html").exists()


def test_a_damaged_checkpoint_costs_the_status_alone(run):
    for path in checkpoint_files(run / "checkpoints"):
        path.write_bytes(path.read_bytes()[:-9])
    report(run)
    assert contents_of((run / "report.html").read_bytes())["status"] == ""


def test_the_status_is_the_verdict_that_training_ended_with(tmp_path, watcher):
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    settings = {
        "hidden_size": 9,
        "num_layers": 1,
        "steps": 30,
        "batch_size": 8,
        "lr": 0.01,
        "threads": 1,
        "dropout": 0.0,
    }
    run, outcome = train(
        Request(str(tmp_path / "few.txt"), (("--", settings),), run=tmp_path / "r"), watcher()
    )
    assert "too little text to judge by" in outcome.verdict
    report(run)
    assert (
        contents_of((run / "report.html").read_bytes())["status"]
        == f"Finished after 30 steps: {outcome.verdict}."
    )


def test_wrong_input_is_refused_in_one_line_before_any_work(run, tmp_path):
    alone = tmp_path / "alone.safetensors"
    shutil.copy(run / "model.safetensors", alone)
    for options, kind, words in (
        ({"run": alone}, CheckpointError, "lies in no run directory"),
        ({"run": tmp_path / "none"}, CheckpointError, "no run or checkpoint"),
        ({"run": run, "out": tmp_path}, SettingsError, "not a regular file"),
        ({"run": tmp_path / "none", "out": tmp_path / "a" / "b"}, StorageError, "no directory"),
    ):
        with pytest.raises(kind, match=words) as caught:
            report(**options)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("**/*.html"))


def test_training_anew_in_a_run_takes_the_page_of_the_old_one_away(run, tmp_path, watcher):
    (run / "report.html").write_text("old")
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    settings = {
        "hidden_size": 3,
        "embedding_size": 2,
        "num_layers": 1,
        "steps": 1,
        "batch_size": 8,
        "threads": 1,
    }
    train(
        Request(str(tmp_path / "few.txt"), (("--", settings),), run=run, overwrite=True), watcher()
    )
    assert not (run / "report.html").exists()


@pytest.mark.medium
@needs_chromium
def test_a_report_on_paper_has_three_pages(charrnn, tmp_path):
    """Of a list with counting beside the network: four before its parts were set for paper."""
    said = charrnn("report", "names", "--out", "names.html", "--pdf", "names.pdf", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "names.pdf").read_bytes())) == 3


def test_a_pdf_without_a_browser_is_one_line_that_says_how(charrnn, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    said = charrnn("report", trained, "--pdf", "x.pdf", env={"PATH": str(tmp_path / "empty")})
    assert (said.returncode, said.stdout) == (2, "")
    [line] = said.stderr.splitlines()
    assert line == (
        "charrnn: --pdf needs Chromium or Chrome, and none is found; open the page in a browser "
        "and print it to a file"
    )
    assert not (tmp_path / "x.pdf").exists()
    assert not list(tmp_path.glob("*.html"))
