"""The verbs of this repository; CI calls the same ones.

    python -m nox -s test        one of: test, lint, types, docs, bench, images, dist, mutations
    python -m nox -s ci          test, lint, types and docs, in this order
    python -m nox -s translate   the Chinese catalogs brought up to date with the English pages
    python -m nox -s floor       the tests with the oldest versions that pyproject.toml names
    python -m nox -s newest      the tests with the newest of everything

They run in the environment that nox itself runs in (`pip install -e ".[dev]"`) and make none:
torch is large, and its CPU wheel has to be chosen once, by hand, before anything else. Only `floor`
and `newest` make one each, of several gigabytes, in `build/`. What comes after `--` goes to the
tool: `python -m nox -s test -- -k histogram`.
"""

import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.envdir = "build/nox"
nox.options.sessions = ["test", "lint"]
nox.needs_version = ">=2024.4.15"

HERE = Path(__file__).parent
BUILD = HERE / "build"
QUIET = {"HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg"}  # no downloads, no windows
SPHINX = ("-m", "sphinx", "-n", "-W", "--keep-going")
AGAIN = ("-D", "plot_gallery=0")  # the tutorials have just been run
CHINESE = ("-E", "-d", str(BUILD / "doctrees-zh_CN"), "-D", "language=zh_CN")
NO_IMAGES = "not mpl_image_compare"


def python(session: nox.Session, *args: str) -> None:
    """Run this interpreter: a bare `pytest` might be another environment's."""
    session.run(sys.executable, *args, env={**os.environ, **QUIET}, external=True)


@nox.session
def test(session: nox.Session) -> None:
    """Tests, and the doctests of the package, on two processes."""
    python(session, "-m", "pytest", "-n", "2", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Rules and layout; `python -m ruff check --fix` and `python -m ruff format` repair most."""
    python(session, "-m", "ruff", "check", *session.posargs)
    python(session, "-m", "ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Types of the package and the examples."""
    python(session, "-m", "mypy", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The pages in both languages, every warning an error, their snippets, and a look at the site.

    Needs no network.
    """
    english = ("-d", str(BUILD / "doctrees"))
    python(session, *SPHINX, *english, "-b", "html", "docs", str(BUILD / "docs"), *session.posargs)
    python(session, *SPHINX, *english, *AGAIN, "-b", "doctest", "docs", str(BUILD / "doctest"))
    python(session, *SPHINX, *CHINESE, *AGAIN, "-b", "html", "docs", str(BUILD / "docs" / "zh_CN"))
    python(session, "-m", "pytest", "docs/tests")


@nox.session
def translate(session: nox.Session) -> None:
    """Bring docs/locale/*.po up to date with the English pages, after `docs` has run them."""
    english = ("-D", "locale_dirs=")  # these pages as they are, without what catalogs have
    folder = str(BUILD / "gettext")
    python(session, *SPHINX, *CHINESE, *AGAIN, *english, "-b", "gettext", "docs", folder)
    catalogs = ("-p", folder, "-l", "zh_CN", "-d", "docs/locale")
    python(session, "-m", "sphinx_intl", "update", *catalogs, "--no-obsolete")


@nox.session
def bench(session: nox.Session) -> None:
    """What recording costs, on this machine."""
    runner = HERE / "benchmarks" / "__main__.py"
    script = ("-m", "benchmarks") if runner.exists() else ("benchmarks/overhead.py",)
    python(session, *script, *session.posargs)


@nox.session
def mutations(session: nox.Session) -> None:
    """Break a copy of the package in many ways; some test must notice each."""
    python(session, "tests/hostile/mutations.py", *session.posargs)


@nox.session
def images(session: nox.Session) -> None:
    """Make the image baselines and the documentation's pictures anew; look before you keep them."""
    where = ("--mpl-generate-path=tests/baseline", "-W", "ignore:Ignoring --mpl-baseline-path")
    python(session, "-m", "pytest", "tests", "-m", "mpl_image_compare", *where, *session.posargs)
    if not session.posargs:
        python(session, "examples/bn_tutorial.py", "--out", str(BUILD / "images"))
        shutil.copy(BUILD / "images" / "grid_tanh.png", HERE / "docs" / "_static")
        python(session, "docs/_ext/report_picture.py")


@nox.session(venv_backend="venv")
def floor(session: nox.Session) -> None:
    """Tests with the oldest versions that `pyproject.toml` names, in their own environment."""
    session.install("-c", "constraints-floor.txt", "-e", ".[test]")
    apart(session)


@nox.session(venv_backend="venv")
def newest(session: nox.Session) -> None:
    """Tests with the newest of everything, in their own environment."""
    session.install("--upgrade", "--upgrade-strategy", "eager", "-e", ".[test]")
    apart(session)


def apart(session: nox.Session) -> None:
    """Run the tests in the session's own environment; images would be those of other versions."""
    session.run("python", "-m", "pytest", "-n", "2", "-m", NO_IMAGES, *session.posargs, env=QUIET)


@nox.session
def dist(session: nox.Session) -> None:
    """Build the sdist and, from it, the wheel; check both. Fetches the build tools."""
    folder = BUILD / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    python(session, "-m", "build", "--outdir", str(folder))
    made = sorted(str(path) for path in folder.iterdir())
    python(session, "-m", "twine", "check", "--strict", *made)
    python(session, "tests/check_dist.py", str(folder))


@nox.session
def ci(session: nox.Session) -> None:
    """Everything that must pass before a change goes in."""
    for verb in ("test", "lint", "types", "docs"):
        session.notify(verb)
