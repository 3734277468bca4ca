"""The box of an exported page in a headless Chromium: keys, contrast, and nothing leaves it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from browser_support import needs_chromium, with_alphabet
from export_support import network

from charrnn.text.novelty import make_filter
from charrnn.text.vocabulary import Vocabulary

pytestmark = [pytest.mark.medium, needs_chromium]
CONTRAST = (Path(__file__).parent.parent / "report" / "contrast.js").read_text()
# What could break out of a page, steer it, or hide in it.
HOSTILE = "</script><img src=x onerror=alert(1)>\u2028\u202e\x00\u2066&\"'`"


def model_of_lines(**more):
    """A network that soon ends its lines."""
    model = network("gru", hidden_size=9, **more)
    model.tensors["head.bias"][0] += 1.0
    return model


def written(page):
    """Press Write, wait for the end, and return the lines without their marks."""
    page.get_by_role("button", name="Write").click()
    page.locator("#box-out[aria-busy=false] .char").first.wait_for(state="attached")
    return page.locator("#box-out .line").all_text_contents()


def test_a_person_with_the_keyboard_alone_writes_a_name_and_chooses_a_character(opened):
    page = opened(model_of_lines())

    def tab_to(selector):
        for _ in range(30):
            if page.evaluate("(one) => document.activeElement.matches(one)", selector):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"no way to {selector}")

    tab_to("#box-begin")
    page.keyboard.type("ab")
    page.keyboard.press("Enter")
    page.locator("#box-out[aria-busy=false] .char").first.wait_for(state="attached")
    lines = page.locator("#box-out .line").all_text_contents()
    assert len(lines) == 10 and all(line.startswith("ab") for line in lines)
    tab_to("#box-out")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".read").inner_text() == "b"
    assert page.locator(".unseen").inner_text().startswith("b, ")
    page.keyboard.press("Enter")
    choices = page.locator(".likeliest button")
    assert choices.count() == 7  # all characters of this alphabet
    assert (
        page.evaluate("document.activeElement.parentElement.parentElement.className") == "likeliest"
    )
    page.keyboard.press("ArrowDown")
    wanted = choices.nth(1).locator("b").inner_text()
    page.keyboard.press("Enter")
    page.locator("#box-out[aria-busy=false]").wait_for()
    first = page.locator("#box-out .line").first.text_content()
    assert first.startswith("ab" + wanted.replace("↵", ""))
    assert page.heard == []


def test_equal_seeds_write_equal_lines_and_new_ones_others(opened):
    page = opened(model_of_lines())
    page.locator("#box-fresh").uncheck()
    first = written(page)
    assert written(page) == first
    page.locator("#box-fresh").check()
    assert written(page) != first


def test_going_on_adds_lines_that_follow(opened):
    page = opened(model_of_lines())
    page.locator("#box-fresh").uncheck()
    page.locator("#box-count").fill("20")
    all_lines = written(page)
    page.locator("#box-count").fill("10")
    assert written(page) == all_lines[:10]
    page.get_by_role("button", name="Go on").click()
    page.locator("#box-out[aria-busy=false] li:nth-child(20)").wait_for(state="attached")
    assert page.locator("#box-out .line").all_text_contents() == all_lines


def test_a_stream_stops_at_once_and_goes_on(opened):
    page = opened(network(mode="stream", hidden_size=200))  # slow enough to be stopped
    page.locator("#box-count").fill("10000")
    page.get_by_role("button", name="Write").click()
    page.locator("#box-out .char").first.wait_for(state="attached")
    page.get_by_role("button", name="Stop").click()
    page.locator("#box-out[aria-busy=false]").wait_for()
    shown = len(page.locator("#box-out").text_content())
    assert 0 < shown < 10000 and page.get_by_role("button", name="Stop").is_disabled()
    page.locator("#box-count").fill("25")
    page.get_by_role("button", name="Write").click()
    page.locator("#box-out[aria-busy=false] .char:nth-child(25)").wait_for(state="attached")
    page.get_by_role("button", name="Go on").click()
    page.locator("#box-out[aria-busy=false] .char:nth-child(50)").wait_for(state="attached")
    assert page.locator("#box-out .char").count() == 50


def test_known_lines_are_marked(opened, monkeypatch):
    model = model_of_lines()
    page = opened(model)
    page.locator("#box-fresh").uncheck()
    lines = written(page)
    known = [line for line in lines if line][:3]
    text = "".join(f"{line}\n" for line in known)
    ids = model.vocabulary.encode(text)
    learnt = make_filter(ids, model.vocabulary, "lines", "0" * 64)
    from charrnn.export import model as packing

    monkeypatch.setattr(packing, "_filters", lambda _: [packing.packed(learnt.words)])
    page = opened(model)
    page.locator("#box-fresh").uncheck()
    assert written(page) == lines
    marks = page.locator("#box-out small").all_text_contents()
    expected = ["known" if line in known else "new" for line in lines]
    assert marks == expected
    assert f"{expected.count('new')} of them new" in page.locator(".box > .hint").first.inner_text()


def test_a_hostile_model_injects_nothing_and_nothing_leaves_the_page(opened):
    symbols = tuple(sorted({10, *map(ord, HOSTILE)}))
    model = with_alphabet(network(hidden_size=9, corpus=HOSTILE), Vocabulary("char", symbols))
    model = dataclasses.replace(model, path=Path(f"{HOSTILE.replace('/', '')}.safetensors"))
    page = opened(model)
    page.locator("#box-begin").fill("<img src=x onerror=alert(1)>")
    written(page)
    page.locator("#box-out .char:not(:empty)").nth(3).click()
    page.locator("#inside-what").select_option("layer0.update")
    page.locator("#box-out[aria-busy=false]").wait_for()
    tags = page.evaluate(
        "[...document.body.querySelectorAll('*')].map((one) => one.tagName.toLowerCase())"
    )
    assert not {*tags} & {"img", "iframe", "style", "link", "base", "form", "object", "embed"}
    assert tags.count("script") == 3
    assert page.heard == []
    assert not {*page.text_content("html")} & {"\u2028", "\u202e", "\x00", "\u2066"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(opened, scheme):
    page = opened(model_of_lines(), scheme=scheme)
    written(page)
    page.locator("#box-out .char:not(:empty)").nth(2).click()
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for choice in ("", "surprise", "layer0.hidden"):
        page.locator("#inside-what").select_option(choice)
        page.locator("#box-out[aria-busy=false]").wait_for()
        page.evaluate(
            "document.querySelectorAll('.char').forEach((char, k) => "
            "{ if (k % 3) char.style.setProperty('--a', '1'); })"
        )
        texts = page.evaluate(CONTRAST)
        assert texts["seen"] > 60 and not texts["failed"], texts["failed"][:5]


def test_a_phone_needs_no_sideways_scrolling_and_every_control_has_a_name(opened):
    page = opened(model_of_lines(), width=390)
    written(page)
    page.locator("#box-out .char:not(:empty)").nth(2).click()
    page.locator("#inside-what").select_option("layer0.reset")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    unnamed = page.evaluate(
        "[...document.querySelectorAll('select, input, textarea, button, canvas, [role=group]')]"
        ".filter((one) => !(one.labels && one.labels.length) && !one.textContent.trim()"
        " && !one.getAttribute('aria-label')).map((one) => one.outerHTML.slice(0, 80))"
    )
    assert unnamed == []


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru-before"])
def test_a_unit_colours_the_text_by_what_it_did(opened, cell):
    from charrnn.insight.cells import trace

    model = network(cell, mode="stream", hidden_size=9, layers=2)
    page = opened(model)
    page.locator("#box-count").fill("40")
    page.get_by_role("button", name="Write").click()
    page.locator("#box-out[aria-busy=false] .char:nth-child(40)").wait_for(state="attached")
    text = page.locator("#box-out").text_content()
    ids = np.append(model.start, model.vocabulary.encode(text))
    activations = trace(model, ids).activations
    options = page.locator("#inside-what option").evaluate_all(
        "(all) => all.map((one) => one.value)"
    )
    assert {*options} == {"", "surprise", *activations}
    for name in activations:
        page.locator("#inside-what").select_option(name)
        page.locator("#inside-unit").fill("4")
        page.locator("#box-out[aria-busy=false]").wait_for()
        values = activations[name][1:, 4]
        if name.split(".")[1] in ("input", "forget", "output", "reset", "update"):
            values = 2 * values - 1
        elif name.endswith(".cell"):
            values = values / max(1, np.abs(values).max())
        shown = page.locator("#box-out .char").evaluate_all(
            "(all) => all.map((one) => (one.classList.contains('cold') ? -1 : 1)"
            " * Number(one.style.getPropertyValue('--a')))"
        )
        np.testing.assert_allclose(shown, values, atol=2e-3)


def test_a_page_without_leave_has_no_filter(opened):
    page = opened(model_of_lines(), with_filter=False)
    written(page)
    assert page.locator("#box-out small").count() == 0
