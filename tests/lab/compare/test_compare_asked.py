"""What a comparison is asked, and the variants that follow from it."""

import re
from pathlib import Path

import pytest
from compare_support import asked

from charrnn.config import ModelSettings, resolve
from charrnn.errors import SettingsError
from charrnn.lab.asked import ask
from charrnn.lab.plan import Plan
from charrnn.lab.variants import Variant, count, matched_hidden_size, sized, variants_of
from charrnn.model.charmodel import CharModel
from charrnn.text.building import survey


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vary": ["cel=lstm,gru"]}, "--vary cel: there is no such setting; did you mean cell?"),
        ({"vary": ["cell=lstm"]}, "one value compares nothing"),
        ({"vary": ["cell"]}, "write it as setting=value,value"),
        ({"vary": ["=a,b"]}, "write it as setting=value,value"),
        ({"vary": ["cell=lstm,"]}, "'' is not one of rnn, lstm"),
        ({"vary": ["lr=1,1.0"]}, "1.0 is given twice"),
        ({"vary": ["lr=1,nan"]}, "'nan' is not a finite number"),
        ({"vary": ["cell=lstm,ngram"]}, "compare always shows the n-gram"),
        ({"vary": ["lr=1,2", "lr=3,4"]}, "--vary lr is given twice"),
        ({"vary": ["unit=char,byte"]}, "figures of different texts do not compare"),
        ({"vary": ["seed=1,2"]}, "as many as --seeds says"),
        ({"vary": ["lr=1,2"], "lr": "0.1"}, "--set training.lr and --vary lr both set it"),
        ({"vary": ["hidden-size=8,9"], "equal": "params"}, "chooses the hidden size"),
        ({"vary": ["steps=8,9"], "equal": "time"}, "says how long to train"),
        ({"vary": ["steps=8,9"], "budget": "3s"}, "leave the other lengths out"),
        ({"equal": "parms"}, "did you mean params?"),
        ({"equal": "time,steps"}, "give one"),
        ({"equal": "time", "epochs": "3"}, "--set training.epochs gives each as many steps"),
        ({"seeds": 0}, "must be between 1 and 1,000"),
        ({"corpus": "-"}, "standard input"),
        ({"init_from": "x"}, "begins from scratch"),
        ({"cell": "ngram"}, "compare networks"),
    ],
)
def test_nonsense_is_refused_in_one_line(options, message):
    with pytest.raises(SettingsError, match=re.escape(message)) as told:
        asked(**options)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("vary", "equal", "made"),
    [
        ((), None, ("params", "steps")),
        (["dropout=0,0.5"], None, ("params", "steps")),
        ((), "time", ("time",)),
        (["hidden-size=8,9"], None, ("steps",)),
        ((), "params,time", ("params", "time")),
        ((), "steps", ("steps",)),
        (["steps=8,9"], None, ("params",)),
    ],
)
def test_what_is_made_equal(vary, equal, made):
    assert asked(vary, equal).equal == made


def test_a_flag_varied_takes_the_place_of_a_files():
    assert ask(None, (("x.toml", {"cell": "gru"}),), ["cell=lstm,gru"], None, 3).vary == (
        ("cell", ("lstm", "gru")),
    )


def variants(few, **options):
    request = asked(corpus=str(few), **options)
    return variants_of(
        request, survey(str(few), resolve(request.layers)[0].text, 1337), lambda settings: 1e9
    )


@pytest.mark.parametrize(
    "more",
    [{"cell": "gru"}, {"cell": "rnn", "skip": "dense"}, {"cell": "lstm", "tie_weights": True}],
)
def test_the_width_is_the_one_whose_real_network_comes_nearest(more):
    settings = ModelSettings(hidden_size=1, num_layers=2, embedding_size=5, **more)
    real = {size: CharModel(sized(settings, size), 7).parameter_count() for size in range(1, 40)}
    for wanted in (1, 500, 1003, 4000, real[17]):
        nearest = min(real, key=lambda size: abs(real[size] - wanted))
        assert matched_hidden_size(settings, 7, wanted) == nearest
    assert count(sized(settings, 17), 7) == real[17]


def test_equal_parameters_are_within_two_percent_and_really_the_networks(few):
    made, parameters = variants(few, hidden_size="40", steps="5")
    size = len(survey(str(few), made[0].settings.text, 1337).vocabulary)
    assert [each.name for each in made] == ["lstm", "gru", "rnn"] and made[
        0
    ].settings.model.hidden_size == 40
    for each, numbers in zip(made, parameters, strict=True):
        assert CharModel(each.settings.model, size).parameter_count() == numbers
        assert abs(numbers - parameters[0]) <= 0.02 * parameters[0]
    assert len({each.settings.model.hidden_size for each in made}) == 3


def test_a_network_too_small_to_be_matched_is_refused(few):
    with pytest.raises(SettingsError, match="no width of lstm comes within 2% of"):
        variants(few, vary=["cell=rnn,lstm"], hidden_size="3", embedding_size="2", steps="5")


def test_variants_differ_in_what_is_varied_and_nothing_else(few):
    made, _ = variants(few, vary=["lr=0.1,0.2", "cell=gru,rnn"], equal="steps", steps="5")
    assert [each.name for each in made] == [
        "lr 0.1, gru",
        "lr 0.1, rnn",
        "lr 0.2, gru",
        "lr 0.2, rnn",
    ]
    first = made[0].settings.to_dict()
    for each in made[1:]:
        other = each.settings.to_dict()
        differing = {
            key
            for section in first
            for key in first[section]
            if first[section][key] != other[section][key]
        }
        assert differing <= {"lr", "cell"}
    assert all(value is not None for value in made[0].settings.to_dict()["model"].values())


def test_no_two_variants_share_a_name_or_a_run(few):
    """Values that six digits do not tell apart, and names longer than a directory's."""
    made, _ = variants(
        few, vary=["lr=0.0012345671,0.0012345672", "clip=1,2"], equal="steps", steps="5"
    )
    assert made[0].name == "lr 0.0012345671, clip 1" and len({each.name for each in made}) == 4
    made = [
        Variant(f"{'dropout 0.1, ' * 9}clip {clip}", made[0].settings) for clip in (1, 2, "../..")
    ]
    runs = {each.run(Path("runs"), 1) for each in made}
    assert len(runs) == 3 and all(
        run.parent == Path("runs") and len(run.name) < 100 for run in runs
    )


def test_without_a_length_it_is_small_and_quick(few):
    made, _ = variants(few)
    assert (made[0].settings.model.hidden_size, made[0].settings.training.steps) == (
        64,
        1500,
    )  # no clock in it
    assert variants(few, equal="time")[0][0].settings.training.budget == "6s"
    assert variants(few, budget="1m")[0][0].settings.model.dropout == 0.5  # as charrnn train


def test_each_gets_its_whole_length_unless_patience_is_asked_for(few):
    assert variants(few, steps="5")[0][0].settings.training.patience == 0
    assert variants(few, steps="5", patience="3")[0][0].settings.training.patience == 3


def test_every_seed_begins_with_another_variant():
    made = tuple(Variant(name, resolve([])[0]) for name in "abc")
    plan = Plan(None, "x", made, (1, 1, 1), (5, 6, 7, 8), "")
    order = "".join(variant.name for variant, _ in plan.runs())
    assert order == "abcbcacababc"
