"""Values as people write them: durations, intervals, shares, settings that do not go together."""

import pytest
from config_support import one, refusal

from charrnn.config import flag, resolve
from charrnn.errors import SettingsError
from charrnn.layers import set_layer
from charrnn.values import finite, interval, seconds, shares

# Durations, intervals, shares, finite


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("5m", 300),
        ("1h", 3600),
        ("1.5h", 5400),
        (".5m", 30),
        ("2 min", 120),
        (" 3 sec ", 3),
        ("1h30m", 5400),
        ("1m 2s", 62),
        ("1h02m", 3720),
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
        "90",
        "5m\n\n5",
        "30m1h",
        "2m3m",
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
        (["lr=0.01", "hidden-size=3"], {"lr": "0.01", "hidden_size": "3"}),
        (["text.val="], {"val": ""}),
        ([], {}),
    ],
)
def test_set_layer(words, expected):
    assert set_layer(words) == expected


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("hiden_size=3", "there is no such setting; did you mean hidden_size?"),
        ("training.lr", "setting=value"),
        ("lr", "setting=value"),
        ("", "setting=value"),
        ("=", "setting=value"),
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
