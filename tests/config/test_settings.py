"""The table of settings: limits, choices, and which layer wins."""

import dataclasses

import pytest
from config_support import one, refusal

from charrnn.config import FIELDS, SECTIONS, Settings, flag, resolve, settings_from_dict
from charrnn.layers import environment_layer

KINDS = {key: item.metadata["kind"] for key, (_, item) in FIELDS.items()}


LIMITS = {key: item.metadata for key, (_, item) in FIELDS.items()}


INTS = [key for key, kind in KINDS.items() if kind is int]


FLOATS = [key for key, kind in KINDS.items() if kind is float]


BOOLS = [key for key, kind in KINDS.items() if kind is bool]


CHOICES = [key for key in FIELDS if "choices" in LIMITS[key]]


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
