"""Both engines: many samples at once, where they end, prompts."""

import itertools

import numpy as np
import pytest
from engine_support import random_pair, texts
from support import needs_kernel

from charrnn.errors import SettingsError
from charrnn.sampling import rows as compiled_rows
from charrnn.sampling import steps as numpy_engine
from charrnn.sampling.decode import Decoding, distribution, uniforms
from charrnn.sampling.engine import Sampler
from charrnn.sampling.steps import MAX_ROWS

# Many at once


def test_refill_gives_each_sample_as_if_it_were_drawn_alone(make_sampler):
    sampler = make_sampler(mode="lines", layers=2)
    count = 3 * MAX_ROWS + 5
    together = list(sampler.generate(count, seed=11, length=60))
    assert [sample.index for sample in together] == list(range(count))
    assert len({len(sample.ids) for sample in together}) > 10  # rows end at different times
    alone = [next(sampler.generate(1, seed=11, length=60, first=i)) for i in range(count)]
    assert texts(together) == texts(alone)
    np.testing.assert_allclose([s.nats for s in together], [s.nats for s in alone], rtol=1e-5)


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_the_first_samples_do_not_depend_on_the_count(mode, make_sampler):
    sampler = make_sampler(mode=mode)
    assert (
        texts(sampler.generate(3, seed=4, length=40))
        == texts(sampler.generate(70, seed=4, length=40))[:3]
    )


def test_samples_follow_the_models_distribution(make_sampler):
    sampler = make_sampler(scale=1.0)
    draws = 4000
    ids = [int(sample.ids[0]) for sample in sampler.generate(draws, seed=1, length=1)]
    expected = draws * distribution(sampler.feed(np.array([sampler.start]))[0], Decoding())[0]
    # 9 degrees of freedom: 27.9 is exceeded once in a thousand seeds.
    assert ((np.bincount(ids, minlength=10) - expected) ** 2 / expected).sum() < 27.9


@pytest.mark.parametrize(
    "decoding", [Decoding(), Decoding(0.7, repetition_penalty=1.8), Decoding(1.3, 5, 0.9, 0.02)]
)
def test_generated_ids_are_the_documented_draws(decoding, make_sampler):
    sampler = make_sampler()
    [sample] = sampler.generate(decoding=decoding, seed=9, length=150, first=6)
    logits, state, _ = sampler.feed(np.array([sampler.start]))
    expected = []
    for position in range(150):
        recent = np.array([expected[-64:] or [-1]])
        u = uniforms(9, np.array([6]), position)[0]
        sums = np.cumsum(distribution(logits, decoding, recent)[0])
        expected.append(next(i for i in range(10) if sums[i] > u * sums[-1]))
        logits, state = sampler.step(np.array(expected[-1:]), state)
    assert sample.ids.tolist() == expected


def test_memory_does_not_grow_with_the_count(make_sampler):
    samples = make_sampler(mode="lines").generate(10**12, seed=1, length=20)
    assert [sample.index for sample in itertools.islice(samples, 2 * MAX_ROWS)] == list(
        range(2 * MAX_ROWS)
    )


def test_rows_wait_for_the_oldest_sample_rather_than_pile_up(make_sampler, monkeypatch):
    sampler = make_sampler(mode="lines")
    expected = texts(sampler.generate(50, seed=6))
    monkeypatch.setattr(numpy_engine, "MAX_WAITING", 3)
    monkeypatch.setattr(compiled_rows, "MAX_WAITING", 3)
    given, ahead = 0, []
    step, run = numpy_engine.Steps.write_step, compiled_rows.Rows.run

    def watched_step(self, ids, state):
        ahead.append(len(ids))
        return step(self, ids, state)

    def watched_run(self):
        ahead.append(
            self.job.stop - given
        )  # of the samples begun or about to begin, those not given out
        return run(self)

    monkeypatch.setattr(numpy_engine.Steps, "write_step", watched_step)
    monkeypatch.setattr(compiled_rows.Rows, "run", watched_run)
    for sample, text in zip(sampler.generate(50, seed=6, threads=1), expected, strict=True):
        assert sample.text == text
        given += 1
    assert 1 < max(ahead) <= 3


@needs_kernel
def test_engines_write_the_same_number_of_nats():
    """100,000 characters of each, drawn from different seeds."""
    means, variances = [], []
    for seed, engine in enumerate(("numpy", "compiled")):
        sampler = random_pair(engine, scale=1.5)[1]
        nats = np.array(
            [sample.nats / 250 for sample in sampler.generate(400, seed=seed, length=250)]
        )
        means.append(nats.mean())
        variances.append(nats.var(ddof=1) / len(nats))
    # Samples are independent: 4.4 standard errors of the difference are exceeded once in 100,000
    # pairs of seeds.
    assert abs(means[0] - means[1]) < 4.4 * sum(variances) ** 0.5
    assert sum(variances) ** 0.5 < 0.02 * means[0]  # and a difference of a tenth would be seen


def test_count_zero_gives_no_samples(make_sampler):
    assert list(make_sampler(mode="lines").generate(0)) == []


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_length_zero_gives_the_prompt(mode, make_sampler):
    [sample] = make_sampler(mode=mode).generate(length=0, prime="ab")
    assert (sample.text, sample.chars, sample.nats) == ("ab", 0, 0.0)


def test_a_line_ends_at_its_newline_which_is_counted_and_not_shown(make_sampler):
    for sample in make_sampler(mode="lines").generate(20, seed=2):
        assert sample.ids.tolist().index(0) == len(sample.ids) - 1
        assert "\n" not in sample.text
        assert sample.chars == len(sample.text) + 1


def test_a_line_is_cut_at_its_length(make_sampler):
    assert all(
        sample.chars <= 3 for sample in make_sampler(mode="lines").generate(30, seed=2, length=3)
    )


def test_a_stream_has_exactly_its_length_after_the_prompt(make_sampler):
    [sample] = make_sampler().generate(length=77, prime="abc", seed=1)
    assert sample.text.startswith("abc")
    assert len(sample.text) == 80


def test_tiny_temperature_equals_greedy(make_sampler):
    sampler = make_sampler()
    cold = texts(sampler.generate(length=200, decoding=Decoding(1e-8), seed=1))
    assert cold == texts(sampler.generate(length=200, decoding=Decoding(0), seed=2))


# Prompts and ends


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_until_is_the_end_and_is_kept(mode, make_sampler):
    sampler = make_sampler(mode=mode)
    whole = texts(sampler.generate(9, seed=3, length=400))
    for text, cut in zip(
        whole, texts(sampler.generate(9, seed=3, length=400, until="ab")), strict=True
    ):
        assert cut == (text[: text.index("ab") + 2] if "ab" in text else text)
    assert any("ab" in text for text in whole)


@pytest.mark.parametrize("until", ["a", "b", "aab", "abab", "aaa", "abaabab", "baabaabbb"])
def test_until_is_found_where_its_beginning_repeats_itself(until, coin):
    for sample in coin.generate(40, seed=3, length=3000):
        [cut] = coin.generate(seed=3, length=3000, first=sample.index, until=until)
        assert cut.text == sample.text[: sample.text.index(until) + len(until)]


def test_until_of_a_whole_page_is_found_across_pieces(coin):
    [whole] = coin.generate(seed=1, length=9000)
    until = whole.text[700:5800]
    [cut] = coin.generate(seed=1, length=9000, until=until)
    assert cut.text == whole.text[:5800]
    assert b"".join(coin.stream(seed=1, length=9000, until=until)).decode() == whole.text[:5800]


@pytest.mark.parametrize("until", ["ab", "ba"])
def test_until_and_length_end_at_whichever_comes_first(until, coin):
    for sample in coin.generate(60, seed=4, length=3, until=until):
        assert len(sample.text) == 3 or sample.text.endswith(until)
        assert until not in sample.text[:-1]


def test_a_newline_ends_a_line_before_a_later_until(make_sampler):
    sampler = make_sampler(mode="lines")
    whole = texts(sampler.generate(60, seed=3, length=400))
    cut = texts(sampler.generate(60, seed=3, length=400, until="a"))
    assert cut == [text[: text.index("a") + 1] if "a" in text else text for text in whole]
    assert {"a" in text for text in whole} == {True, False}


@pytest.mark.parametrize("length", [1, 2, 33, 129, 4097, 20_001])
def test_a_sample_has_exactly_its_length_and_its_draws(length, coin):
    """Around every size at which the kernel makes room."""
    for sample in coin.generate(2, seed=5, length=length):
        expected = uniforms(5, np.array([sample.index]), np.arange(length)) >= 0.5
        np.testing.assert_array_equal(sample.ids, expected)


@pytest.mark.timeout(60)
def test_one_sample_can_be_longer_than_any_piece(coin):
    [sample] = coin.generate(1, seed=5, length=10_000)
    np.testing.assert_array_equal(
        sample.ids, uniforms(5, np.zeros(1, int), np.arange(10_000)) >= 0.5
    )


def test_until_does_not_count_the_prompt(make_sampler):
    [sample] = make_sampler().generate(length=20, prime="abab", until="ab", seed=1)
    assert len(sample.text) > 4


def test_the_prompt_is_read_after_the_start(make_sampler):
    sampler = make_sampler()
    [primed] = sampler.generate(prime="ka", decoding=Decoding(0), length=1)
    logits, _, _ = sampler.feed(np.concatenate([[sampler.start], sampler.vocabulary.encode("ka")]))
    assert primed.ids.tolist() == [int(logits.argmax())]


def test_the_prompt_gets_the_normalisation_of_the_corpus(make_pair):
    network, plain = make_pair()
    tensors = {name: value.numpy() for name, value in network.tensors().items()}
    settings = plain.settings.with_values("text", normalize="nfc", newlines="lf")
    sampler = Sampler.from_tensors(settings, plain.vocabulary, "stream", 0, tensors)
    [sample] = sampler.generate(prime="e\u0301\r\na", length=0)
    assert sample.text == "é\na"


@pytest.mark.parametrize(
    ("mode", "options", "message"),
    [
        ("stream", {"prime": "azb"}, "--prime has 1 character.*U\\+007A"),
        ("stream", {"prime": "\udcff"}, "--prime"),
        ("lines", {"prime": "a\nb"}, "--prime has a newline"),
        ("stream", {"until": "az"}, "--until 'az'.*U\\+007A"),
        ("lines", {"until": "\nz"}, "--until.*U\\+007A"),
        ("stream", {"length": -1}, "--length -1"),
        ("stream", {"count": -1}, "--count -1"),
        ("stream", {"seed": -1}, "--seed -1"),
        ("stream", {"seed": 2**63}, "--seed 9223372036854775808"),
        ("stream", {"unknown": "drop"}, "--unknown 'drop'"),
        ("stream", {"prime": "z", "unknown": "replace"}, "--prime"),
    ],
)
def test_a_wrong_request_is_one_line_before_anything_is_drawn(mode, options, message, make_sampler):
    with pytest.raises(SettingsError, match=message) as caught:
        make_sampler(mode=mode).generate(**options)
    assert "\n" not in str(caught.value)


def test_unknown_characters_of_a_prompt_can_be_skipped(make_sampler):
    [sample] = make_sampler().generate(prime="azb", unknown="skip", length=0)
    assert sample.text == "ab"
