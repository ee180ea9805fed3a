"""Models spread over ranks in torch's own ways; started by ``ranks.py`` as ``parallel``."""

import torch
from ranks import batch, network, record
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from actstats import ActivationRecorder

UNITS = 7  # which no number of ranks divides


def see_in_parallel(rank, step):
    """The same data on all ranks."""
    return batch(9, step, features=4)


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, UNITS), nn.ReLU(), nn.Linear(UNITS, 3), nn.GELU())


def run_all(rank, world, folder):
    mesh = init_device_mesh("cpu", (world,))
    save(folder, "ddp", rank, ddp(rank))
    save(folder, "fsdp", rank, fsdp(rank, mesh))
    tensor_parallel(rank, folder, mesh)
    save(folder, "partial", rank, partial(mesh))
    save(folder, "sequence", rank, sequence(mesh))


def save(folder, name, rank, recorder):
    recorder.merge_ranks().save(folder / f"{name}.{rank}.merged")


def ddp(rank):
    net = DistributedDataParallel(network())
    return record([rank], lambda rank: 3, net=net, capture=("output", "grad"))


def fsdp(rank, mesh):
    net = network()
    for layer in net:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(net, mesh=mesh)
    return record([rank], lambda rank: 3, net=net, capture=("output", "grad"))


def tensor_parallel(rank, folder, mesh):
    """Units of the first layer are spread; what follows the second is replicated."""
    whole = {"use_local_output": False}
    plan = {"0": ColwiseParallel(**whole), "2": RowwiseParallel(input_layouts=Shard(-1), **whole)}
    net = parallelize_module(perceptron(), mesh, plan)
    seen = {}
    for name, layer in net.named_children():
        layer.register_forward_hook(keeping(seen.setdefault(name, [])))
    recorder = ActivationRecorder(net, window=2, capture=("output", "input"), strict=True)
    with recorder:
        for step in range(3):
            net(see_in_parallel(rank, step))
            recorder.step()
    save(folder, "tensor", rank, recorder)
    recorder.recording.save(folder / f"tensor.{rank}.own")
    whole = {n: torch.stack([t.full_tensor() for t in outs]) for n, outs in seen.items()}
    torch.save({n: t.detach() for n, t in whole.items()}, folder / f"tensor.{rank}.seen")


def keeping(outputs):
    def hook(module, args, out):
        outputs.append(out)

    return hook


def partial(mesh):
    """The layer's sums are not reduced."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(UNITS, 3, bias=False))
    whole = net[0].weight.detach()
    net[0].weight = nn.Parameter(distribute_tensor(whole, mesh, [Shard(1)]))
    out, recorder = see_once(net, distribute_tensor(batch(0, 0, features=UNITS), mesh, [Shard(1)]))
    assert out.placements[0].is_partial()
    return recorder


def sequence(mesh):
    """Tokens are spread over ranks, units are not."""
    net = nn.Sequential(nn.Tanh())
    x = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    out, recorder = see_once(net, distribute_tensor(x, mesh, [Shard(1)]))
    assert out.placements == (Shard(1),)
    return recorder


def see_once(net, x):
    recorder = ActivationRecorder(net, window=1, strict=True)
    with recorder, torch.no_grad():
        out = net(x)
        recorder.step()
    recorder.kept = net
    return out, recorder
