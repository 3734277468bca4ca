"""charrnn export as a person meets it: what is written, what is said, and what is refused."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from loaded import loaded_after

from charrnn.cli.export import export as command
from charrnn.errors import SettingsError, StorageError
from charrnn.modelfile import read_model


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """Everything at once: the folder, and what the program said."""
    folder = tmp_path_factory.mktemp("exported")
    return folder, export(
        folder,
        trained,
        "--html",
        "few.html",
        "--numpy",
        "few.py",
        "--onnx",
        "few.onnx",
        "--hub",
        "hub",
    )


def export(folder, *arguments):
    words = [sys.executable, "-m", "charrnn", "export", *map(str, arguments)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)


def test_several_forms_are_written_at_once(exported):
    folder, done = exported
    assert done.returncode == 0, done.stderr
    written = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    hub = {f"hub/{name}" for name in ("model.safetensors", "config.json", "vocabulary.json")}
    assert written == {"few.html", "few.py", "few.npz", "few.onnx", "hub/README.md"} | hub
    assert {line.split(":")[0] for line in done.stdout.splitlines()} == written


def test_the_weights_of_all_forms_are_the_models(exported, trained):
    folder, _ = exported
    expected = read_model(trained).tensors["head.weight"]
    assert np.array_equal(np.load(folder / "few.npz")["head.weight"], expected)
    assert np.array_equal(read_model(folder / "hub").tensors["head.weight"], expected)
    constants = onnx.load(folder / "few.onnx").graph.initializer
    [head] = [constant for constant in constants if constant.name == "head.weight"]
    assert np.array_equal(onnx.numpy_helper.to_array(head), expected)


def test_a_folder_for_a_hub_is_a_model_to_sample(exported, trained):
    folder, _ = exported
    model = (folder / "hub/model.safetensors").read_bytes()
    assert model == (trained / "model.safetensors").read_bytes()
    config = json.loads((folder / "hub/config.json").read_text())
    assert (config["cell"], config["hidden_size"], config["num_layers"]) == ("lstm", 8, 1)
    vocabulary = json.loads((folder / "hub/vocabulary.json").read_text())
    assert [ord(char) for char in vocabulary["characters"]] == vocabulary["symbols"]
    assert vocabulary["symbols"] == list(read_model(trained).vocabulary.symbols)


def test_the_card_says_text_scores_copies_and_leaves_the_licence_open(exported, trained):
    folder, _ = exported
    card = (folder / "hub/README.md").read_text()
    assert card.startswith("---\n# license: yours to choose")
    assert read_model(trained).meta["fingerprint"] in card
    assert "| validation | this model | " in card and "| test | this model | " in card
    assert "lines that are training lines" in card and "## Limits" in card


def test_the_metadata_of_a_graph_holds_the_card(exported):
    folder, _ = exported
    properties = onnx.load(folder / "few.onnx").metadata_props
    [card] = [entry.value for entry in properties if entry.key == "card"]
    assert card.startswith("# few\n") and "## Scores" in card


def test_json_lists_the_files(trained, tmp_path):
    done = export(tmp_path, trained, "--numpy", "few.py", "--json")
    about = json.loads(done.stdout)
    assert (about["schema"], about["step"]) == (1, read_model(trained).step)
    sizes = {name: (tmp_path / name).stat().st_size for name in ("few.npz", "few.py")}
    assert {file["path"]: file["bytes"] for file in about["files"]} == sizes


def test_no_form_loads_torch(trained, tmp_path):
    words = ["export", str(trained), "--numpy", "a.py", "--onnx", "a.onnx", "--hub", "hub"]
    assert loaded_after(words, ("torch",), tmp_path) == set()
    assert (tmp_path / "hub/README.md").exists()


@pytest.mark.parametrize(
    ("form", "name", "message"),
    [
        ("numpy", "few.txt", "ends in .py"),
        ("numpy", "no/few.py", "no directory no"),
        ("numpy", "here.py", "--numpy here.npz is there already; pass --overwrite"),
        ("onnx", "here.onnx", "--onnx here.onnx is there already; pass --overwrite"),
        ("hub", "full", "--hub full holds files; pass --overwrite"),
        ("hub", "here.npz", "--hub here.npz is a file"),
        ("hub", "run", "--hub run is a run"),
    ],
)
def test_what_cannot_be_written_is_refused(form, name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for taken in ("here.npz", "here.onnx", "full/a", "run/checkpoints/a"):
        Path(taken).parent.mkdir(parents=True, exist_ok=True)
        Path(taken).write_text("mine")
    with pytest.raises((SettingsError, StorageError), match=message):
        command(run=Path("nothing"), **{form: Path(name)})
    assert Path("here.npz").read_text() == Path("full/a").read_text() == "mine"


def test_without_onnx_the_install_line_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="--onnx needs onnx; in the clone: pip install"):
        command(run=Path("nothing"), onnx=tmp_path / "few.onnx")


def test_overwrite_replaces_our_files_and_leaves_others(trained, tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/notes.txt").write_text("mine")
    (tmp_path / "hub/README.md").write_text("old")
    done = export(tmp_path, trained, "--hub", "hub", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "hub/notes.txt").read_text() == "mine"
    assert (tmp_path / "hub/README.md").read_text() != "old"


def test_a_page_says_nothing_to_whoever_reads_its_source_but_what_it_is(exported):
    folder, _ = exported
    page = (folder / "few.html").read_text()
    assert "default-src 'none'" in page and "unsafe" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page


def test_a_page_with_half_the_precision_is_smaller(exported, trained):
    folder, _ = exported
    done = export(folder, trained, "--html", "half.html", "--weights", "float16", "--no-known")
    assert done.returncode == 0, done.stderr
    assert (folder / "half.html").stat().st_size < (folder / "few.html").stat().st_size


def test_a_precision_that_is_none_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="float16"):
        command(html=tmp_path / "x.html", weights="int8")
