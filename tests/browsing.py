"""A headless Chromium without a network, for the tests that drive a page."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # this machine alone
)


def absent() -> list[str]:
    """Return what the tests in a browser need and is not here."""
    programs = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return programs + ["selenium"] * (importlib.util.find_spec("selenium") is None)


@pytest.fixture(scope="session")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if missing := absent():
        reason = f"{' and '.join(missing)} not found: Debian has chromium and chromium-driver"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


class Browser:
    """A page in Chromium, and the few verbs that the tests need."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path | str, *, width: int = 1280, dark: bool = False) -> None:
        """Load a page anew, in a window of some width, under a system's theme."""
        self.media("", dark=dark)
        self.resize(width)
        self.driver.get("about:blank")
        self.driver.get(page.as_uri() if isinstance(page, Path) else page)

    def resize(self, width: int) -> None:
        """Give the window another width; a narrow one is a phone's."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def media(self, medium: str, *, dark: bool = False) -> None:
        """Show the page on a medium (``"print"``; ``""`` is the screen), without motion."""
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        given = {"media": medium, "features": [theme, still]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", given)

    def all(self, selector: str) -> list[Any]:
        """Return the elements of a CSS selector."""
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        """Return the only one."""
        (found,) = self.all(selector)
        return found

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a script returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, *arguments: Any, seconds: float = 30) -> Any:
        """Return what a script returns as soon as that is something."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, seconds).until(lambda _: self.run(script, *arguments))

    def later(self, script: str, *arguments: Any) -> Any:
        """Return what a promise gives."""
        then = f"({script}).apply(null, arguments).then(arguments[arguments.length - 1])"
        return self.driver.execute_async_script(then, *arguments)

    def console(self, *levels: str) -> list[str]:
        """Return what the console holds, of some levels (``"SEVERE"``) or of all, and empty it."""
        log = self.driver.get_log("browser")
        return [entry["message"] for entry in log if not levels or entry["level"] in levels]


@pytest.fixture
def browser(_chromium: Any) -> Browser:
    """Chromium, its console and its storage empty."""
    found = Browser(_chromium)
    found.console()
    return found
