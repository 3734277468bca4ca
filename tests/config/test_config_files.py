"""TOML files, what comes with charrnn, and settings there and back."""

from pathlib import Path

import pytest
from config_support import CONFIGS
from hypothesis import given
from hypothesis import strategies as st

from charrnn import layers as layers_module
from charrnn.config import FIELDS, SECTIONS, flatten, resolve, settings_from_dict
from charrnn.errors import SettingsError
from charrnn.layers import shipped, shipped_names, toml_layer

# TOML files


def test_a_file_gives_its_name_and_values(toml):
    assert toml("[model]\ncell = 'gru'\n\n[training]\nlr = 1e-2\n") == (
        "run.toml",
        {"cell": "gru", "lr": 0.01},
    )


@pytest.mark.parametrize("text", ["", "\ufeff", "# nothing\n", "[model]\n"])
def test_a_file_without_settings_sets_nothing(text, toml):
    assert toml(text)[1] == {}


def test_a_byte_order_mark_and_crlf_do_no_harm(toml):
    assert toml("\ufeff[training]\r\nlr = 1\r\n")[1] == {"lr": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[training]\nlr = 1\nwarmupp = 3\n",
            "[training] has no setting 'warmupp'; did you mean warmup? (line 3)",
        ),
        (
            "# x\n[trainin]\nlr = 1\n",
            "there is no section [trainin]; did you mean training? (line 2)",
        ),
        ("lr = 1\n", "there is no section [lr]"),
        ("training = 1\n", "training must be a table"),
        ("[[training]]\nlr = 1\n", "training must be a table"),
        ("[model]\ncell = 'lstm'\nhidden_size = -3\n", "hidden_size: -3 is below 1 (line 3)"),
        ("[model]\nhidden_size = '3x'\n", "'3x' is not a whole number (line 2)"),
        ("[model]\nhidden_size = 3.0\n", "'3.0' is not a whole number (line 2)"),
        ("[model]\nhidden_size = true\n", "'True' is not a whole number (line 2)"),
        ("[text]\ndeduplicate = 1\n", "'1' is not true or false (line 2)"),
        ("[training]\nlr = nan\n", "'nan' is not a finite number (line 2)"),
        ("[training]\nlr = -inf\n", "'-inf' is not a finite number (line 2)"),
        ("[training]\nlr = []\n", "'[]' is not a finite number (line 2)"),
        ("[training]\nlr = {a = 1}\n", "is not a finite number (line 2)"),
        ("[training]\nlr = 1979-05-27\n", "is not a finite number (line 2)"),
        ("[training]\nwarmup = [1]\n", "is not a whole number (line 2)"),
        ("[training]\nbudget = 90\n", "is not a text in quotes (line 2)"),
        ("[training]\nlr = 1\nlr = 2\n", "line 3"),
        ("[training]\n[training]\n", "line 2"),
        ("[training\n", "line 1"),
        ("[training]\nlr = \n", "line 2"),
        ("[training.lr]\nx = 1\n", "is not a finite number"),
        ("[training]\nlr = 1\0\n", "line 2"),
        ("[model]\n\x1b = 1\n", "line 2"),
        ("[model]\n'\x1b' = 1\n", "line 2"),
        ('[model]\n"\\u001b" = 1\n', "\\x1b"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(text, says, refused):
    message = refused(text)
    assert message.startswith("--config run.toml: ")
    assert says in message
    assert "\x1b" not in message


@pytest.mark.parametrize(
    "data",
    [
        ".".join(["a"] * 8000) + " = 1",
        "\n".join(".".join(f"k{line}" for _ in range(100)) + ".x = 1" for line in range(100)),
        ".".join(['"\u2028"'] * 9000) + " = 1",
        ".".join(['"\u0085"'] * 9000) + " = 1",
        "[" + ".".join(["a"] * 8000) + "]",
        "[training]\nlr = " + "[" * 900,
        "[training]\nlr = " + "[\n" * 30_000,
        "[training]\nlr = " + "[" * 400 + "]" * 400,
        "[training]\nlr = " + "{a=" * 300 + "1" + "}" * 300,
        "[training]\nsteps = " + "9" * 5000,
        "[training]\nlr = " + "9" * 900,
        "[training]\nseed = 0x" + "f" * 900,
        "[training]\nsteps = 1" + "\n" * (1 << 16),
        "x" * (1 << 20),
        b"[training]\nlr = 1 # caf\xe9",
        "[training]\nlr = 1\n".encode("utf-16"),
        b"\0" * 70_000,
        b"\xff" * 70_000,
    ],
    ids=lambda data: str(data[:20]),
)
def test_a_bomb_is_refused_at_once(data, refused):
    assert refused(data).startswith("--config run.toml: ")


def test_a_file_that_is_not_utf8_names_the_byte(refused):
    assert "byte 21 is not UTF-8" in refused(b"[training]\n#12345678\xe9\n"[:20] + b"x\xe9")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (".", "directory"),
        ("missing.toml", "no such file or preset; presets: "),
        ("x" * 300, "File name too long"),
        ("a\0b", "no such file"),
        ("file/below", "no such file"),
        ("\x1b", "\\x1b"),
    ],
)
def test_what_is_no_file_is_refused(name, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError) as caught:
        toml_layer(name)
    assert says.lower() in str(caught.value).lower()
    assert "\x1b" not in str(caught.value)


def test_an_endless_device_is_refused_at_once():
    if not Path("/dev/zero").exists():
        pytest.skip("no /dev/zero")
    with pytest.raises(SettingsError):
        toml_layer("/dev/zero")


toml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from([*FIELDS, "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*SECTIONS, "x"]), toml_values))
def test_any_values_of_a_file_give_settings_or_a_settings_error(values):
    try:
        settings = settings_from_dict(values, "file")
    except SettingsError as error:
        message = str(error)
        assert message.count("\n") == 0
    else:
        assert settings_from_dict(settings.to_dict(), "again") == settings


# What comes with charrnn


def test_there_are_presets():
    assert CONFIGS
    assert shipped_names("configs") == [path.stem for path in CONFIGS]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_preset_parses_and_resolves(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    origin, values = toml_layer(path.stem)
    assert origin == path.name
    settings, origins = resolve([(origin, values)])
    assert values
    assert set(origins) == set(values)
    assert settings_from_dict(settings.to_dict(), "again") == settings


@pytest.mark.parametrize(
    "name",
    [
        "../charrnn/config.py",
        "names.py",
        "/etc/passwd",
        "",
        "names.txt/",
        "a\nnames.txt",
        "names.txt\n",
    ],
)
def test_shipped_gives_only_plain_names(name):
    assert shipped("corpora", name) is None


def test_shipped_finds_a_corpus_and_names_them_all():
    assert shipped("corpora", "names.txt").name == "names.txt"
    assert shipped_names("corpora") == ["names", "shakespeare", "surnames"]


# Round trip


def test_settings_from_dict_undoes_to_dict():
    settings, _ = resolve(
        [
            (
                "--",
                {
                    "cell": "gru",
                    "hidden_size": 7,
                    "dropout": 0.25,
                    "steps": 3,
                    "deduplicate": False,
                    "seed": (1 << 63) - 1,
                    "lr": 1e-3,
                },
            )
        ]
    )
    assert settings_from_dict(settings.to_dict(), "again") == settings


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"modell": {}}, "did you mean model?"),
        ({"model": {"cel": 1}}, "did you mean cell?"),
        ({"model": {"lr": 1}}, "[model] has no setting 'lr'"),
        ({"model": []}, "must be a table"),
        ({"model": None}, "must be a table"),
    ],
)
def test_flatten_refuses_unknown_sections_and_keys(values, says):
    with pytest.raises(SettingsError) as caught:
        flatten(values, "file")
    assert says in str(caught.value)


def test_the_line_length_limit_is_what_keeps_tomllib_quick():
    assert layers_module.MAX_TOML_LINE <= 1000
    assert layers_module.MAX_TOML_BYTES <= 1 << 16
