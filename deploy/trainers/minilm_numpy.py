"""all-MiniLM-L6-v2 with experts in its upper layers, forward only, in numpy: what Cloister's built-in trainer computes."""

import json
import unicodedata
from pathlib import Path

import numpy as np

from cloister_job import read_tensors

LAYERS, HEADS, WIDTH = 6, 12, 384
CHOSEN = 2
BEGIN, END, UNKNOWN = 101, 102, 100


class WordPiece:
    """BERT's tokenizer, for the vocabulary of a `tokenizer.json`."""

    def __init__(self, path):
        self.vocabulary = json.loads(Path(path).read_text(encoding="utf-8"))["model"]["vocab"]

    def encode(self, text, most):
        """Token numbers between the two special tokens, `most` together, and whether something was cut off."""
        pieces = [piece for word in words(text) for piece in self._pieces(word)]
        return [BEGIN, *pieces[: most - 2], END], len(pieces) > most - 2

    def _pieces(self, word):
        pieces, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = word[start:end] if start == 0 else "##" + word[start:end]
                if piece in self.vocabulary:
                    break
            else:
                return [UNKNOWN]
            pieces.append(self.vocabulary[piece])
            start = end
        return pieces


def words(text):
    """Lower case without accents, split at white space and around punctuation."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    spread = "".join(f" {c} " if is_punctuation(c) else c for c in plain)
    return spread.split()


def is_punctuation(c):
    return unicodedata.category(c).startswith("P") or (c.isascii() and c.isprintable() and not c.isalnum() and c != " ")


class MiniLmMoe:
    """The model with the adapters, routers and head that a job brings."""

    def __init__(self, job):
        base = Path(job.base)
        self.base = {name: t for name, t in read_tensors(base / "model.safetensors").items() if t.dtype == np.float32}
        self.tokenizer = WordPiece(base / "tokenizer.json")
        self.config = job.model
        self.tensors = job.model_tensors()
        self.first = LAYERS - self.config["moe_layers"]

    def pooled(self, text, statistics=None):
        """The mean of a text's last hidden states, [384], and whether the text was cut."""
        tokens, cut = self.tokenizer.encode(text, self.config["max_tokens"])
        base = self.base
        hidden = base["embeddings.word_embeddings.weight"][tokens]
        hidden = hidden + base["embeddings.position_embeddings.weight"][: len(tokens)]
        hidden = self._norm(hidden + base["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(LAYERS):
            hidden = self._attention(hidden, f"encoder.layer.{layer}.attention")
            if layer < self.first:
                hidden = self._dense(hidden, f"encoder.layer.{layer}")
            else:
                hidden = self._experts(hidden, layer, statistics)
        return hidden.mean(axis=0), cut

    def _linear(self, rows, name):
        return rows @ self.base[f"{name}.weight"].T + self.base[f"{name}.bias"]

    def _norm(self, rows, name):
        centred = rows - rows.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return scaled * self.base[f"{name}.weight"] + self.base[f"{name}.bias"]

    def _attention(self, hidden, name):
        heads = lambda part: self._linear(hidden, f"{name}.self.{part}").reshape(-1, HEADS, WIDTH // HEADS).swapaxes(0, 1)
        query, key, value = heads("query"), heads("key"), heads("value")
        weights = softmax(query @ key.swapaxes(1, 2) / np.sqrt(WIDTH / HEADS))
        attended = (weights @ value).swapaxes(0, 1).reshape(-1, WIDTH)
        return self._norm(hidden + self._linear(attended, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _dense(self, hidden, name):
        inside = gelu(self._linear(hidden, f"{name}.intermediate.dense"))
        return self._norm(hidden + self._linear(inside, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _experts(self, hidden, layer, statistics):
        probabilities = softmax(hidden @ self.tensors[f"layers.{layer}.router.weight"].T)
        chosen = np.argsort(-probabilities, axis=1, kind="stable")[:, :CHOSEN]
        if statistics is not None:
            statistics.add(layer - self.first, hidden, probabilities, chosen)
        weights = np.take_along_axis(probabilities, chosen, axis=1)
        weights = weights / weights.sum(axis=1, keepdims=True)
        out = np.zeros_like(hidden)
        for expert in np.unique(chosen):
            rows, place = np.nonzero(chosen == expert)
            out[rows] += weights[rows, place, None] * self._expert(hidden[rows], layer, expert)
        return self._norm(hidden + out, f"encoder.layer.{layer}.output.LayerNorm")

    def _expert(self, rows, layer, expert):
        scale = self.config["alpha"] / self.config["rank"]
        half = lambda map, side: self.tensors[f"layers.{layer}.experts.{expert}.{map}.lora_{side}"]
        added = lambda inputs, map: inputs @ half(map, "A").T @ half(map, "B").T * scale
        inside = gelu(self._linear(rows, f"encoder.layer.{layer}.intermediate.dense") + added(rows, "up"))
        return self._linear(inside, f"encoder.layer.{layer}.output.dense") + added(inside, "down")


def softmax(values):
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def gelu(values):
    return values * 0.5 * (1 + erf(values / np.sqrt(2)))


def erf(values):
    """To 1.5e-7 (Abramowitz and Stegun, 7.1.26); numpy has none."""
    size = np.abs(values)
    t = 1 / (1 + 0.3275911 * size)
    powers = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    return np.sign(values) * (1 - powers * np.exp(-(size**2)))
