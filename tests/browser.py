"""`make browser`: notebooks and playground in a real browser, as students see them.

`make lab QUICK=1` opens a copy of the notebooks. Chromium, without a window, opens
each, runs all cells, saves, exports to HTML, and on the playground presses the buttons;
in chapter 2 it does what students do besides. Fails on any error, warning, red output
or pop-up, on a file that differs in more than outputs, and on a widget that is dead in
it. Then it reads the pages of `make html`: no link is broken, no picture missing.
Screenshots, in light and dark, are left in build/browser/. `ONLY=playground,2_sgd`
chooses notebooks.
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import websocket

ROOT = Path(__file__).parent.parent
SHOTS = ROOT / "build" / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 1200, "height": 700, "deviceScaleFactor": 1, "mobile": False}
STUDIED = "2_sgd"  # where a number is changed, and the kernel interrupted and restarted
WIDGET = "application/vnd.jupyter.widget-view+json"
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
FAULTS = f"""JSON.stringify({NOTEBOOK}.widgets.flatMap((cell, index) =>
  cell.model.type != 'code' ? [] : cell.model.outputs.toJSON().filter(output =>
    output.output_type == 'error' || output.name == 'stderr').map(output =>
    `cell ${{index + 1}}: ${{output.ename}} ${{output.evalue || output.text}}`)))"""
SCROLL = NOTEBOOK + ".scrollToItem({}, 'start')"
PRESS = """[...document.querySelectorAll('button.jupyter-button')]
  .find(button => button.textContent == '{}').click()"""
BAR = "document.querySelector('.jupyter-button')"
CANVAS = "[...document.querySelectorAll('canvas')].find(one => one.width == 515)"
CLICK = (
    CANVAS
    + """.dispatchEvent(new MouseEvent('mousedown', {{bubbles: true,
  clientX: {0}.getBoundingClientRect().left + {1},
  clientY: {0}.getBoundingClientRect().top + {2}}}))"""
)
CHOOSE = """[...document.querySelectorAll('select')].forEach(box => {{
  const name = option => option.text.replaceAll('\\u00a0', ' ');
  const place = [...box.options].findIndex(option => name(option) == "{0}");
  if (place < 0) return;
  box.selectedIndex = place;
  box.dispatchEvent(new Event('change', {{bubbles: true}}));
}})"""
ACTS = {  # on the playground: what is done, and what is then said
    "step": (PRESS.format("Step"), ""),
    "certificate": (PRESS.format("Certificate"), "pass: "),
    "unit": (CLICK.format(CANVAS, 82, 30), ""),
    "mistake": (CHOOSE.format("last sample's gradient only"), ""),
    "found": (PRESS.format("Certificate"), "FAIL: W of layer 1"),
    "residuals": (PRESS.format("Residuals"), ""),
    "none": (CHOOSE.format("none"), ""),
    "own": (CHOOSE.format("own points"), ""),
    "regions": (CLICK.format(CANVAS, 82, 30), ""),  # the unit is taken away
    "clicked": (CLICK.format(CANVAS, 400, 100), ""),
    "copied": (PRESS.format("Copy"), ""),
    "reset": (PRESS.format("Reset"), ""),
}
LINKS = """[...document.querySelectorAll('a[href*=".html"]')]
  .map(one => one.getAttribute('href')).filter(name => !name.includes('://'))"""
LOST = """[[...document.images].filter(one => one.complete && !one.naturalWidth).length]
  .filter(count => count)"""
# Milliseconds from Train to the first new picture and from Pause to the last one, and
# new pictures a second between them.
TIMES = f"""(async () => {{
  const canvas = {CANVAS};
  const change = async limit => {{
    const old = canvas.toDataURL(), start = performance.now();
    while (performance.now() - start < limit) {{
      await new Promise(requestAnimationFrame);
      if (canvas.toDataURL() != old) return performance.now() - start;
    }}
    return null;
  }};
  {PRESS.format("Train")};
  const first = await change(5000), begin = performance.now();
  let frames = 0;
  while (performance.now() - begin < 4000) frames += await change(1000) !== null;
  {PRESS.format("Pause")};
  const paused = performance.now();
  let last = paused;
  while (performance.now() - paused < 1500)
    if (await change(500) !== null) last = performance.now();
  return [first, frames / 4, last - paused].map(Math.round);
}})()"""
POPPED = """[...document.querySelectorAll('.jp-Dialog, .Toastify__toast')]
  .map(one => one.textContent).join(' / ')"""
DONE = "window.done"
COMMAND = "jupyterapp.commands.execute('{}', {}).then(() => true)"
SOURCE = (
    NOTEBOOK
    + """.widgets.find(cell => cell.model.sharedModel.source
  .includes('{0}')).model.sharedModel"""
)
EXPORT = """fetch('{}', {{headers: {{'X-XSRFToken':
  document.cookie.match(/_xsrf=([^;]*)/)[1]}}}}).then(answer => answer.text())"""
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
        self.call("Emulation.setDeviceMetricsOverride", **SIZE)

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
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def command(self, name, options="{}"):
        """Do what an entry of the menus does; `DONE` becomes true at its end."""
        self.evaluate(
            f"window.done = false, {COMMAND.format(name, options)}"
            ".finally(() => window.done = true), true"
        )

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


def run(page, address, path, folder):
    """Open a notebook, run its cells, leave screenshots; return what is wrong."""
    name = path.stem
    page.call("Page.navigate", url=f"{address}/lab/tree/{path.as_posix()}?reset")
    page.wait(READY)
    page.evaluate(f"jupyterapp.shell.activateById({PANEL}.id), true")
    time.sleep(2)
    page.shoot(f"{name}-first")
    found = []
    if popped := page.evaluate(POPPED):
        found.append(f"{name}: a pop-up says {popped!r}")
    if page.evaluate(f"{PANEL}.context.model.dirty"):
        found.append(f"{name}: opening it has changed it")
    start = time.monotonic()
    page.command("notebook:run-all-cells")
    page.wait(DONE, PATIENCE)
    print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    cells = page.evaluate(f"{NOTEBOOK}.widgets.length")
    for part in range(3):
        page.evaluate(f"{SCROLL.format(part * cells // 3)}, true")
        time.sleep(0.5)
        page.shoot(f"{name}-{part + 1}")
    found += [f"{name}, {fault}" for fault in json.loads(page.evaluate(FAULTS))]
    return found + [f"{name}: {fault}" for fault in save(page, address, path, folder)]


def save(page, address, path, folder):
    """Save, and export as HTML, as from the menu; return what is wrong."""
    page.evaluate(f"{PANEL}.context.save().then(() => true)")
    saved = json.loads((folder / path).read_text("utf-8"))
    found = []
    outputs = [out for cell in saved["cells"] for out in cell.get("outputs", ())]
    if any(WIDGET in out.get("data", {}) for out in outputs):
        found.append("a widget is dead in the saved file")
    for cell in saved["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    if saved != json.loads((ROOT / path).read_text("utf-8")):
        found.append("the saved file differs in more than outputs")
    exported = page.evaluate(EXPORT.format(f"{address}/nbconvert/html/{path}"))
    if exported.count("jp-OutputArea-output") < len(outputs):
        found.append(f"HTML is not that of the notebook: {exported[:200]}")
    return found


def study(page):
    """Change a number and run again, interrupt, restart; return what is wrong."""
    cell = SOURCE.format("EPOCHS = 4 if")
    page.evaluate(f"{cell}.setSource({cell}.source.replace('= 4 if', '= 2 if')), true")
    page.command("notebook:run-all-cells")
    page.wait(DONE, PATIENCE)
    found = json.loads(page.evaluate(FAULTS))
    page.command("notebook:run-all-cells")
    time.sleep(1)
    page.command("notebook:interrupt-kernel")
    page.wait(f"{KERNEL}.status == 'idle'")
    time.sleep(1)
    if "KeyboardInterrupt" not in page.evaluate(FAULTS):
        found.append("nothing was interrupted")
    page.shoot(f"{STUDIED}-interrupted")
    page.command("notebook:restart-run-all")
    page.wait("document.querySelector('.jp-Dialog .jp-mod-accept') !== null")
    page.evaluate("document.querySelector('.jp-Dialog .jp-mod-accept').click(), true")
    page.wait(DONE, PATIENCE)
    found += json.loads(page.evaluate(FAULTS))
    return [f"{STUDIED}, studied: {fault}" for fault in found]


def dress(page, theme):
    """Put JupyterLab into one of its themes."""
    page.evaluate(COMMAND.format("apputils:change-theme", f"{{theme: '{theme}'}}"))
    time.sleep(1)


def play(page):
    """Press the playground's buttons; return what is wrong."""
    page.evaluate(f"{SCROLL.format(f'{NOTEBOOK}.widgets.length - 1')}, true")
    time.sleep(1)
    page.evaluate(f"{BAR}.scrollIntoView(), true")
    time.sleep(0.5)
    page.shoot("playground-start")
    first, rate, pause = page.evaluate(TIMES)
    print(f"playground: first picture {first} ms, {rate} a second, pause {pause} ms")
    page.shoot("playground-trained")
    found = []
    if first is None or not rate:
        found.append("playground: no picture after Train")
    for name, (script, said) in ACTS.items():
        page.evaluate(f"{script}, true")
        time.sleep(1.5)
        page.shoot(f"playground-{name}")
        if said not in (heard := page.evaluate(SAID)):
            found.append(f"playground, {name}: it says {heard!r}")
    return found + json.loads(page.evaluate(FAULTS))


def read(page):
    """Open the chapters as pages; return broken links and missing pictures."""
    subprocess.run(["make", "html", "QUICK=1"], cwd=ROOT, check=True)
    paths, found = sorted((ROOT / "build" / "quick" / "html").glob("*.html")), []
    texts = {path.name: path.read_text("utf-8") for path in paths}
    for path in paths:
        page.call("Page.navigate", url=path.as_uri())
        page.wait("document.body !== null && document.readyState != 'loading'")
        page.shoot(f"{path.stem}-html")
        for link in page.evaluate(LINKS):
            name, _, place = link.partition("#")
            if f'id="{place}"' not in texts.get(name, "") and (
                place or name not in texts
            ):
                found.append(f"{path.name}: a link to {link} is broken")
        found += [f"{path.name}: {n} pictures are missing" for n in page.evaluate(LOST)]
    return found


def copied(folder):
    """Return chapters and playground of a copy of the notebooks, or those of ONLY."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    paths = sorted((folder / "notebooks").glob("*.ipynb"))
    wanted = [name for name in os.environ.get("ONLY", "").split(",") if name]
    paths = [path for path in paths if path.stem in wanted or not wanted]
    if not paths:
        raise ValueError("ONLY: there is no such notebook")
    return [path.relative_to(folder) for path in paths]


def served(folder):
    """Start `make lab` on a folder; return the process and its address."""
    port = 8900 + os.getpid() % 90
    how = f"--no-browser --port={port} --IdentityProvider.token= --log-level=ERROR"
    how += f" --LabApp.expose_app_in_browser=True --ServerApp.root_dir={folder}"
    command = ["make", "--no-print-directory", "lab", "QUICK=1", f"LAB={how}"]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    return process, f"http://127.0.0.1:{port}"


def browsing(program, folder):
    """Start Chromium; return the process and the port of its protocol."""
    where = "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"
    how = "--headless=new", "--no-sandbox", "--disable-gpu"
    look = {"stderr": subprocess.DEVNULL, "start_new_session": True}
    process = subprocess.Popen([program, *how, *where], **look)
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
                found += run(page, address, path, Path(folder))
                found += study(page) if path.stem == STUDIED else []
                found += play(page) if path.stem == "playground" else []
                dress(page, "JupyterLab Dark")
                page.evaluate(f"{BAR} && {BAR}.scrollIntoView(), true")
                page.shoot(f"{path.stem}-dark")
                dress(page, "JupyterLab Light")
            found += read(page)
        finally:
            for process in reversed(running):
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
    print("\n".join(found) or f"all is well; screenshots are in {SHOTS}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
