"""Write the golden recording of the present schema version, once."""

import json
from pathlib import Path

import torch

import actstats
from actstats.log.schema import VERSION

HERE = Path(__file__).parent


def record():
    torch.manual_seed(0)
    net = actstats.make_mlp(2, [4, 4], 1, activation="tanh", bn=True)
    edges = {"fc1": (4, -1.0, 1.0)}
    recorder = actstats.ActivationRecorder(net, capture=("output", "grad"), edges=edges)
    with recorder:
        for step in range(3):
            net(torch.randn(40, 2)).square().mean().backward()
            recorder.step(loss=step / 3)
        net.eval()
        net(torch.full((3, 2), torch.nan))
        recorder.step()
    recorder.metadata.clear()
    recorder.metadata.update(seed=0, about="golden")
    return recorder.recording


def told(recording):
    """Return what a recording says, as JSON can hold it."""
    frame = recording.to_pandas()
    return {
        "figures": json.loads(frame.to_json(orient="records", double_precision=15)),
        "quantiles": {s: recording[s].quantile([0.1, 0.5, 0.9]).tolist() for s in recording},
        "edges": recording["fc1"].histogram().counts.tolist(),
        "scalars": [{n: s.mean for n, s in w.scalars.items()} for w in recording.windows],
        "sites": {key: [s.module_type, s.activation] for key, s in recording.sites.items()},
        "metadata": recording.metadata,
    }


if __name__ == "__main__":
    file = HERE / f"v{VERSION}.actstats"
    if file.exists():
        raise SystemExit(f"{file.name} is there; it never changes.")
    record().save(file)
    file.with_suffix(".json").write_text(json.dumps(told(record()), indent=1) + "\n")
