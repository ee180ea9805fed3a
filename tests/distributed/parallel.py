"""Models spread over ranks in torch's own ways; started by ``ranks.py`` as ``parallel``."""

import json

import torch
from ranks import batch, network
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from actstats import ActivationRecorder

UNITS = 7  # which no number of ranks divides


def see_in_parallel(rank, step):
    """The same data on all ranks."""
    return batch(9, step, features=4)


def perceptron(units=UNITS):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, units), nn.ReLU(), nn.Linear(units, 3), nn.GELU())


def run_all(rank, world, folder):
    mesh = init_device_mesh("cpu", (world,))
    save(folder, "ddp", rank, ddp(rank))
    save(folder, "static", rank, ddp(rank, static_graph=True))
    save(folder, "joined", rank, joined(rank))
    save(folder, "fsdp", rank, fsdp(rank, mesh))
    save(folder, "fsdp_early", rank, fsdp(rank, mesh, early=True))
    mixed_precision(rank, folder, mesh)
    tensor_parallel(rank, folder, mesh)
    local_outputs(rank, folder, mesh)
    local_outputs(rank, folder, mesh, early=True)
    save(folder, "partial", rank, partial(mesh))
    save(folder, "sequence", rank, sequence(mesh))
    communicate(rank, folder, mesh)
    record_on_one_rank(rank, folder, mesh)


def save(folder, name, rank, recorder):
    recorder.merge_ranks().save(folder / f"{name}.{rank}.merged")
    recorder.recording.save(folder / f"{name}.{rank}.own")


def train(net, rank, recorder, steps=3, see=batch):
    with recorder:
        for step in range(steps):
            net(see(rank, step)).sum().backward()
            recorder.step(loss=float(rank))
    recorder.kept = net
    return recorder


def recorder_of(net, **options):
    return ActivationRecorder(
        net, **{"window": 2, "strict": True, "capture": ("output", "grad"), **options}
    )


# ---- data parallel -------------------------------------------------------------------------------


def ddp(rank, **options):
    net = DistributedDataParallel(network(bn=True), **options)
    return train(net, rank, recorder_of(net, kernel="reference"))


def joined(rank):
    """Rank 1 has two batches more; meanwhile rank 0 goes through the motions."""
    net = DistributedDataParallel(network())
    recorder = recorder_of(net, kernel="reference").attach()
    with net.join():
        train(net, rank, _Open(recorder), steps=3 + 2 * rank)
    recorder.detach()
    recorder.kept = net
    return recorder


class _Open:
    """A recorder that stays attached when a block ends."""

    def __init__(self, recorder):
        self.step = recorder.step

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def fsdp(rank, mesh, *, early=False, **options):
    net = network()
    recorder = recorder_of(net, kernel="reference").attach() if early else None
    for layer in net:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh, **options)
    fully_shard(net, mesh=mesh, **options)
    return train(net, rank, recorder or recorder_of(net, kernel="reference"))


def mixed_precision(rank, folder, mesh):
    """What is computed in bfloat16 is seen in bfloat16, once."""
    recorder = fsdp(rank, mesh, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    save(folder, "fsdp_mixed", rank, recorder)
    seen = []
    recorder.kept[0].register_forward_hook(keeping(seen))
    for step in range(3):
        recorder.kept(batch(rank, step))
    torch.save(torch.cat(seen).detach(), folder / f"fsdp_mixed.{rank}.seen")


# ---- tensor parallel -----------------------------------------------------------------------------


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
    whole = {n: torch.stack([t.full_tensor() for t in outs]) for n, outs in seen.items()}
    torch.save({n: t.detach() for n, t in whole.items()}, folder / f"tensor.{rank}.seen")


def local_outputs(rank, folder, mesh, *, early=False):
    """Torch's default: layers give plain tensors, the second one before they have arrived."""
    net, plan = perceptron(units=8), {"0": ColwiseParallel(), "2": RowwiseParallel()}
    recorder = recorder_of(net).attach() if early else None
    net = parallelize_module(net, mesh, plan)
    seen = {name: [] for name in plan}
    for name, outputs in seen.items():
        net[int(name)].register_forward_hook(keeping(outputs))
    name = "local_early" if early else "local"
    save(folder, name, rank, train(net, rank, recorder or recorder_of(net), see=see_in_parallel))
    kinds = {layer: type(outputs[0]).__name__ for layer, outputs in seen.items()}
    whole = {
        layer: torch.stack([t.detach() + 0 for t in outputs]) for layer, outputs in seen.items()
    }
    torch.save({"kinds": kinds, **whole}, folder / f"{name}.{rank}.seen")


def communicate(rank, folder, mesh):
    """Count the collectives of a step without and with a recorder."""
    counts = []
    for recorders in (0, 1):
        net = distributed_perceptron(mesh)
        recorder = recorder_of(net, capture=("output", "input", "grad"))
        recorder = recorder.attach() if recorders else recorder
        with CommDebugMode() as seen:
            net(see_in_parallel(rank, 0)).full_tensor().sum().backward()
            recorder.step()
        counts.append({str(op): n for op, n in seen.get_comm_counts().items()})
        recorder.detach()
    (folder / f"communicate.{rank}.json").write_text(json.dumps(counts))


def record_on_one_rank(rank, folder, mesh):
    """A hook that communicated would wait for the other rank, or break its next collective."""
    results = []
    for recorders in (0, 1):
        net = distributed_perceptron(mesh)
        recorder = recorder_of(net, capture=("output", "input", "grad"))
        if recorders and rank == 0:
            recorder.attach()
        for step in range(3):
            net(see_in_parallel(rank, step)).full_tensor().square().sum().backward()
            recorder.step()
        results.append([p.grad.full_tensor() for p in net.parameters()])
        recorder.detach()
    same = all(map(torch.equal, *results))
    (folder / f"one_sided.{rank}.json").write_text(
        json.dumps({"same": same, "seen": len(recorder)})
    )


def distributed_perceptron(mesh):
    """All its outputs are DTensors: of units, of all, and of partial sums."""
    whole = {"use_local_output": False}
    plan = {
        "0": ColwiseParallel(**whole),
        "2": RowwiseParallel(input_layouts=Shard(-1), output_layouts=Shard(0), **whole),
    }
    return parallelize_module(perceptron(), mesh, plan)


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
