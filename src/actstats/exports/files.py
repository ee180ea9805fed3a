"""A recording written to a file for other tools."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from tempfile import mkstemp
from typing import IO, Any

from actstats.exports import writers
from actstats.exports.tables import TABLES, Progress, make_tables
from actstats.recording import Recording, Source, as_recording

__all__ = ["FORMATS", "export", "write"]

FORMATS = ("csv", "parquet", "json", "npz")
"""What :func:`export` writes."""

SCHEMA = 1
_ONE_TABLE = {"csv": writers.write_csv, "parquet": writers.write_parquet}
_ALL_TABLES = {"json": writers.write_json, "npz": writers.write_npz}
_USUAL = ("sites", "figures", "scalars")  # histograms are large, and asked for by name


def export(
    source: Source,
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    tables: str | Iterable[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a recording to a file that other tools read.

    The file is complete or, where something fails, as it was before.

    Parameters
    ----------
    source : Recording, ActivationRecorder, Window or path
        What was recorded.
    path : str or path
        Where to; an existing file is replaced.
    format : {"csv", "parquet", "json", "npz"}, optional
        None: as the ending of ``path`` says.
    tables : str or iterable of str, optional
        Some of ``"sites"``, ``"figures"``, ``"scalars"``, ``"histograms"`` and ``"edges"``; CSV
        and Parquet hold one. None: ``"figures"`` for these two, else sites, figures and scalars.
    progress : callable, optional
        Called as ``progress(done, total)`` with windows, where histograms are written.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If the format or a table is unknown, or the format does not hold so many tables.
    ImportError
        If Parquet is asked for and pyarrow is not installed.

    Examples
    --------
    >>> import torch, tempfile
    >>> from actstats import ActivationRecorder, export, make_mlp
    >>> net = make_mlp(2, [8], 1, activation="relu")
    >>> with ActivationRecorder(net) as recorder:
    ...     _ = net(torch.ones(64, 2))
    >>> export(recorder, tempfile.mkdtemp() + "/run.csv").read_text().splitlines()[0][:42]
    'window,first_step,last_step,phase,site,cou'
    """
    path = Path(path)
    chosen = checked_format(path, format)
    names = checked_tables(chosen, tables)
    recording = as_recording(source, "source")
    with replacing(path) as file:
        write(recording, file, chosen, names, progress)
    return path


def write(
    recording: Recording,
    file: IO[bytes],
    format: str,
    tables: Iterable[str],
    progress: Progress | None = None,
) -> None:
    """Write some tables to an open file."""
    frames, told = make_tables(recording, tables, progress), about(recording)
    if format in _ONE_TABLE:
        (frame,) = frames.values()
        _ONE_TABLE[format](file, told, frame)
    else:
        _ALL_TABLES[format](file, told, frames)


def about(recording: Recording) -> Mapping[str, Any]:
    """Return what is known of the run, and of this file."""
    from actstats import __version__

    return {
        "format": "actstats",
        "schema": SCHEMA,
        "actstats": __version__,
        "metadata": recording.metadata,
        "notes": list(recording.notes),
        "never_called": recording.never_called,
    }


def checked_format(path: Path, format: str | None) -> str:
    """Return the format asked for, or that of the file's ending."""
    if format is None and path.suffix[1:].lower() in FORMATS:
        return path.suffix[1:].lower()
    if format in FORMATS:
        return format
    if format is None:
        raise ValueError(
            f"`path` must end in one of {', '.join('.' + f for f in FORMATS)}, or `format` say "
            f"which it is; got {path.name!r}."
        )
    raise ValueError(f"`format` must be one of {FORMATS}; got {format!r}.")


def checked_tables(format: str, tables: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the names of the tables to write."""
    if tables is None:
        return ("figures",) if format in _ONE_TABLE else _USUAL
    names = (tables,) if isinstance(tables, str) else tuple(dict.fromkeys(tables))
    for name in names:
        if name not in TABLES:
            close = get_close_matches(str(name), list(TABLES), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise ValueError(f"`tables` must be some of {tuple(TABLES)}; got {name!r}{hint}")
    if not names or (format in _ONE_TABLE and len(names) != 1):
        wanted = "one table" if format in _ONE_TABLE else "at least one table"
        raise ValueError(
            f"{format} holds {wanted}; got {', '.join(names) or 'none'}. json and npz hold several."
        )
    return names


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file beside ``path`` that takes its place once all is written."""
    if path.exists() and not path.is_file():  # a pipe, /dev/stdout: it stays what it is
        with path.open("wb") as stream:
            yield stream
        return
    path = path.resolve()  # of a link what it leads to is replaced
    handle, name = mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        made.chmod(0o666 & ~_umask())
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
