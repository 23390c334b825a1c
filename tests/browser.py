"""A headless Chromium, driven over its DevTools protocol by pipes: no port, no further package."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
READY = "!!window.explorer && window.explorer.scale > 0"
SECONDS = 60.0  # for one answer: loaded machines are slow

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--no-default-browser-check", "--hide-scrollbars", "--mute-audio", "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """Use it in a `with` block: at its end the browser and its processes are gone."""

    def __enter__(self) -> Browser:
        self.folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        theirs, self.write = os.pipe()
        self.read, answers = os.pipe()
        # The browser reads commands from descriptor 3 and answers on 4. Ours are above 4 after the duplication.
        command = f'exec "$@" 3<&{theirs} 4>&{answers}'
        self.process = subprocess.Popen(
            ["bash", "-c", command, "bash", str(PROGRAM), *FLAGS, f"--user-data-dir={self.folder.name}", "about:blank"],
            pass_fds=(theirs, answers), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        os.close(answers)
        self.numbers = itertools.count(1)
        self.rest = b""
        self.events: list[dict] = []
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.write)  # the browser ends when nobody commands it
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)  # its own session: children that are left
            except ProcessLookupError:
                pass
            self.process.wait()
            os.close(self.read)
            self.folder.cleanup()

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict:
        """Send a command and wait for its answer."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write, data) :]
        while True:
            answer = self.message()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def message(self) -> dict:
        end = time.monotonic() + SECONDS
        while b"\0" not in self.rest:
            if not select.select([self.read], [], [], max(end - time.monotonic(), 0))[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self.read, 1 << 20)
            if not part:
                raise RuntimeError(f"the browser ended with status {self.process.poll()}")
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def page(self, path: Path, width: int = 1280, height: int = 800, dark: bool = False, ready: str = READY) -> Tab:
        """A tab that shows a file, once it is `ready`, which is JavaScript."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        tab = Tab(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        tab.call("Runtime.enable")
        tab.call("Log.enable")
        tab.call("Network.enable")
        tab.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        theme = "dark" if dark else "light"
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        tab.call("Page.navigate", url=path.resolve().as_uri())
        tab.wait(f"document.readyState === 'complete' && {ready}")
        return tab


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser = browser
        self.session = session

    def call(self, method: str, **parameters: Any) -> dict:
        return self.browser.call(method, self.session, **parameters)

    def value(self, expression: str) -> Any:
        """What an expression gives on the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + SECONDS
        while not self.value(condition):
            if time.monotonic() > end:
                raise TimeoutError(condition)
            time.sleep(0.02)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def click_on(self, selector: str) -> None:
        """Click in the middle of an element."""
        at = self.value(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        self.click(*at)

    def press(self, key: str, text: str = "") -> None:
        """Press a key, by its name in events."""
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text or (key if len(key) == 1 else ""))
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def type(self, text: str) -> None:
        for c in text:
            self.press(c)

    def text(self, selector: str) -> str:
        """The text of the first such element, as it is shown."""
        return self.value(f"document.querySelector({json.dumps(selector)}).innerText")

    def screenshot(self, path: Path) -> Path:
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
        return path

    def complaints(self) -> list[str]:
        """Exceptions, errors in the console, and requests that the page should not have made."""
        self.value("1")  # what happened before is reported by now
        bad = []
        for e in self.browser.events:
            if e.get("sessionId") != self.session:
                continue
            method, about = e.get("method"), e.get("params", {})
            if method == "Runtime.exceptionThrown":
                bad.append(str(about))
            elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
                bad.append(about["entry"]["text"])
            elif method == "Network.requestWillBeSent" and not about["request"]["url"].startswith(("file:", "data:")):
                bad.append(about["request"]["url"])
        return bad
