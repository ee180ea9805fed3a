"""Runs that are killed: forks a run for each file, kills it, and tells what it had closed.

    python killed_run.py FOLDER ROUNDS

Prints a line of JSON for each: the file, and how many steps had returned when it was killed.
"""

import json
import os
import random
import signal
import sys
import time

import torch

from actstats import ActivationRecorder, make_mlp
from actstats.log import writer


def batch(step):
    return torch.randn(16, 2, generator=torch.Generator().manual_seed(step))


def network():
    torch.manual_seed(0)
    return make_mlp(2, [5, 5], 1, activation="tanh")


def run(path, told):
    """Train without end; one byte after each step that has returned."""
    net = network()
    with ActivationRecorder(net, log=path, window=1, kernel="reference") as recorder:
        step = 0
        while True:
            net(batch(step))
            recorder.step(loss=step / 7)
            os.write(told, b".")
            step += 1


def killed(path, seconds):
    """Kill a run after some time; return how many steps had returned."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        try:
            run(path, write)
        finally:
            os._exit(1)
    os.close(write)
    os.read(read, 1)  # the first window is there
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    steps = 1
    while more := os.read(read, 65536):
        steps += len(more)
    os.close(read)
    return steps


def main(folder, rounds):
    torch.set_num_threads(1)
    chance = random.Random(0)
    for i in range(rounds):
        writer.CHECKPOINT = chance.choice((20_000, 200_000, writer.CHECKPOINT))
        path = os.path.join(folder, f"{i}.actstats")
        print(json.dumps([path, killed(path, chance.uniform(0, 0.12))]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
