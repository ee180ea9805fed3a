"""Runs of the transformers Trainer: MiniLM with its real weights, and a BERT of two layers."""

import torch
from benchmarks.clinic import models
from torch.utils.data import Dataset

STEPS, BATCH, ACCUMULATED, LENGTH = 6, 4, 2, 12
PER_STEP = BATCH * ACCUMULATED


class Rows(Dataset):
    """Tokens and labels, as the Trainer takes them."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        mask = (self.x[i] != 0).long()
        return {"input_ids": self.x[i], "attention_mask": mask, "labels": self.y[i]}


def sentences(seed, count):
    """Short judgements, and whether they are good ones; `count` batches of four."""
    batches = models.sentences(seed, BATCH, count)
    return Rows(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))


def random_tokens(seed, count):
    drawn = torch.Generator().manual_seed(seed)
    x = torch.randint(1, 30, (BATCH * count, LENGTH), generator=drawn)
    return Rows(x, (x[:, 0] > 15).long())


def minilm():
    import transformers as t

    torch.manual_seed(0)
    bert = models.Sentiment(frozen=False).bert
    model = t.BertForSequenceClassification(bert.config)
    lacking = model.bert.load_state_dict(bert.state_dict(), strict=False)
    assert not lacking.unexpected_keys
    assert all("pooler" in key for key in lacking.missing_keys)
    return model


def tiny_bert():
    import transformers as t

    torch.manual_seed(0)
    config = t.BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, attention_probs_dropout_prob=0.0,
        hidden_dropout_prob=0.1,
    )  # fmt: skip
    return t.BertForSequenceClassification(config)


def trainer(folder, model, data, callbacks=(), **arguments):
    """A Trainer of six steps of two batches, on the CPU and quiet."""
    import transformers as t

    given = {
        "max_steps": STEPS,
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": BATCH,
        "gradient_accumulation_steps": ACCUMULATED,
        "logging_steps": 1,
        "save_strategy": "no",
        **arguments,
    }
    args = t.TrainingArguments(
        str(folder), use_cpu=True, report_to="none", disable_tqdm=True, seed=0,
        dataloader_pin_memory=False, **given,
    )  # fmt: skip
    train, evaluate = data
    return t.Trainer(
        model, args, train_dataset=train, eval_dataset=evaluate, callbacks=list(callbacks)
    )
