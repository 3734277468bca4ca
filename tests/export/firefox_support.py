"""A headless Firefox, driven over WebDriver BiDi, which it speaks by itself.

Playwright's Firefox is a build of its own; this one is the one that people have.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from tornado.websocket import websocket_connect

FIREFOX = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
needs_firefox = pytest.mark.skipif(
    FIREFOX is None, reason="no Firefox here; .ci/run installs Debian's where it can"
)
ADDRESS = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
ANSWER_S = 120
PREFERENCES = {
    # No page opens beside ours, and nothing is asked.
    "browser.aboutwelcome.enabled": "false",
    "browser.shell.checkDefaultBrowser": "false",
    "browser.startup.page": "0",
    "datareporting.policy.dataSubmissionPolicyBypassNotification": "true",
    "termsofuse.bypassNotification": "true",
}
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "ArrowRight": "\ue014", "ArrowDown": "\ue015"}


class Firefox:
    """A browser. heard: what the pages said, and every address that they asked for."""

    def __init__(self):
        self.heard = []
        self._number = 0
        self._profile = tempfile.mkdtemp()
        settings = "".join(
            f'user_pref("{name}", {value});\n' for name, value in PREFERENCES.items()
        )
        Path(self._profile, "user.js").write_text(settings)
        self._loop = asyncio.new_event_loop()
        command = [FIREFOX, "--headless", "--no-remote", "--profile", self._profile]
        self._said = Path(self._profile, "said.txt")
        with self._said.open("w") as said:
            self._process = subprocess.Popen(
                [*command, "--remote-debugging-port", "0"],
                stderr=said,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"HOME": self._profile},
            )
        try:
            url = f"{self._address()}/session"
            self._socket = self._loop.run_until_complete(self._connected(url))
            self.ask("session.new", capabilities={})
            self.ask("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
            # Only a tab opened in front has the focus, without which keys press no button.
            self._tab = self.ask("browsingContext.create", type="tab", background=False)["context"]
        except BaseException:
            self.close()
            raise

    def _address(self):
        """Wait until the browser says where it listens."""
        end = time.monotonic() + ANSWER_S
        while time.monotonic() < end:
            found = ADDRESS.search(self._said.read_text())
            if found:
                return found[1]
            time.sleep(0.1)
        raise TimeoutError(self._said.read_text())

    def ask(self, method, **params):
        """Return what the browser answers; events that come before are heard."""
        self._number += 1
        words = json.dumps({"id": self._number, "method": method, "params": params})
        self._loop.run_until_complete(self._send(words))
        while True:
            message = json.loads(self._loop.run_until_complete(self._next()))
            if message.get("id") == self._number:
                assert message["type"] == "success", message
                return message["result"]
            if message["type"] == "event":
                about = message["params"]
                said = about.get("text") or about["request"]["url"]
                if not said.startswith("data:"):  # a font of the browser's own
                    self.heard.append(said)

    async def _connected(self, url):
        return await websocket_connect(url, max_message_size=1 << 28)

    async def _send(self, words):
        await self._socket.write_message(words)

    async def _next(self):
        return await asyncio.wait_for(self._socket.read_message(), ANSWER_S)

    def open(self, place):
        """Open a page, which says nothing and asks for nothing."""
        url = place.as_uri()
        self.ask("browsingContext.navigate", context=self._tab, url=url, wait="complete")
        assert self.heard == []

    def evaluate(self, function, *arguments):
        """Return what a function of JavaScript, or of a promise, returns; all as JSON."""
        given = ", ".join(map(json.dumps, arguments))
        answer = self.ask(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({function})({given})))()",
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer
        return json.loads(answer["result"].get("value", "null"))

    def press(self, *keys):
        """Press keys one after the other: characters, or names as in KEYS."""
        actions = [
            {"type": kind, "value": KEYS.get(key, key)}
            for key in keys
            for kind in ("keyDown", "keyUp")
        ]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self.ask("input.performActions", context=self._tab, actions=[source])

    def close(self):
        self._process.kill()
        self._process.wait()
        self._loop.close()
        shutil.rmtree(self._profile, ignore_errors=True)
