"""An exported page in a headless Chromium: what a stranger's model could try, and what it answers.

The rules of WCAG 2.2 are looked at by axe-core, and by scripts of these tests.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from browser_support import longest_task_ms, needs_chromium, with_alphabet
from export_support import network
from wcag import MEDIA, violations

from charrnn.export.page import page_of
from charrnn.modelfile import MODEL_FILE, model_meta
from charrnn.storage import write_tensors
from charrnn.text.vocabulary import Vocabulary

pytestmark = [pytest.mark.medium, needs_chromium]
CONTRAST = (Path(__file__).parent.parent / "report" / "contrast.js").read_text()
HOSTILE = "<script>injected=1<\u2028\u202e\u2066&\"'`--><img src=x onerror=injected=1>"
CLOSING = "</script></title></style><svg onload=injected=1>\x00"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The page that the command makes of a run whose name, text and alphabet try to get out."""
    folder = tmp_path_factory.mktemp("hostile")
    run = folder / HOSTILE
    (run / "corpus").mkdir(parents=True)
    symbols = tuple(sorted({10, *map(ord, HOSTILE + CLOSING)}))
    model = with_alphabet(network(hidden_size=9), Vocabulary("char", symbols))
    meta = model_meta("charrnn-model", model.settings, model.vocabulary, "lines", 0)
    meta |= {"corpus": CLOSING, "fingerprint": "0" * 64}
    write_tensors(run / MODEL_FILE, model.tensors, meta)
    page = folder / "page.html"
    command = [sys.executable, "-m", "charrnn", "export", str(run), "--html", str(page)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert said.returncode == 0, said.stderr
    return page


def write(page):
    page.get_by_role("button", name="Write").click()
    page.locator("#box-out[aria-busy=false] .char").first.wait_for(state="attached")


def test_a_hostile_run_injects_nothing(opened, hostile):
    page = opened(hostile)
    page.locator("#box-begin").fill(CLOSING)
    write(page)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("typeof injected") == "undefined"
    assert page.locator("body img, body svg, body style").count() == 0
    assert page.locator("body script").count() == 3
    assert page.heard == []
    names = page.evaluate(
        "[...document.querySelectorAll('*')].flatMap((one) => one.getAttributeNames())"
    )
    assert not [name for name in names if name.startswith("on") or name in ("src", "action")]
    shown = page.text_content("html")
    assert not {*shown} & {"\u2028", "\u202e", "\x00", "\u2066"}
    assert r"\u202e" in page.locator("h1").inner_text()


def test_nothing_can_be_fetched_or_run_even_by_the_pages_own_script(opened):
    page = opened(network(hidden_size=9))
    page.evaluate("""
        window.refused = [];
        addEventListener("securitypolicyviolation",
            (event) => refused.push(event.effectiveDirective));
        fetch("https://example.org/").catch(() => {});
        new Image().src = "https://example.org/x.png";
        const script = document.createElement("script"), pressed = document.createElement("p");
        script.textContent = "window.injected = 1";
        document.body.append(script, pressed);
        pressed.setAttribute("onclick", "window.injected = 1");
        pressed.click();
        navigator.sendBeacon("https://example.org/");
    """)
    page.wait_for_function("refused.length >= 5")
    refused = page.evaluate("refused")
    assert {*refused} == {"connect-src", "img-src", "script-src-elem", "script-src-attr"}
    assert refused.count("connect-src") == 2
    assert page.evaluate("window.injected") is None


def test_headings_go_down_in_order_and_every_landmark_is_there_once(opened):
    page = opened(network(hidden_size=9))
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(levels, levels[1:], strict=False))
    assert [page.locator(name).count() for name in ("header", "main", "footer")] == [1, 1, 1]
    assert page.evaluate("document.documentElement.lang") == "en"
    outside = page.locator("body > :not(header, main, footer, script, noscript)")
    assert outside.count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_focus_can_be_seen_on_everything_that_takes_it(opened, scheme):
    """An outline of 2 px, whose colour has a contrast of 3 : 1 with the page."""
    page = opened(network(hidden_size=9), scheme=scheme)
    write(page)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.locator("#inside-what").select_option("layer0.update")
    page.locator("#box-out[aria-busy=false]").wait_for()
    page.locator("#box-begin").focus()
    seen = []
    for _ in range(25):
        seen.append(
            page.evaluate("""() => {
              const element = document.activeElement;
              const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(element);
              return [element.id || element.textContent, outlineStyle, outlineWidth, outlineColor];
            }""")
        )
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break
    assert len(seen) >= 14, seen
    assert {tuple(one[1:3]) for one in seen} == {("solid", "2px")}, seen
    assert len({one[3] for one in seen}) == 1
    page.evaluate(
        "(colour) => { const text = document.createElement('p'); text.textContent = 'focus';"
        " text.style.fontSize = '24px'; text.style.color = colour;"
        " document.querySelector('main').replaceChildren(text); }",
        seen[0][3],
    )
    assert page.evaluate(CONTRAST)["failed"] == []


@pytest.mark.parametrize("medium", MEDIA)
def test_axe_finds_no_fault(browser, tmp_path, medium):
    place = tmp_path / "page.html"
    place.write_bytes(page_of(network(hidden_size=9)))

    def used(page):
        write(page)
        page.locator("#inside-what").select_option("layer0.update")
        page.locator("#box-out[aria-busy=false]").wait_for()
        page.evaluate("document.querySelector('#box-out .char').click()")

    assert violations(browser, place, medium, used) == []


# Long texts


def ending_soon(mode):
    """A network that ends a line after a few characters."""
    model = network("gru", hidden_size=9, mode=mode)
    model.tensors["head.bias"][0] += 0.5
    return model


def test_a_stream_stands_in_blocks_that_end_where_lines_do(opened):
    page = opened(ending_soon("stream"))
    page.locator("#box-count").fill("2000")
    write(page)
    blocks = page.locator("#box-out .block").evaluate_all(
        "(all) => all.map((one) => one.textContent)"
    )
    assert len(blocks) > 3
    assert all(block.endswith("\n") and len(block) >= 300 for block in blocks[:-1])
    assert sum(map(len, blocks)) == 2000
    heights = page.locator("#box-out").evaluate("""(out) => ["block", "inline"].map((display) => {
      for (const block of out.children) {
        block.style.contentVisibility = "visible";
        block.style.display = display;
      }
      return out.scrollHeight;
    })""")
    assert heights[0] == heights[1]  # no line more, and none less, for being in blocks


def test_a_character_chosen_in_an_early_block_cuts_all_that_stood_behind(opened):
    page = opened(ending_soon("stream"))
    page.locator("#box-count").fill("1500")
    write(page)
    before = page.locator("#box-out").text_content()
    page.locator("#box-out .char:not(:empty)").nth(400).scroll_into_view_if_needed()
    page.evaluate("document.querySelectorAll('#box-out .char')[400].click()")
    page.locator("#box-count").fill("1")
    choice = page.locator(".likeliest button").nth(1)
    chosen = choice.locator("b").inner_text().replace("↵", "\n")
    choice.click()
    page.locator("#box-out[aria-busy=false]").wait_for()
    after = page.locator("#box-out").text_content()
    assert after[:402] == before[:401] + chosen
    blocks = page.locator("#box-out .block").evaluate_all(
        "(all) => all.map((one) => one.textContent)"
    )
    assert "".join(blocks) == after
    assert all(block.endswith("\n") for block in blocks[:-1])


def test_many_lines_stand_in_blocks_of_sixty(opened):
    page = opened(ending_soon("lines"))
    page.locator("#box-count").fill("130")
    write(page)
    counts = page.locator("#box-out ol").evaluate_all(
        "(all) => all.map((one) => one.children.length)"
    )
    assert counts == [60, 60, 10]


def test_another_unit_colours_every_character_of_a_long_text(opened):
    page = opened(ending_soon("stream"))
    page.locator("#box-count").fill("1200")
    write(page)
    for choice in ("layer0.hidden", "surprise", ""):
        page.locator("#inside-what").select_option(choice)
        page.locator("#box-out[aria-busy=false]").wait_for()
        shares = page.locator("#box-out .char").evaluate_all(
            "(all) => all.map((one) => Number(one.style.getPropertyValue('--a')))"
        )
        assert len(shares) == 1200
        assert (np.array(shares) > 0).mean() == pytest.approx(float(bool(choice)), abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stream", "lines"])
def test_no_task_of_the_page_takes_50_ms_while_a_person_types_beside_a_long_text(
    browser, tmp_path, mode
):
    """In processor time, so that other programs do not matter: 10,000 characters, 1,500 lines."""
    place = tmp_path / "page.html"
    place.write_bytes(page_of(ending_soon(mode)))
    page = browser.new_page()
    page.goto(place.as_uri())
    page.locator("#box-count").fill("10000" if mode == "stream" else "1500")

    def typed():
        page.get_by_role("button", name="Write").click()
        page.locator("#box-begin").press_sequentially("abcabcabc", delay=50)
        page.locator("#box-out[aria-busy=false]").wait_for(timeout=500_000)
        page.locator("#box-begin").press_sequentially("abcabcabc", delay=50)

    assert longest_task_ms(browser, page, typed) < 50
    page.close()
