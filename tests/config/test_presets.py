"""Presets: what stands here under their name does not hide them; one is as char-rnn trains."""

from pathlib import Path

import pytest
from support import FEW

from charrnn.cli.settings_view import print_settings
from charrnn.config import resolve
from charrnn.errors import SettingsError
from charrnn.layers import shipped_names, toml_layer


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["linux", "shakespeare", "names"])
def test_a_folder_called_like_a_preset_does_not_hide_it(name, here, capsys):
    Path(name).mkdir()
    assert toml_layer(name)[0] == f"{name}.toml"
    said = capsys.readouterr().err
    assert said == f"note: --config {name}: the preset is taken, not {name} here (./{name})\n"


def test_a_file_called_like_a_preset_is_taken_by_its_path(here, capsys):
    Path("tiny").write_text("[training]\nlr = 0.5\n")
    assert toml_layer("tiny")[0] == "tiny.toml"
    assert "./tiny" in capsys.readouterr().err
    assert toml_layer("./tiny") == ("tiny", {"lr": 0.5})
    assert capsys.readouterr().err == ""


def test_a_preset_alone_is_taken_without_a_word(here, capsys):
    toml_layer("tiny")
    assert capsys.readouterr().err == ""


def test_another_folder_is_no_config(here):
    Path("mine").mkdir()
    with pytest.raises(SettingsError, match="mine: Is a directory"):
        toml_layer("mine")


def test_the_preset_of_char_rnn_has_its_numbers():
    settings, _ = resolve([toml_layer("char-rnn")])
    model = settings.model
    training = settings.training
    assert (model.cell, model.num_layers, model.hidden_size, model.dropout) == ("lstm", 2, 128, 0)
    assert (training.seq_length, training.batch_size, training.epochs) == (50, 50, 50)
    assert (training.lr, training.clip, training.seed) == (0.002, 5.0, 123)
    assert (settings.text.mode, settings.text.split) == ("stream", "0.95,0.05")


def test_the_help_names_every_preset():
    from charrnn.cli.options import ConfigFile

    assert all(name in ConfigFile.help for name in shipped_names("configs"))


def printed(capsys, corpus, *layers):
    print_settings(corpus, layers)
    return capsys.readouterr().out.splitlines()


def test_the_settings_of_a_named_text_have_its_sizes_and_their_origins(here, capsys):
    Path("names.txt").write_text("".join(f"{name}\r\n" for name in FEW))
    flags = {"hidden_size": "24", "steps": "9"}
    lines = printed(capsys, "names.txt", ("environment", {"seed": "5"}), ("--", flags))
    for line in (
        'mode = "lines"  # chosen from the text',
        'newlines = "lf"  # chosen from the text',
        "hidden_size = 24  # --hidden-size",
        "num_layers = 1  # chosen from the text",
        "batch_size = 64  # chosen from the text",
        "seed = 5  # environment",
        "clip = 1.0  # default",
    ):
        assert line in lines
    assert any(line.startswith("lr = 0.") for line in lines)


def test_without_a_text_sizes_are_told_to_follow_from_it(capsys):
    assert "# hidden_size: from the text" in printed(capsys, None)
