"""`make browser`: notebooks and playground in a real browser, as students see them.

JupyterLab runs QUICK=1 in a copy of the project, so that nothing here is changed;
Chromium, without a window, opens each chapter, runs all cells and, on the playground,
presses the buttons. Fails on any error, warning or red output. Screenshots are left in
build/browser/. `ONLY=playground,2_sgd` chooses notebooks.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import websocket

ROOT = Path(__file__).parent.parent
SHOTS = ROOT / "build" / "browser"
ROOMS = ("data", "engine", "helpers", "playground", "report", "typeset")
COPIED = ("notebooks", *ROOMS, "figures")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = "--window-size=1400,1000"
PATIENCE = 300  # seconds for a notebook
PANEL = "[...jupyterapp.shell.widgets('main')].find(one => one.context)"
NOTEBOOK = f"{PANEL}.content"
KERNEL = f"{PANEL}.context.sessionContext.session.kernel"
READY = f"""(() => {{
  try {{
    return {PANEL}.context.isReady && {KERNEL}.status == 'idle'
      && {NOTEBOOK}.widgets.length > 0;
  }} catch (error) {{ return false; }}
}})()"""
BUSY = f"""{NOTEBOOK}.widgets.some(cell => cell.model.type == 'code'
  && cell.model.sharedModel.source && cell.model.executionCount === null)
  || {KERNEL}.status != 'idle'"""
FAULTS = f"""JSON.stringify({NOTEBOOK}.widgets.flatMap((cell, index) =>
  cell.model.type != 'code' ? [] : cell.model.outputs.toJSON().filter(output =>
    output.output_type == 'error' || output.name == 'stderr').map(output =>
    `cell ${{index + 1}}: ${{output.evalue || output.text}}`)))"""
SCROLL = NOTEBOOK + ".scrollToItem({}, 'start')"
PRESS = """[...document.querySelectorAll('button.jupyter-button')]
  .find(button => button.textContent == '{}').click()"""
SAID = "document.querySelector('.widget-html-content').textContent"


class Page:
    """A tab of Chromium, driven by its DevTools protocol."""

    def __init__(self, port):
        """Open a tab."""
        url = f"http://127.0.0.1:{port}/json/new?about:blank"
        request = urllib.request.Request(url, method="PUT")
        with urllib.request.urlopen(request) as answer:
            address = json.load(answer)["webSocketDebuggerUrl"]
        self.socket = websocket.create_connection(address, suppress_origin=True)
        self.number = 0

    def call(self, method, **parameters):
        """Call a method of the protocol and return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        self.socket.send(json.dumps(message))
        while (answer := json.loads(self.socket.recv())).get("id") != self.number:
            pass
        return answer["result"]

    def evaluate(self, script):
        """Return the value of a JavaScript expression."""
        look = {"returnByValue": True, "awaitPromise": True}
        result = self.call("Runtime.evaluate", expression=script, **look)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']['text']}")
        return result["result"].get("value")

    def wait(self, script, patience=120):
        """Wait until an expression is true; raises TimeoutError naming it."""
        end = time.monotonic() + patience
        while self.evaluate(script) is not True:
            if time.monotonic() > end:
                self.shoot("in-vain")
                raise TimeoutError(f"in vain waited for {script}")
            time.sleep(0.3)

    def shoot(self, name):
        """Leave a screenshot in build/browser/."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        data = self.call("Page.captureScreenshot", format="png")["data"]
        (SHOTS / f"{name}.png").write_bytes(base64.b64decode(data))


def run(page, address, path):
    """Open a notebook, run its cells, leave screenshots; return what is wrong."""
    name = path.stem
    page.call("Page.navigate", url=f"{address}/lab/tree/{path.as_posix()}?reset")
    page.wait(READY)
    if page.evaluate(f"{PANEL}.context.model.dirty"):
        return [f"{name}: opening it has changed it"]
    start = time.monotonic()
    page.evaluate(f"jupyterapp.shell.activateById({PANEL}.id), true")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells'), true")
    time.sleep(2)
    page.shoot(f"{name}-running")
    page.wait(f"!({BUSY})", PATIENCE)
    print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    cells = page.evaluate(f"{NOTEBOOK}.widgets.length")
    for part in range(3):
        page.evaluate(f"{SCROLL.format(part * cells // 3)}, true")
        time.sleep(0.5)
        page.shoot(f"{name}-{part + 1}")
    return [f"{name}, {fault}" for fault in json.loads(page.evaluate(FAULTS))]


def play(page):
    """Press the playground's buttons; return what is wrong."""
    page.evaluate(f"{SCROLL.format(f'{NOTEBOOK}.widgets.length - 1')}, true")
    time.sleep(1)
    page.evaluate("document.querySelector('.jupyter-button').scrollIntoView(), true")
    found = []
    for name, pause in (("Train", 4), ("Pause", 1), ("Step", 1), ("Certificate", 2)):
        page.evaluate(PRESS.format(name))
        time.sleep(pause)
        page.shoot(f"playground-{name.lower()}")
    if "pass" not in (said := page.evaluate(SAID) or ""):
        found.append(f"playground: the certificate says {said!r}")
    page.evaluate(PRESS.format("Reset"))
    time.sleep(1)
    page.shoot("playground-reset")
    return found + json.loads(page.evaluate(FAULTS))


def copied(folder):
    """Return chapters and playground of a copy of the project, or those of ONLY."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    paths = sorted((folder / "notebooks").glob("*.ipynb"))
    wanted = [name for name in os.environ.get("ONLY", "").split(",") if name]
    paths = [path for path in paths if path.stem in wanted or not wanted]
    if not paths:
        raise ValueError("ONLY: there is no such notebook")
    return [path.relative_to(folder) for path in paths]


def served(folder):
    """Start JupyterLab on a folder; return the process and its address."""
    port = 8900 + os.getpid() % 90
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--port={port}"),
            *("--allow-root", "--IdentityProvider.token=", "--log-level=ERROR"),
            *("--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"),
            "--KernelManager.transport_encryption=auto",
            "--ServerApp.contents_manager_class=playground.lab.Contents",
        ],
        cwd=folder,
        env=os.environ | {"QUICK": "1", "PYTHONPATH": str(folder)},
    )
    return process, f"http://127.0.0.1:{port}"


def browsing(program, folder):
    """Start Chromium; return the process and the port of its protocol."""
    where = "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"
    how = "--headless=new", "--no-sandbox", "--disable-gpu", SIZE
    process = subprocess.Popen([program, *how, *where], stderr=subprocess.DEVNULL)
    note = Path(folder, "DevToolsActivePort")
    while not (note.exists() and note.read_text()):
        if process.poll() is not None:
            raise OSError(f"{program} ended with {process.returncode}")
        time.sleep(0.2)
    return process, int(note.read_text().split()[0])


def main():
    """Look at all notebooks; return the exit status."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not program:
        print("make: there is no Chromium: on Debian, apt install chromium")
        return 1
    shutil.rmtree(SHOTS, ignore_errors=True)
    found, running = [], []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            paths = copied(Path(folder))
            lab, address = served(folder)
            running.append(lab)
            browser, port = browsing(program, Path(folder, "profile"))
            running.append(browser)
            for _ in range(100):
                try:
                    urllib.request.urlopen(f"{address}/api").close()
                    break
                except OSError:
                    time.sleep(0.5)
            else:
                raise TimeoutError(f"JupyterLab does not answer at {address}")
            page = Page(port)
            for path in paths:
                found += run(page, address, path)
                found += play(page) if path.stem == "playground" else []
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait()
    print("\n".join(found) or f"all is well; screenshots are in {SHOTS}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
