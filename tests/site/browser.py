"A real browser for tests: Debian's chromium without a window, spoken to over its own protocol."
import base64
import json
import shutil
import subprocess
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-allow-origins=*",
    "--remote-debugging-port=0",
]


def installed() -> str:
    "The browser of this machine; blank where there is none."
    return next((found for name in NAMES if (found := shutil.which(name))), "")


class Browser:
    "One page of a browser; what its console says is kept in `said`."

    def __init__(self, profile: Path):
        import websocket
        command = [installed(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        address = self._address(profile / "DevToolsActivePort")
        self.socket = websocket.create_connection(address, timeout=120)
        self.count, self.events, self.said = 0, [], []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"): self.ask(f"{domain}.enable")

    @staticmethod
    def _address(file: Path, seconds: float = 120) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if file.is_file() and len(lines := file.read_text().split()) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            time.sleep(0.1)
        raise TimeoutError("the browser did not start")

    def ask(self, method: str, **params):
        "One question of the protocol, and its answer; events that come between are kept."
        self.count += 1
        question = {"id": self.count, "method": method, "params": params}
        if getattr(self, "session", None): question["sessionId"] = self.session
        self.socket.send(json.dumps(question))
        while (message := json.loads(self.socket.recv())).get("id") != self.count: self._heard(message)
        if "error" in message: raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def _heard(self, message):
        method, params = message.get("method"), message.get("params", {})
        self.events.append(method)
        if method == "Runtime.exceptionThrown": self.said.append(str(params["exceptionDetails"]))
        if method == "Log.entryAdded" and params["entry"]["level"] == "error": self.said.append(str(params["entry"]))
        if method == "Network.requestWillBeSent" and params["request"]["url"].startswith("http"):
            self.said.append(f"asked the network for {params['request']['url']}")
        if method == "Runtime.consoleAPICalled" and params["type"] == "error": self.said.append(str(params["args"]))

    def open(self, address: str, width: int, height: int = 900):
        "Open a page at a width, and wait until it is there."
        phone = width < 600
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.events.clear()
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete'")

    def run(self, code: str):
        "The value of a piece of JavaScript on the page."
        found = self.ask("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found: raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 60):
        "Wait until a condition on the page holds."
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.run(condition): return
            time.sleep(0.1)
        raise TimeoutError(f"never held: {condition}")

    def picture(self, file: Path, whole: bool = False) -> Path:
        "A picture of what is seen, or of the whole page."
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))
        return file

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=30)
