"""What is known of one observed leaf between calls."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from actstats import ActivationRecorder
from actstats.kernels import reference
from actstats.leaf import Leaf
from actstats.sites import Site


class OnDevice:
    """A count that lies on a device: whoever reads it waits."""

    is_cpu = False

    def __int__(self):
        raise AssertionError("waited for the device")


@pytest.mark.parametrize("calls", [OnDevice(), torch.tensor(0), torch.tensor(2)])
def test_whether_a_first_call_is_under_way_is_told_without_waiting(calls):
    leaf = Leaf(Site("0"), SimpleNamespace(calls=calls), reference, None, None, 0)
    assert not leaf.is_begun
    leaf.ahead = True
    assert leaf.is_begun == (not calls.is_cpu or not calls)
    leaf.handed = True
    assert not leaf.is_begun


@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_what_is_judged_before_a_step_and_seen_after_it_stays_together(kernel):
    net, x, is_step = nn.Sequential(nn.GELU()), torch.randn(6, 4), [False]
    with ActivationRecorder(net, window=1, kernel=kernel, strict=True) as recorder:
        net[0].register_forward_pre_hook(lambda *_: recorder.step() if is_step[0] else None)
        for is_step[0] in (False, True, False, True, False):
            net(x)
            if not is_step[0]:
                recorder.step()
    stats = [window.stats["0"] for window in recorder.recording.windows if "0" in window.stats]
    assert [one.calls for one in stats] == [1, 2, 2]
    assert [int(one.judged.seen.sum()) for one in stats] == [24, 48, 48]
