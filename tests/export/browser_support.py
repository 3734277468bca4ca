"""Pages with models in them, in a headless Chromium, beside the sampler that they must equal."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
from export_support import network

from charrnn.layout import expected_shapes
from charrnn.text.vocabulary import Vocabulary

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
REQUIRED = os.environ.get("BROWSER_TESTS") == "required" or bool(os.environ.get("CI"))
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not REQUIRED, reason="no Chromium here; .ci/run installs one"
)
# What the page's own engine makes of a model: greedy text, the distribution after prompts, draws.
ENGINE = """([prompts, length, seed, label]) => {
  const machine = machineOf(model);
  const how = (temperature) => ({ temperature, topK: 0, topP: 1, minP: 0 });
  const after = (ids, decoding, most) => {
    const story = new Story(machine, ids, seed, 0, label);
    const end = model.newline;
    while (story.waiting.length || story.drawn < most) {
      if (!story.advance(decoding, most)) break;
    }
    return story;
  };
  return {
    greedy: after([], how(0), length).ids.slice(1),
    drawn: after([], how(0.8), 100).ids.slice(1),
    shares: prompts.map((ids) => [...plainShares(after(ids, how(1), 0).scores)]),
  };
}"""


def launch(driver):
    return driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


def with_alphabet(model, vocabulary):
    """The network of a model for another alphabet, with random weights."""
    rng = np.random.default_rng(7)
    shapes = expected_shapes(model.settings.model, len(vocabulary))
    tensors = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    return dataclasses.replace(model, vocabulary=vocabulary, tensors=tensors)


def of_bytes(**more):
    return with_alphabet(
        network(unit="byte", mode="stream", **more), Vocabulary("byte", tuple(range(256)))
    )


def with_rare(**more):
    return with_alphabet(network(mode="stream", **more), Vocabulary.with_bytes([0xE9, 0x20AC]))


def longest_task_ms(browser, page, do):
    """The processor time of the longest task of a page's main thread while something is done."""
    categories = ["toplevel", "__metadata"]
    browser.start_tracing(page=page, categories=categories)
    do()
    events = json.loads(browser.stop_tracing())["traceEvents"]
    threads = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks = [
        event["tdur"] / 1000
        for event in events
        if event["ph"] == "X" and "tdur" in event and (event["pid"], event["tid"]) in threads
    ]
    assert len(tasks) > 20
    return max(tasks)
