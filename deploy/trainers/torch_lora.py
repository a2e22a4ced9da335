"""A training program for Cloister in PyTorch with `transformers`: trains adapters, routers and head, as the built-in one.

    cloister client … --trainer-cmd 'python3 deploy/trainers/torch_lora.py' --trainer-env LD_LIBRARY_PATH

Needs torch, transformers and numpy. What a hospital would change is `MoeLayer` and `train`.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F
from transformers import BertModel

from cloister_job import Job, Statistics, progress, shuffled

HEAD_RATE_RATIO, HEAD_WEIGHT_DECAY = 3.0, 0.01
LOAD_BALANCE = 0.01
EVALUATION_BATCH = 8


class MoeLayer(nn.Module):
    """One layer of BERT whose dense network became experts, each with an adapter of which B is trained."""

    def __init__(self, bert_layer, tensors, name, experts, scale):
        super().__init__()
        self.bert, self.scale = bert_layer, scale
        parameter = lambda part: nn.Parameter(torch.tensor(tensors[f"{name}.{part}"]))
        self.router = parameter("router.weight")
        stack = lambda part: torch.stack([torch.tensor(tensors[f"{name}.experts.{e}.{part}"]) for e in range(experts)])
        self.up_a, self.down_a = stack("up.lora_A"), stack("down.lora_A")
        self.up_b, self.down_b = nn.Parameter(stack("up.lora_B")), nn.Parameter(stack("down.lora_B"))

    def forward(self, hidden, mask):
        hidden = attend(self.bert, hidden, mask)
        probabilities = (hidden @ self.router.T).softmax(-1)
        weights, chosen = probabilities.topk(2, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        rows, flat = hidden.flatten(0, 1), torch.zeros_like(hidden).flatten(0, 1)
        for expert in range(len(self.up_b)):
            at, place = (chosen.flatten(0, 1) == expert).nonzero(as_tuple=True)
            flat = flat.index_add(0, at, self._expert(rows[at], expert) * weights.flatten(0, 1)[at, place, None])
        out = self.bert.output.LayerNorm(hidden + flat.view_as(hidden))
        return out, (hidden, probabilities, chosen)

    def _expert(self, rows, e):
        inside = self.bert.intermediate.dense(rows) + rows @ self.up_a[e].T @ self.up_b[e].T * self.scale
        inside = F.gelu(inside)
        return self.bert.output.dense(inside) + inside @ self.down_a[e].T @ self.down_b[e].T * self.scale

    def tensors(self, name):
        yield f"{name}.router.weight", self.router
        for expert in range(len(self.up_b)):
            yield f"{name}.experts.{expert}.up.lora_B", self.up_b[expert]
            yield f"{name}.experts.{expert}.down.lora_B", self.down_b[expert]


def attend(bert_layer, hidden, mask):
    out = bert_layer.attention(hidden, attention_mask=mask)
    return out[0] if isinstance(out, tuple) else out


class Classifier(nn.Module):
    def __init__(self, job):
        super().__init__()
        config, tensors = job.model, job.model_tensors()
        self.config = config
        bert = BertModel.from_pretrained(job.base, add_pooling_layer=False).eval().requires_grad_(False)
        first = len(bert.encoder.layer) - config["moe_layers"]
        self.embeddings, self.lower = bert.embeddings, bert.encoder.layer[:first]
        scale = config["alpha"] / config["rank"]
        self.names = [f"layers.{layer}" for layer in range(first, len(bert.encoder.layer))]
        upper = zip(bert.encoder.layer[first:], self.names)
        self.upper = nn.ModuleList(MoeLayer(layer, tensors, name, config["experts"], scale) for layer, name in upper)
        self.head_weight = nn.Parameter(torch.tensor(tensors["head.weight"]))
        self.head_bias = nn.Parameter(torch.tensor(tensors["head.bias"]))
        self.tokenizer = Tokenizer.from_file(str(Path(job.base) / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()

    def batch(self, texts):
        """Numbers and mask, [notes, longest], and how many notes were cut."""
        most, encoded = self.config["max_tokens"], [self.tokenizer.encode(text).ids for text in texts]
        ids = [tokens if len(tokens) <= most else tokens[: most - 1] + tokens[-1:] for tokens in encoded]
        rows = nn.utils.rnn.pad_sequence([torch.tensor(tokens) for tokens in ids], batch_first=True)
        lengths = torch.tensor([len(tokens) for tokens in ids])
        mask = torch.arange(rows.shape[1])[None] < lengths[:, None]
        return rows, mask, sum(len(tokens) > most for tokens in encoded)

    def forward(self, ids, mask):
        closed = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)[:, None, None]
        with torch.no_grad():
            hidden = self.embeddings(input_ids=ids)
            for layer in self.lower:
                attended = attend(layer, hidden, closed)
                hidden = layer.output(layer.intermediate(attended), attended)
        routings = []
        for layer in self.upper:
            hidden, routing = layer(hidden, closed)
            routings.append([part[mask] for part in routing])
        share = mask / mask.sum(1, keepdim=True)
        return (hidden * share[..., None]).sum(1) @ self.head_weight.T + self.head_bias, routings

    def trained(self):
        tensors = {"head.weight": self.head_weight, "head.bias": self.head_bias}
        for layer, name in zip(self.upper, self.names):
            tensors.update(layer.tensors(name))
        return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def balance(routing):
    _, probabilities, chosen = routing
    fraction = torch.bincount(chosen.flatten(), minlength=probabilities.shape[1]) / chosen.numel()
    return (fraction * probabilities.mean(0)).sum() * probabilities.shape[1]


def consistency(routing, published):
    """The routing regulariser of FedAlign-MoE: KL of each token's chosen probabilities, strong for common experts."""
    _, probabilities, chosen = routing
    published = published.clamp_min(1e-4) / published.clamp_min(1e-4).sum()
    overlap = probabilities.mean(0).detach() * published
    alpha = overlap / overlap.max()
    picked = probabilities.gather(1, chosen)
    return (alpha[chosen] * picked * (picked / published[chosen]).log()).sum() / len(picked)


def optimizer_of(model, rate):
    experts = [p for layer in model.upper for p in (layer.up_b, layer.down_b, layer.router)]
    groups = [
        {"params": experts, "lr": rate, "weight_decay": 0.0},
        {"params": [model.head_weight], "lr": HEAD_RATE_RATIO * rate, "weight_decay": HEAD_WEIGHT_DECAY},
        {"params": [model.head_bias], "lr": HEAD_RATE_RATIO * rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups)


def train(job):
    model, settings, notes = Classifier(job), job.settings, job.notes_of_job()
    tensors = job.model_tensors()
    published = [torch.tensor(tensors[f"routing.{layer}"]) for layer in range(job.table["layers"])]
    classes = {name: number for number, name in enumerate(job.model["classes"])}
    optimizer = optimizer_of(model, settings["learning_rate"])
    size, losses, truncated = settings["batch_size"], [], 0
    steps = settings["local_epochs"] * -(-len(notes) // size)
    for epoch in range(settings["local_epochs"]):
        order = shuffled(len(notes), settings["seed"], epoch)
        for start in range(0, len(notes), size):
            own = [notes[number] for number in order[start : start + size]]
            ids, mask, cut = model.batch([note["text"] for note in own])
            logits, routings = model(ids, mask)
            task = F.cross_entropy(logits, torch.tensor([classes[str(note["label"])] for note in own]))
            extra = sum(LOAD_BALANCE * balance(routing) for routing in routings)
            for routing, distribution in zip(routings, published):
                if distribution.any():
                    extra = extra + settings["routing_penalty"] * consistency(routing, distribution)
            optimizer.zero_grad()
            (task + extra).backward()
            optimizer.step()
            losses.append(task.item())
            truncated += cut if epoch == 0 else 0
            progress(len(losses), steps)
    job.write_training(model.trained(), statistics(job, model, notes), losses, len(notes), truncated)


@torch.no_grad()
def statistics(job, model, notes):
    sums = Statistics(job.table)
    for start in range(0, len(notes), EVALUATION_BATCH):
        ids, mask, _ = model.batch([note["text"] for note in notes[start : start + EVALUATION_BATCH]])
        for layer, routing in enumerate(model(ids, mask)[1]):
            sums.add(layer, *(part.numpy() for part in routing))
    return sums


@torch.no_grad()
def evaluate(job):
    model, notes = Classifier(job), job.notes_of_job()
    names, correct = job.model["classes"], 0
    for start in range(0, len(notes), EVALUATION_BATCH):
        own = notes[start : start + EVALUATION_BATCH]
        ids, mask, _ = model.batch([note["text"] for note in own])
        for note, best in zip(own, model(ids, mask)[0].argmax(-1)):
            correct += names[best] == str(note["label"])
    job.write_evaluation(correct, len(notes))


if __name__ == "__main__":
    job = Job(sys.argv[-1])
    torch.set_num_threads(job.threads)
    {"train": train, "evaluate": evaluate}[job.job](job)
