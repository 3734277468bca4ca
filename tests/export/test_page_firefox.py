"""An exported page in a headless Firefox: what it writes, by the keyboard alone, and no request."""

import http.server
import json
import threading
from typing import ClassVar

import numpy as np
import pytest
from browser_support import ENGINE
from firefox_support import Firefox, needs_firefox
from test_page_box import model_of_lines
from test_page_engine import LENGTH, ids_of, model_of, prompts_of

from charrnn.export.page import page_of
from charrnn.sampling.decode import Decoding, distribution
from charrnn.sampling.engine import Sampler

pytestmark = [pytest.mark.medium, needs_firefox]
# Each part of the engine once: the other cells and skips differ in what Chromium's tests see.
MODELS = ("lstm dense", "gru residual tied", "bytes", "mixture with rare characters")


def until(condition):
    """A function of JavaScript that waits for a condition."""
    return f"""async () => {{
      while (!({condition})) await new Promise((done) => setTimeout(done, 20));
    }}"""


IS_DONE = until("document.querySelector('#box-out[aria-busy=false] .char')")


@pytest.fixture(scope="module")
def firefox():
    browser = Firefox()
    yield browser
    browser.close()


def opened(firefox, tmp_path, model, **more):
    place = tmp_path / "page.html"
    place.write_bytes(page_of(model, **more))
    firefox.open(place)


@pytest.mark.parametrize("name", MODELS)
def test_the_page_writes_what_the_command_writes(firefox, tmp_path, name):
    model = model_of(name)
    sampler = Sampler(model, weights="float32", engine="numpy")
    size = model.vocabulary.characters if model.vocabulary.spelling else len(model.vocabulary)
    prompts = prompts_of(size, 10)
    opened(firefox, tmp_path, model, weights="float32")
    answer = firefox.evaluate(ENGINE, [prompts, LENGTH, 1, 0])
    assert answer["greedy"] == ids_of(sampler, 0.0, LENGTH)
    assert answer["drawn"] == ids_of(sampler, 0.8, 100)
    for ids, shares in zip(prompts, answer["shares"], strict=True):
        logits = sampler.feed(np.array([model.start, *ids]))[0]
        np.testing.assert_allclose(shares, distribution(logits, Decoding())[0], atol=1e-5)
    assert firefox.heard == []


def test_a_person_with_the_keyboard_alone_writes_names_and_chooses_a_character(firefox, tmp_path):
    opened(firefox, tmp_path, model_of_lines())

    def tab_to(selector):
        for _ in range(30):
            if firefox.evaluate("(one) => document.activeElement.matches(one)", selector):
                return
            firefox.press("Tab")
        raise AssertionError(f"no way to {selector}")

    tab_to("#box-begin")
    firefox.press("a", "b", "Enter")
    firefox.evaluate(IS_DONE)
    lines = "() => [...document.querySelectorAll('#box-out .line')].map((one) => one.textContent)"
    found = firefox.evaluate(lines)
    assert len(found) == 10 and all(line.startswith("ab") for line in found)
    tab_to("#box-out")
    firefox.press("ArrowRight", "ArrowRight", "Enter")
    firefox.evaluate(until("document.activeElement.closest('.likeliest')"))
    firefox.press("ArrowDown")
    wanted = firefox.evaluate("() => document.activeElement.querySelector('b').textContent")
    firefox.press("Enter")
    begun = json.dumps("ab" + wanted.replace("↵", ""))
    firefox.evaluate(until(f"({lines})()[0].startsWith({begun})"))
    assert firefox.heard == []


class Server(http.server.BaseHTTPRequestHandler):
    """Answers everybody, and remembers what was asked for."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words):
        pass


def test_a_page_reaches_nobody_even_where_its_own_script_tries(firefox, tmp_path):
    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    opened(firefox, tmp_path, model_of_lines())
    tried = """async (port) => {
      const image = new Image();
      const isSeen = new Promise((done) => (image.onload = image.onerror = done));
      image.src = `http://127.0.0.1:${port}/x.png`;
      await isSeen;
      const address = `http://127.0.0.1:${port}/y`;
      return fetch(address, { mode: "no-cors" }).then(() => "fetched", () => "refused");
    }"""
    assert firefox.evaluate(tried, server.server_address[1]) == "refused"
    assert Server.asked == []
    firefox.heard.clear()
    server.shutdown()
    server.server_close()
