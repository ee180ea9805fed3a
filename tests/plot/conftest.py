"""What holds for every picture."""

import matplotlib as mpl
import pytest


@pytest.fixture(autouse=True)
def _nothing_global_changes():
    """No figure reaches pyplot and no setting changes."""
    import matplotlib.pyplot as plt

    before = dict(mpl.rcParams)
    yield
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
