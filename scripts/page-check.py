#!/usr/bin/env python3
"""Opens pages of `flipside report --html` and `study` in Chromium as a reader would, and fails where something is wrong.

Usage: scripts/page-check.py PAGE.html... [--shots FOLDER]

At 1280 and 400 pixels, light and dark, with scripts and without: no console error, no dialog, no request to anything
but the page, no horizontal scroll. Filtering by layer changes drawings and tables; Tab reaches every control, with a
visible focus; printing gives a PDF. Without Chromium it says that it skips. It speaks the DevTools protocol over a pipe, so
that Python needs nothing besides.
"""
import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile

CONTROLS = "a[href], button, select, summary, [tabindex='0']"


class Browser:
    def __init__(self, program, profile):
        read, self.to_browser = os.pipe()
        self.from_browser, write = os.pipe()
        flags = "--headless --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --remote-debugging-pipe"
        # The protocol's pipes are file descriptors 3 and 4.
        command = f'exec "$0" {flags} --user-data-dir="$1" 3<&{read} 4>&{write}'
        self.process = subprocess.Popen(
            ["bash", "-c", command, program, profile], pass_fds=(read, write), stderr=subprocess.DEVNULL
        )
        os.close(read)
        os.close(write)
        self.buffer, self.events, self.count, self.session = b"", [], 0, None

    def receive(self, seconds=60):
        while b"\0" not in self.buffer:
            if not select.select([self.from_browser], [], [], seconds)[0]:
                raise TimeoutError("Chromium doesn't answer")
            part = os.read(self.from_browser, 1 << 20)
            if not part:
                raise EOFError("Chromium ended")
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def post(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")

    def note(self, event):
        self.events.append(event)
        # A page stands still until its dialog is answered.
        if event.get("method") == "Page.javascriptDialogOpening":
            self.post("Page.handleJavaScriptDialog", accept=False)

    def send(self, method, **params):
        self.post(method, **params)
        wanted = self.count
        while True:
            answer = self.receive()
            if answer.get("id") == wanted:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.note(answer)

    def tab(self):
        self.session = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.send(f"{domain}.enable")

    def open(self, url):
        self.events = []
        self.send("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.note(self.receive())

    def value(self, expression):
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def press(self, key, code):
        for kind in ["keyDown", "keyUp"]:
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def faults(self, url):
        """What events say went wrong since the page was opened."""
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                yield f"exception: {params['exceptionDetails'].get('text')}"
            elif method == "Runtime.consoleAPICalled":
                yield f"console: {params['args']}"
            elif method == "Log.entryAdded":
                yield f"log: {params['entry']['text']}"
            elif method == "Page.javascriptDialogOpening":
                yield f"dialog: {params['message']}"
            elif method == "Network.requestWillBeSent":
                asked = params["request"]["url"]
                if asked != url and not asked.startswith("data:"):
                    yield f"request: {asked}"


def look(browser, url, width, scheme, scripts, shots):
    """Opens the page one way; what is wrong."""
    browser.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.send("Emulation.setScriptExecutionDisabled", value=not scripts)
    browser.open(url)
    too_wide = browser.value("document.documentElement.scrollWidth - innerWidth")
    if too_wide > 0:
        yield f"{too_wide} pixels of horizontal scroll"
    if not browser.value("document.querySelectorAll('figure svg').length"):
        if not browser.value("document.body.innerText.includes('no injection')"):
            yield "no drawing"
    if shots:
        name = f"{pathlib.Path(url).stem}-{width}-{scheme}{'' if scripts else '-no-scripts'}.png"
        shot = browser.send("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        (shots / name).write_bytes(base64.b64decode(shot["data"]))
    yield from browser.faults(url)


def use(browser, url):
    """Filters, tabs and prints; what is wrong."""
    count = "document.querySelectorAll('{}').length"
    # A study's page has no layers to choose.
    options = browser.value("(document.getElementById('layer')?.options.length ?? 1) - 1")
    drawn = browser.value(count.format("g.row"))
    for layer in range(min(options, 3)):
        before = browser.value("document.body.innerHTML")
        browser.value(
            f"(s => {{ s.value = '{layer}'; s.dispatchEvent(new Event('change')); }})(document.getElementById('layer'))"
        )
        if browser.value("document.body.innerHTML") == before and drawn > 1:
            yield f"choosing layer {layer} changes nothing"
        rows = browser.value(count.format(f'tr[data-layer]:not([data-layer="{layer}"]):not([hidden])'))
        if rows:
            yield f"{rows} rows of other layers show where layer {layer} is chosen"
    browser.open(url)
    wanted = browser.value(
        f"(all => {{ all.forEach((one, at) => one.dataset.at = at); return all.length; }})"
        f"([...document.querySelectorAll(\"{CONTROLS}\")].filter(one => one.checkVisibility()))"
    )
    reached = set()
    for _ in range(wanted + 20):
        browser.press("Tab", 9)
        at = browser.value("document.activeElement.dataset.at")
        if at is not None:
            reached.add(int(at))
            if browser.value("getComputedStyle(document.activeElement).outlineStyle") == "none":
                yield f"control {at} has no visible focus"
    if len(reached) < wanted:
        yield f"Tab reaches {len(reached)} of {wanted} controls"
    if browser.value("document.querySelectorAll('[data-arrows]').length"):
        browser.value("document.querySelector('[data-arrows]').focus()")
        browser.press("ArrowRight", 39)
        if browser.value("document.getElementById('layer').value") != "0":
            yield "the arrow keys choose no layer"
    pdf = base64.b64decode(browser.send("Page.printToPDF")["data"])
    if not pdf.startswith(b"%PDF"):
        yield "printing gives no PDF"
    yield from browser.faults(url)


def main():
    words = sys.argv[1:]
    shots = None
    if "--shots" in words:
        at = words.index("--shots")
        shots = pathlib.Path(words[at + 1])
        shots.mkdir(parents=True, exist_ok=True)
        del words[at : at + 2]
    if not words:
        sys.exit(__doc__)
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        print("skipped: no Chromium is installed")
        return
    found = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        browser.tab()
        for page in words:
            url = pathlib.Path(page).resolve().as_uri()
            ways = [(width, scheme, scripts) for width in (1280, 400) for scheme in ("light", "dark") for scripts in (False, True)]
            for width, scheme, scripts in ways:
                for fault in look(browser, url, width, scheme, scripts, shots):
                    print(f"{page}, {width} pixels, {scheme}, scripts {'on' if scripts else 'off'}: {fault}")
                    found += 1
            for fault in use(browser, url):
                print(f"{page}: {fault}")
                found += 1
            print(f"{page}: looked at in {len(ways)} ways, filtered, walked through and printed")
        browser.session = None
        browser.post("Browser.close")
        browser.process.wait(30)
    sys.exit(1 if found else 0)


main()
