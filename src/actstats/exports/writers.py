"""One function for each format: tables in, bytes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from actstats.names import plain, spreadsheet_safe, valid_unicode

if TYPE_CHECKING:
    import pandas
    from numpy.typing import NDArray

__all__ = ["write_csv", "write_json", "write_npz", "write_parquet"]


def write_csv(file: IO[bytes], about: Mapping[str, Any], frame: pandas.DataFrame) -> None:
    """Write one table as UTF-8 text: one line of names, nan as an empty cell."""
    made = _texts(frame, lambda name: spreadsheet_safe(valid_unicode(name)))
    made.to_csv(file, index=False, lineterminator="\n", encoding="utf-8", mode="wb")


def write_parquet(file: IO[bytes], about: Mapping[str, Any], frame: pandas.DataFrame) -> None:
    """Write one table with its types; what is known of the run is in the frame's attributes."""
    try:
        import pyarrow  # noqa: F401, only whether it is there
    except ImportError as error:
        raise ImportError("writing Parquet needs pyarrow: python -m pip install pyarrow") from error
    made = _texts(frame, valid_unicode)
    made.attrs = {"actstats": json.dumps(plain(dict(about)))}
    made.to_parquet(file, index=False, engine="pyarrow")


def write_json(
    file: IO[bytes], about: Mapping[str, Any], tables: Mapping[str, pandas.DataFrame]
) -> None:
    """Write all in one document of ASCII, column by column; nan and infinities as null."""
    columns = {
        table: {str(name): _listed(frame[name]) for name in frame}
        for table, frame in tables.items()
    }
    document = {**plain(dict(about)), "tables": columns}
    file.write(json.dumps(document, allow_nan=False, separators=(",", ":")).encode("ascii"))
    file.write(b"\n")


def write_npz(
    file: IO[bytes], about: Mapping[str, Any], tables: Mapping[str, pandas.DataFrame]
) -> None:
    """Write an array per column, ``table/column``; names as codes into ``names/column``."""
    arrays: dict[str, NDArray[Any]] = {"about": np.array(json.dumps(plain(dict(about))))}
    known: dict[str, dict[str, int]] = {}
    for table, frame in tables.items():
        for name in frame:
            column = frame[name]
            if _is_text(column):
                codes = _codes(column, known.setdefault(str(name), {}))
                arrays[f"{table}/{name}"] = codes
            else:
                arrays[f"{table}/{name}"] = column.to_numpy()
    for name, codes_of in known.items():
        arrays[f"names/{name}"] = np.array(list(codes_of), np.str_)
    np.savez_compressed(file, allow_pickle=False, **arrays)


def _is_text(column: pandas.Series[Any]) -> bool:
    """Tell whether a column holds names."""
    return not (isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf")


def _codes(column: pandas.Series[Any], known: dict[str, int]) -> NDArray[np.int32]:
    """Return each name's place in what is known, which grows; -1 where there is none."""
    return np.array(
        [-1 if name is None else known.setdefault(name, len(known)) for name in _objects(column)],
        np.int32,
    )


def _listed(column: pandas.Series[Any]) -> list[Any]:
    if _is_text(column):
        return list(_objects(column))
    values = column.to_numpy()
    if values.dtype.kind != "f":
        return list(values.tolist())
    return [
        value if finite else None
        for value, finite in zip(values.tolist(), np.isfinite(values), strict=True)
    ]


def _objects(column: pandas.Series[Any]) -> list[Any]:
    """Return a column of names as strings, and None where there is none."""
    return [name if isinstance(name, str) else None for name in column.astype(object)]


def _texts(frame: pandas.DataFrame, clean: Any) -> pandas.DataFrame:
    """Return a copy whose names are clean; each name is cleaned once."""
    made = frame.copy()
    for name in frame:
        if not _is_text(frame[name]):
            continue
        texts = _objects(frame[name])
        known = {text: clean(text) for text in dict.fromkeys(texts) if text is not None}
        made[name] = [known.get(text) for text in texts]
    return made
