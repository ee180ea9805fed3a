"""A recording as labelled arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from actstats.names import valid_unicode
from actstats.recording import Recording

if TYPE_CHECKING:
    import xarray

__all__ = ["to_xarray"]

_SITE_COORDS = ("module_type", "kind", "activation", "order")
_WINDOW_COORDS = ("first_step", "last_step", "phase")


def to_xarray(recording: Recording) -> xarray.Dataset:
    """Return the figures of a recording; see :meth:`Recording.to_xarray`."""
    try:
        import xarray
    except ImportError as error:
        raise ImportError("to_xarray() needs xarray: python -m pip install xarray") from error
    return xarray.Dataset({**_figures(recording), **_scalars(recording)}, _coords(recording))


def _figures(recording: Recording) -> dict[str, Any]:
    places = {site: place for place, site in enumerate(recording)}
    shape = (len(recording.windows), len(places))
    arrays = {name: np.full(shape, np.nan) for name in recording.figure_names}
    for row, window in enumerate(recording.windows):
        sites, found = window.figures
        columns = [places[site] for site in sites]
        for name, values in found.items():
            arrays[name][row, columns] = values
    return {name: (("window", "site"), values) for name, values in arrays.items()}


def _scalars(recording: Recording) -> dict[str, Any]:
    names = dict.fromkeys(name for window in recording.windows for name in window.scalars)
    return {
        f"scalar_{valid_unicode(name)}": (
            "window",
            [_mean(window.scalars.get(name)) for window in recording.windows],
        )
        for name in names
    }


def _mean(scalar: Any) -> float:
    return np.nan if scalar is None else float(scalar.mean)


def _coords(recording: Recording) -> dict[str, Any]:
    coords: dict[str, Any] = {
        "window": np.arange(len(recording.windows)),
        "site": _array(recording),
    }
    for name in _WINDOW_COORDS:
        coords[name] = ("window", _array(getattr(w, name) for w in recording.windows))
    for name in _SITE_COORDS:
        values = (getattr(site, name) for site in recording.sites.values())
        coords[name] = ("site", _array("" if value is None else value for value in values))
    return coords


def _array(values: Any) -> Any:
    """Return an array; of names those that can be written, as xarray wants them."""
    listed = [valid_unicode(v) if isinstance(v, str) else v for v in values]
    return np.array(listed, object if listed and isinstance(listed[0], str) else None)
