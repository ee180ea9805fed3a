"""A Trainer on two ranks: trains, merges, and goes on from its checkpoint.

python trainer_ranks.py FOLDER, started by torchrun
"""

import json
import sys
from pathlib import Path

from trainer_runs import random_tokens, tiny_bert, trainer

from actstats.integrations import Feed
from actstats.integrations.transformers import ActivationCallback


class Counted(Feed):
    sent = 0

    def send(self, packet):
        self.sent += 1


def main(folder):
    feed, saving = Counted(findings=False), {"save_strategy": "steps", "save_steps": 3}
    first, second = ActivationCallback(feeds=feed, window=1), ActivationCallback(window=1)
    data = (random_tokens(0, 24), random_tokens(1, 3))
    run = trainer(folder, tiny_bert(), data, [first], **saving)
    run.train()
    merged = first.recorder.merge_ranks()
    trainer(folder, tiny_bert(), data, [second], **saving).train(
        resume_from_checkpoint=str(folder / "checkpoint-3")
    )
    told = {
        "sent": feed.sent,
        "own": first.recorder["classifier"].count,
        "merged": merged["classifier"].count,
        "mean": first.recorder["classifier"].mean,
        "resumed": [second.recorder["classifier"].count, second.recorder["classifier"].mean],
    }
    (folder / f"rank{run.args.process_index}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
