"""A headless Chromium for the tests of pages, which keeps what the console said and what was asked of the network.

A test that needs it is skipped where Chromium, its driver or Selenium is missing.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

_LOCAL = ("file", "data", "blob", "about", "chrome")
"""Schemes of requests that leave the browser for no network."""


class Browser:
    """A browser's driver with its logs.

    Attributes:
        driver: Selenium's.
    """

    def __init__(self, driver):
        self.driver = driver
        self._console, self._requests = [], []

    def open(self, url):
        """Load a page, with logs that begin empty."""
        self.read()
        self._console.clear()
        self._requests.clear()
        self.driver.get(str(url))

    def read(self):
        """Take in what the logs have gained."""
        self._console += self.driver.get_log("browser")
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requests.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self._requests.append(message["params"]["url"])

    @property
    def errors(self):
        """Messages of the console that are more than information."""
        self.read()
        return [entry["message"] for entry in self._console if entry["level"] in ("SEVERE", "WARNING")]

    @property
    def requests(self):
        """The addresses that were asked for since the page was opened."""
        self.read()
        return list(self._requests)

    def foreign(self, host=None):
        """Requests to anything but files, data in the page, and ``host`` (such as "127.0.0.1:7860")."""
        return [
            url
            for url in self.requests
            if urlsplit(url).scheme not in _LOCAL and (host is None or urlsplit(url).netloc != host)
        ]

    def theme(self, scheme="light", motion="no-preference"):
        """Say which colours, "light" or "dark", and how much motion, "no-preference" or "reduce", the user prefers."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def size(self, width, height, mobile=False):
        """Make the page's view ``width`` by ``height`` CSS pixels, ``mobile`` with a finger instead of a mouse."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": mobile})


@contextmanager
def browser(width=1100, height=900) -> Iterator[Browser]:
    """Start a headless Chromium that finds no host but 127.0.0.1; it ends with the context.

    Args:
        width: of the page's view in CSS pixels.
        height: likewise.
    """
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("needs Chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",  # it has no right to one in a container
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-extensions",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--no-proxy-server",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    try:
        made = Browser(driver)
        made.size(width, height)
        yield made
    finally:
        driver.quit()
