"""What every training program for Cloister needs: its job, tensors in and out, and the sums that scoring asks for.

protocols/trainer.md is the contract. Needs numpy; safetensors files are read and written here.
"""

import gzip
import json
import os
import struct
import sys
import threading
from pathlib import Path

import numpy as np

CONTRACT = 1
KINDS = {"F32": np.float32, "F64": np.float64, "I64": np.int64}


class Job:
    """The folder that the program was given as its last argument."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.description = json.loads((self.folder / "job.json").read_text())
        end_with_client()
        if self.table["contract"] != CONTRACT:
            sys.exit(f"this program knows version {CONTRACT} of the contract, not {self.table['contract']}")

    def __getattr__(self, name):
        return self.description[name]

    def model_tensors(self):
        """The model to start from, by name."""
        return read_tensors(self.folder / "global.safetensors")

    def trained_names(self):
        """The names of the tensors that an update has."""
        return {piece["tensor"] for block in self.table["blocks"] for piece in block["pieces"]}

    def notes_of_job(self):
        """The notes to train on or to evaluate, each with `text` and `label`."""
        notes = read_notes(self.notes)
        if self.job == "evaluate":
            notes = notes[self.part :: self.of]
        return notes

    def write_training(self, parameters, statistics, losses, notes, truncated=0, **metrics):
        """Writes trained parameters (not differences), statistics and numbers; `losses` has one of each step."""
        write_tensors(self.folder / "update.safetensors", parameters)
        write_tensors(self.folder / "statistics.safetensors", statistics.tensors())
        quarter = max(1, len(losses) // 4)
        self._write_result(
            update="parameters",
            notes=notes,
            truncated=truncated,
            tokens=statistics.tokens,
            loss_first=float(np.mean(losses[:quarter])),
            loss_last=float(np.mean(losses[-quarter:])),
            metrics=metrics,
        )

    def write_evaluation(self, correct, total):
        self._write_result(correct=int(correct), total=int(total))

    def _write_result(self, **result):
        text = json.dumps({"contract": CONTRACT, **result}, allow_nan=False)
        (self.folder / "result.json").write_text(text)


def end_with_client():
    """Ends this program when the hospital's client is gone, even if it was killed: stdin ends then (TRAIN-06)."""

    def wait_for_end():
        # Not through `sys.stdin`: its lock would be held when the program ends by itself.
        while os.read(0, 4096):
            pass
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()


class Statistics:
    """Sums over the tokens that the trained model routes, layer by layer."""

    def __init__(self, table):
        layers, experts, width = (table[name] for name in ("layers", "experts", "hidden_width"))
        self.tokens = 0
        self.token_counts = np.zeros((layers, experts))
        self.hidden_sums = np.zeros((layers, experts, width))
        self.margin_sums = np.zeros((layers, experts))
        self.probability_sums = np.zeros((layers, experts))

    def add(self, layer, hidden, probabilities, chosen):
        """Counts tokens: what entered the router [tokens, width], its distribution, and the experts of each token."""
        if layer == 0:
            self.tokens += len(hidden)
        assigned = np.zeros_like(probabilities)
        np.put_along_axis(assigned, chosen, 1.0, axis=1)
        best_not_chosen = np.where(assigned > 0, -1.0, probabilities).max(axis=1, keepdims=True)
        self.token_counts[layer] += assigned.sum(axis=0)
        self.hidden_sums[layer] += assigned.T @ hidden
        self.margin_sums[layer] += ((probabilities - best_not_chosen) * assigned).sum(axis=0)
        self.probability_sums[layer] += probabilities.sum(axis=0)

    def tensors(self):
        names = ("token_counts", "hidden_sums", "margin_sums", "probability_sums")
        layers = range(len(self.token_counts))
        return {f"layers.{layer}.{name}": getattr(self, name)[layer] for layer in layers for name in names}


def progress(step, steps):
    """Tells the hospital's client how far the training is."""
    print(json.dumps({"step": step, "steps": steps}), flush=True)


def read_tensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[start:end], KINDS[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def write_tensors(path, tensors):
    header, parts, place = {}, [], 0
    for name, values in sorted(tensors.items()):
        part = np.ascontiguousarray(values, np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(np.shape(values)), "data_offsets": [place, place + len(part)]}
        parts.append(part)
        place += len(part)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(parts))


def read_notes(path):
    """JSON Lines, plain or gzip. What else a hospital has, its program reads for itself."""
    opened = gzip.open(path, "rt") if str(path).endswith(".gz") else open(path, encoding="utf-8")
    with opened as lines:
        return [json.loads(line) for line in lines if line.strip()]


def shuffled(count, seed, epoch):
    return np.random.default_rng([seed, epoch]).permutation(count)
