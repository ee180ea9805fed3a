"""What recording costs: the time of a training step with the recorder over without.

    python benchmarks/overhead.py [--rounds 5] [--seconds 0.5]

One thread; CPU time of the thread, so that other work on the machine counts little; rounds with
and without alternate in one run, and the ratio is that of the medians. A step is forward,
backward and SGD; the recorder keeps every statistic of every leaf output.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from actstats import ActivationRecorder, make_mlp

Case = tuple[str, nn.Module, Tensor, Callable[[nn.Module, Tensor], Tensor]]


def mean_square(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).square().mean()


def last_state(model: nn.Module, x: Tensor) -> Tensor:
    return model(inputs_embeds=x).last_hidden_state.square().mean()


def logits(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).logits.square().mean()


def cases() -> Iterator[Case]:
    """The tutorial's net, a wide MLP, a ResNet-18 and four transformer blocks."""
    tutorial = make_mlp(bn=True, weight_std=0.1, bias_init=-0.2)
    yield "tutorial net, 26 leaves of 64 x 10", tutorial, torch.randn(64, 1), mean_square
    wide = make_mlp(1024, (1024,) * 6, 10, activation="relu")
    yield "MLP 6 x 1024, batch 256", wide, torch.randn(256, 1024), mean_square
    try:
        import transformers
    except ImportError:
        print("(transformers is not installed: ResNet and GPT-2 are left out)")
        return
    resnet = transformers.ResNetConfig(layer_type="basic", depths=[2, 2, 2, 2])
    resnet.hidden_sizes = [64, 128, 256, 512]
    model = transformers.ResNetForImageClassification(resnet)
    yield "ResNet-18, 16 x 3 x 64 x 64", model, torch.randn(16, 3, 64, 64), logits
    gpt = transformers.GPT2Config(n_layer=4, n_embd=384, n_head=6, n_positions=256)
    tokens = torch.randn(4, 256, 384)
    yield "GPT-2, 4 blocks, d 384, 4 x 256 tokens", transformers.GPT2Model(gpt), tokens, last_state


def steps_per_second(step: Callable[[], None], seconds: float) -> float:
    done, begin = 0, time.thread_time()
    while time.thread_time() - begin < seconds:
        step()
        done += 1
    return done / (time.thread_time() - begin)


def measure(case: Case, rounds: int, seconds: float) -> tuple[float, float, int]:
    """Return the median step without and with the recorder, in ms, and the number of sites."""
    _, model, x, loss_of = case
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    recorder = ActivationRecorder(model)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(model, x).backward()
        optimizer.step()
        recorder.step()

    rates: dict[bool, list[float]] = {False: [], True: []}
    for i in range(rounds + 1):  # the first warms up
        for recorded in (False, True):
            if recorded:
                recorder.attach()
            rate = steps_per_second(step, seconds)
            recorder.detach()
            if i:
                rates[recorded].append(rate)
    without, recorded_rate = (statistics.median(rates[key]) for key in (False, True))
    return 1000 / without, 1000 / recorded_rate, len(recorder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="CPU time of a round")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print("| step (forward, backward, SGD) | sites | without, ms | recorded, ms | ratio |")
    print("|---|---|---|---|---|")
    for case in cases():
        without, recorded, sites = measure(case, options.rounds, options.seconds)
        ratio = recorded / without
        print(f"| {case[0]} | {sites} | {without:.2f} | {recorded:.2f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
