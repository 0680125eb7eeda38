"""Chromium driven through a pair of pipes: DevTools messages are JSON, each ended by a zero byte."""

import contextlib
import itertools
import json
import os
import select
import shlex
import shutil
import subprocess
import time

CHROMIUM = shutil.which("chromium")
# Flags that keep Chromium from using the network on its own.
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
# Name of a key: its code, and the text it types.
KEYS = {"ArrowLeft": "", "ArrowRight": "", "ArrowDown": "", "Backspace": "", "Tab": "", "Enter": "\r", " ": " "}
SECONDS = 60


class Browser:
    """A page in a browser."""

    def __init__(self, send, receive):
        self._send, self._receive, self._numbers = send, receive, itertools.count(1)
        self._rest = b""
        self.events = []
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Calls a DevTools method and returns its result; events that come first are kept in ``events``."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session and not method.startswith("Browser."):
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.events.append(answer)

    def _next(self):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._receive], [], [], SECONDS)
            assert ready, "the browser does not answer"
            read = os.read(self._receive, 1 << 20)
            assert read, "the browser has ended"
            self._rest += read
        line, self._rest = self._rest.split(b"\0", 1)
        return json.loads(line)

    def open(self, path):
        self.call("Page.navigate", url=path.as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def run(self, script):
        """The value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait(self, condition):
        ends = time.monotonic() + SECONDS
        while not self.run(condition):
            assert time.monotonic() < ends, condition
            time.sleep(0.01)

    def press(self, key, repeat=False):
        text = KEYS.get(key, key)
        names = {"key": key, "code": key if key in KEYS else "", **({"text": text} if text else {})}
        codes = {"Enter": 13, "Tab": 9, " ": 32}
        code = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", autoRepeat=repeat, **names, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def click(self, selector):
        box = self.run(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({_box(selector)})")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)


def _box(selector):
    return f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"


@contextlib.contextmanager
def browser(folder, *flags):
    """A browser whose profile is in ``folder``; the profile outlives it."""
    (there, send), (receive, back) = os.pipe(), os.pipe()
    arguments = [*QUIET, f"--user-data-dir={folder / 'profile'}", "--remote-debugging-pipe", *flags]
    # It reads descriptor 3 and writes descriptor 4.
    command = f"exec {shlex.join([str(CHROMIUM), *arguments])} 3<&{there} 4>&{back}"
    process = subprocess.Popen(["bash", "-c", command], pass_fds=(there, back), stderr=subprocess.DEVNULL)
    os.close(there)
    os.close(back)
    try:
        page = Browser(send, receive)
        yield page
        page.call("Browser.close")
        process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()
        os.close(send)
        os.close(receive)
