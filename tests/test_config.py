"""Settings: precedence, the limits of every setting, and files made by accident or malice."""

import dataclasses
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import layers as layers_module
from charrnn.config import FIELDS, SECTIONS, Settings, flag, flatten, resolve, settings_from_dict
from charrnn.errors import SettingsError
from charrnn.layers import environment_layer, set_layer, shipped, shipped_names, toml_layer
from charrnn.values import finite, interval, seconds, shares

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))
KINDS = {key: item.metadata["kind"] for key, (_, item) in FIELDS.items()}
LIMITS = {key: item.metadata for key, (_, item) in FIELDS.items()}
INTS = [key for key, kind in KINDS.items() if kind is int]
FLOATS = [key for key, kind in KINDS.items() if kind is float]
BOOLS = [key for key, kind in KINDS.items() if kind is bool]
CHOICES = [key for key in FIELDS if "choices" in LIMITS[key]]


def one(key, value, origin="--"):
    """The settings after one value, and what became of it."""
    settings, _ = resolve([(origin, {key: value})])
    return getattr(getattr(settings, FIELDS[key][0]), key)


def refusal(*layers):
    with pytest.raises(SettingsError) as caught:
        resolve(layers)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


@pytest.fixture
def toml(tmp_path):
    """text or bytes -> the layer of a file that holds them."""

    def layer(text):
        (tmp_path / "run.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return toml_layer(str(tmp_path / "run.toml"))

    return layer


@pytest.fixture
def refused(toml):
    """text or bytes -> the message about a file of them: at once (processor time), in one line."""

    def message(text):
        start = time.process_time()
        with pytest.raises(SettingsError) as caught:
            toml(text)
        assert time.process_time() - start < 2
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return message


# The table itself


def test_every_setting_has_a_help_text_and_a_name_of_its_own():
    assert all(LIMITS[key]["help"] for key in FIELDS)
    assert len(FIELDS) == sum(len(dataclasses.fields(kind)) for kind in SECTIONS.values())


def test_sections_are_the_fields_of_settings():
    assert {item.name: item.default_factory for item in dataclasses.fields(Settings)} == SECTIONS


def test_every_default_is_within_its_own_limits():
    assert settings_from_dict(Settings().to_dict(), "defaults") == Settings()


def test_only_the_forget_bias_may_be_negative():
    assert [key for key in INTS + FLOATS if LIMITS[key].get("min", -1) < 0] == ["forget_bias"]


# Precedence


def test_flags_win_over_environment_over_file_over_defaults():
    layers = [
        ("f.toml", {"lr": 0.1, "clip": 2.0, "seed": 1}),
        ("environment", {"clip": "3", "seed": "2"}),
        ("--", {"seed": 3}),
    ]
    settings, origins = resolve(layers)
    training = settings.training
    assert (training.lr, training.clip, training.seed, training.warmup) == (0.1, 3.0, 3, 50)
    assert origins == {"lr": "f.toml", "clip": "environment", "seed": "--seed"}


def test_none_is_not_set():
    assert resolve([("f", {"lr": 0.1}), ("--", {"lr": None})])[0].training.lr == 0.1


@pytest.mark.parametrize("later", ["budget", "epochs", "steps"])
@pytest.mark.parametrize("earlier", ["budget", "epochs", "steps"])
def test_a_later_length_replaces_an_earlier_one_of_any_kind(earlier, later):
    values = {"budget": "5m", "epochs": 2, "steps": 7}
    settings, origins = resolve([("f", {earlier: values[earlier]}), ("--", {later: values[later]})])
    assert [key for key in values if getattr(settings.training, key) is not None] == [later]
    assert origins == {later: f"--{later}"}


def test_two_lengths_in_one_layer_are_refused():
    assert "--budget and --steps both say how long" in refusal(("--", {"budget": "5m", "steps": 3}))


def test_environment_layer_takes_only_its_own_variables():
    environment = {
        "CHARRNN_LR": "0.01",
        "CHARRNN_HIDDEN_SIZE": "9",
        "PATH": "x",
        "CHARRNN_DEBUG": "x",
    }
    assert environment_layer(environment) == {"lr": "0.01", "hidden_size": "9"}


def test_a_misspelt_variable_is_refused_with_the_nearest():
    message = refusal(("environment", environment_layer({"CHARRNN_HIDEN_SIZE": "9"})))
    assert "did you mean hidden_size?" in message


def test_with_values_leaves_the_original():
    settings = Settings()
    assert settings.with_values("model", hidden_size=3).model.hidden_size == 3
    assert settings.model.hidden_size is None


def test_flag_of_a_key():
    assert flag("hidden_size") == "--hidden-size"


# Every limit of every setting


def bad_numbers():
    for key in INTS + FLOATS:
        limits = LIMITS[key]
        bad = [
            True,
            False,
            float("nan"),
            float("inf"),
            float("-inf"),
            "nan",
            "inf",
            "-inf",
            "",
            "x",
            "1e400",
            [],
            {},
            [1],
            "0x10",
            "1,5",
        ]
        if key in INTS:
            bad += [1.5, 1.0, "1.5", "9" * 31, "1e3"]
        else:
            bad += [10**400]
        if "min" in limits:
            bad += [limits["min"] - 1, str(limits["min"] - 1)]
        if "max" in limits:
            bad += [limits["max"] + 1, str(limits["max"] + 1)]
        if "below" in limits:
            bad += [limits["below"], limits["below"] + 1]
        for value in bad:
            yield pytest.param(key, value, id=f"{key}-{type(value).__name__}-{str(value)[:12]}")


@pytest.mark.parametrize(("key", "value"), list(bad_numbers()))
def test_a_bad_number_is_refused_by_its_flag(key, value):
    assert refusal(("--", {key: value})).startswith(flag(key) + ":")


@pytest.mark.parametrize("key", INTS + FLOATS)
def test_a_number_at_its_limits_is_taken_as_number_and_as_text(key):
    edges = [LIMITS[key][edge] for edge in ("min", "max") if edge in LIMITS[key]]
    for value in edges:
        assert one(key, value) == one(key, str(value)) == value
        assert type(one(key, str(value))) is KINDS[key]


@pytest.mark.parametrize("key", FLOATS)
def test_a_whole_number_is_taken_for_a_float(key):
    assert type(one(key, 0)) is float


def test_dropout_stays_below_one():
    assert "must be below 1" in refusal(("--", {"dropout": 1.0}))
    assert one("dropout", "0.999") == 0.999


def test_a_number_with_underscores_or_spaces_is_read_as_python_does():
    assert one("seed", " 1_000 ") == 1000


@pytest.mark.parametrize("key", BOOLS)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        ("true", True),
        ("YES", True),
        ("1", True),
        (False, False),
        ("no", False),
        ("False", False),
        ("0", False),
    ],
)
def test_words_for_true_and_false(key, value, expected):
    assert one(key, value) is expected


@pytest.mark.parametrize("key", BOOLS)
@pytest.mark.parametrize("value", [1, 0, 1.0, "", "on", "2", [], {}])
def test_a_bad_boolean_is_refused(key, value):
    assert f"{flag(key)}: " in refusal(("--", {key: value}))


@pytest.mark.parametrize("key", CHOICES)
@pytest.mark.parametrize("value", ["", "nonsense", 1, True, [], 0.5])
def test_what_is_no_choice_is_refused(key, value):
    assert f"{flag(key)}: " in refusal(("--", {key: value}))


@pytest.mark.parametrize("key", CHOICES)
def test_every_choice_is_taken(key):
    for choice in LIMITS[key]["choices"]:
        layer = {"cell": "ngram"} if key == "smoothing" else {}
        settings, _ = resolve([("--", layer | {key: choice})])
        assert getattr(getattr(settings, FIELDS[key][0]), key) == choice


def test_a_misspelt_choice_names_the_nearest():
    assert "did you mean gru-before?" in refusal(("--", {"cell": "gru_befor"}))


@pytest.mark.parametrize(
    "key",
    [
        key
        for key, kind in KINDS.items()
        if kind is str and not key.endswith("_every") and key != "order"
    ],
)
@pytest.mark.parametrize("value", [1, 1.5, True, [], {}])
def test_a_text_must_be_a_text(key, value):
    assert f"{flag(key)}: " in refusal(("--", {key: value}))


def test_a_value_that_steers_terminals_is_escaped():
    assert "\x1b" not in refusal(("--", {"cell": "\x1b[31m"}))


# Durations, intervals, shares, finite


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("1h", 3600),
        ("1.5h", 5400),
        (".5m", 30),
        ("2 min", 120),
        (" 3 sec ", 3),
        ("1.s", 1),
    ],
)
def test_durations(text, expected):
    assert seconds(text, "--budget") == expected
    assert one("budget", text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0s",
        "-1s",
        "1d",
        "s",
        "5 m m",
        "inf",
        "nan",
        "1e3s",
        "1,5m",
        "9" * 400,
        "1000000000",
        "5m\n\n5",
        "1h30m",
    ],
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(SettingsError, match="--budget"):
        seconds(text, "--budget")
    refusal(("--", {"budget": text}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("200", (200, None)), (" 1 ", (1, None)), ("30s", (None, 30)), ("1m", (None, 60))],
)
def test_intervals_are_steps_or_durations(text, expected):
    assert interval(text, "--save-every") == expected


@pytest.mark.parametrize("key", ["eval_every", "save_every", "sample_every"])
@pytest.mark.parametrize("value", ["0", "-5", "1.5", "", "x", "9" * 13, "0s", 0, -1, True, 1.5, []])
def test_what_is_no_interval_is_refused(key, value):
    assert f"{flag(key)}: " in refusal(("--", {key: value}))


def test_an_interval_may_be_a_number_in_a_file(toml):
    assert resolve([toml("[training]\nsave_every = 200\n")])[0].training.save_every == "200"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.9,0.05,0.05", (0.9, 0.05, 0.05)),
        ("0.9,0.1", (0.9, 0.1, 0)),
        ("1,0", (1, 0, 0)),
        (" 0.5 , 0.25 , 0.25 ", (0.5, 0.25, 0.25)),
    ],
)
def test_shares(text, expected):
    assert shares(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "0.9",
        "0.9,0.2",
        "0,1",
        "0.5,0.5,0.5",
        "1.5,-0.5",
        "nan,1",
        "inf,0",
        "0.25,0.25,0.25,0.25",
        "a,b",
        "0.9,0.1,",
        "90,10",
    ],
)
def test_what_are_no_shares_is_refused(text):
    with pytest.raises(SettingsError, match="--split"):
        shares(text)
    refusal(("--", {"split": text}))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_finite_refuses_what_is_not(value):
    with pytest.raises(SettingsError, match=r"--temperature .*: must be a finite number"):
        finite(value, "--temperature")


def test_finite_names_its_bounds():
    for value in (0.0, -1.0, 1.5):
        with pytest.raises(SettingsError, match=r"--top-p .*must be above 0 and at most 1"):
            finite(value, "--top-p", above=0.0, maximum=1.0)
    with pytest.raises(SettingsError, match="at least 0"):
        finite(-0.5, "--temperature", minimum=0.0)
    assert finite(1.0, "--top-p", above=0.0, maximum=1.0) == 1.0
    assert finite(0.0, "--temperature", minimum=0.0) == 0.0


# Settings that do not go together


def test_the_lecture_gru_has_no_torch_backend():
    assert "--backend own" in refusal(("--", {"cell": "gru-before", "backend": "torch"}))


@pytest.mark.parametrize(
    "encoding",
    [
        "",
        "nonsense",
        "hex",
        "rot13",
        "base64",
        "zlib",
        "a\0b",
        "\udcff",
        "x" * 5000,
        "../utf-8",
        "é",
    ],
)
def test_what_is_no_text_encoding_is_refused(encoding):
    assert "--encoding" in refusal(("--", {"encoding": encoding}))


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "latin-1", "utf_16", "cp1252", "utf-8-sig"])
def test_text_encodings_are_taken(encoding):
    assert one("encoding", encoding) == encoding


# --set


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["training.lr=0.01"], {"lr": "0.01"}),
        (["training.lr=0.01", "training.lr=0.02", "model.cell=gru"], {"lr": "0.02", "cell": "gru"}),
        ([" training.lr =0.01"], {"lr": "0.01"}),
        (["text.val=a=b.txt"], {"val": "a=b.txt"}),
        (["text.val="], {"val": ""}),
        ([], {}),
    ],
)
def test_set_layer(words, expected):
    assert set_layer(words) == expected


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("lr=0.01", "section.key=value"),
        ("training.lr", "section.key=value"),
        ("", "section.key=value"),
        ("=", "section.key=value"),
        ("trainin.lr=1", "did you mean training?"),
        ("training.lrr=1", "did you mean lr?"),
        ("model.lr=1", "[model] has no setting 'lr'"),
        ("training.a.b=1", "has no setting 'a.b'"),
        (".lr=1", "no section []"),
        ("\x1b.x=1", "\\x1b"),
    ],
)
def test_a_bad_set_is_refused(word, says):
    with pytest.raises(SettingsError) as caught:
        set_layer([word])
    assert says in str(caught.value)
    assert "\x1b" not in str(caught.value)


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


def test_a_file_here_wins_over_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = CONFIGS[0].stem
    (tmp_path / name).write_text("[training]\nseed = 77\n")
    assert toml_layer(name)[1] == {"seed": 77}


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
    assert shipped_names("corpora") == ["names", "surnames"]


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
