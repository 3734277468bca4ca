"""The page of a comparison in a headless Chromium: silent, self-contained and readable."""

import pytest
from comparison_support import compared_in
from page_support import CONTRAST, HOSTILE, SCRIPT, needs_chromium
from wcag import MEDIA, violations

from charrnn.report.comparison import gather_comparison
from charrnn.report.page import comparison_page

pytestmark = [pytest.mark.medium, needs_chromium, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The page of a comparison whose text, name and samples try to get out of it."""
    folder = tmp_path_factory.mktemp("hostile")
    text = folder / "<img src=x onerror=alert(1)>.txt"
    text.write_text(HOSTILE * 60)
    runs = folder / "c<script>alert(1)<"
    compared_in(runs, text, ["weight-decay=0.5,0.1,0"], mode="stream", seq_length="16")
    contents = gather_comparison(runs)
    for one in contents["written"]:
        one["texts"] = [HOSTILE * 2]
    contents["verdicts"].append(HOSTILE)
    page = runs / "report.html"
    page.write_bytes(comparison_page(contents))
    return page


@pytest.fixture
def opened(browser, place):
    contexts = []

    def open_page(width=1280, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.heard = []
        page.on("console", lambda message: page.heard.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: page.heard.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (page.heard.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: page.heard.append(f"request: {request.url}"))
        page.goto(place.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_a_hostile_text_injects_nothing_and_nothing_leaves_the_page(opened, place):
    page = opened()
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.heard == [f"request: {place.as_uri()}"]
    assert page.evaluate("window.injected") is None
    assert page.locator("script").count() == 2
    assert page.locator("img, iframe, style, link, form").count() == 1  # the head's own style
    shown = page.inner_text("body")
    assert SCRIPT in shown
    assert r"\u202egnp.exe\u202c" in shown
    assert not set(page.text_content("html")) & set("\x00\x1b\u202e\u2066\u2028\u200b\ufeff")


def test_each_setting_has_one_colour_in_curves_intervals_and_samples(opened):
    colours = """[".legend .key.series-N i", "#chart-by-step g.series-N", "g.gap.series-N .reach",
        ".swatch.series-N"].map((one) => {
      const element = document.querySelector(one.replaceAll("N", place));
      const style = getComputedStyle(element);
      return one.startsWith(".swatch") ? style.backgroundColor : style.color;
    })"""
    page = opened()
    seen = [set(page.evaluate(f"(place) => {colours}", place)) for place in (1, 2)]
    assert [len(one) for one in seen] == [1, 1]
    assert seen[0] != seen[1]


@pytest.mark.parametrize(("value", "anchor"), [(-0.5, "start"), (-0.3, "middle"), (0, "end")])
def test_a_difference_is_named_above_its_dot_and_inside_the_frame(opened, value, anchor):
    """The outermost seeds at -0.5 and 0."""
    gap = {"name": "gru 512", "colour": 1, "mean": value, "low": None, "high": None}
    drawing = """(gap) => {
      document.body.append(intervals([{ ...gap, seeds: [-0.5, 0] }], "rnn", "bits"));
      const svg = [...document.querySelectorAll(".intervals svg")].at(-1);
      const [word, dot] = ["text", ".mean"].map((one) => svg.querySelector(`.gap ${one}`));
      const box = word.getBBox();
      return [word.getAttribute("text-anchor"), box.x, box.x + box.width,
        +dot.getAttribute("cx"), svg.viewBox.baseVal.width];
    }"""
    found, left, right, dot, width = opened().evaluate(drawing, gap)
    assert found == anchor
    assert 0 < left < dot < right < width


def test_there_is_a_thin_line_for_each_training(opened):
    assert opened().locator("#chart-by-step .strand").count() == 3 * 2


def test_charts_answer_to_keys(opened):
    page = opened()
    reader = page.locator("#chart-by-step [role=slider]")
    reader.focus()
    page.keyboard.press("Home")
    first = page.locator("#chart-by-step .where").inner_text()
    page.keyboard.press("End")
    assert page.locator("#chart-by-step .where").inner_text() == "at step 12" != first


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(opened, scheme):
    page = opened(scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    texts = page.evaluate(CONTRAST)
    assert texts["seen"] > 150
    assert not texts["failed"], texts["failed"][:5]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_line_has_the_contrast_of_wcag_for_graphics(opened, scheme):
    """3 : 1 with the page, by the contrast that the texts are measured with."""
    page = opened(scheme=scheme)
    page.evaluate(
        "document.querySelector('main').replaceChildren(...[...Array(8).keys()].map((place) => {"
        " const text = make('p', { class: `series-${place}` }, `colour ${place}`);"
        " text.style.color = 'var(--colour)'; text.style.fontSize = '24px'; return text; }))"
    )
    texts = page.evaluate(CONTRAST)
    assert not texts["failed"], texts["failed"]


def test_a_phone_needs_no_sideways_scrolling_and_headings_go_down_in_order(opened):
    page = opened(width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map((each) => Number(each.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(levels, levels[1:], strict=False))


def test_on_paper_it_is_light_with_curves_samples_and_verdict(opened):
    page = opened(scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for part in (".verdicts", "#chart-by-step svg", ".intervals svg", ".samples figure"):
        assert page.locator(part).first.is_visible(), part
    assert page.locator("#learning > .hint").is_hidden()


@pytest.mark.parametrize("medium", MEDIA)
def test_axe_finds_no_fault(browser, place, medium):
    assert violations(browser, place, medium) == []
