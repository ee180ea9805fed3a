"""The built site, served on this machine to a headless Chromium."""

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from site_links import BUILT, pages_of

from browsing import _chromium, browser

__all__ = ["_chromium", "browser", "site"]


class Quiet(SimpleHTTPRequestHandler):
    """Serve files, and say nothing of each."""

    def log_message(self, *_: object) -> None:
        pass


def pytest_configure() -> None:
    if not (BUILT / "index.html").exists():
        raise pytest.UsageError("no site in build/docs: `python -m nox -s docs` makes it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a `page` for each page of the site."""
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", pages_of(BUILT))


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Address of the site, with its last slash."""
    handler = functools.partial(Quiet, directory=str(BUILT))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()
