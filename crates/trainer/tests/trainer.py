"""A training program for the tests, in Python's own library: it moves every parameter by 0.001, or does what its first
argument names."""

import array
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

fault, folder = sys.argv[1], Path(sys.argv[2])
job = json.loads((folder / "job.json").read_text())
table = job["table"]
layers, experts, width = table["layers"], table["experts"], table["hidden_width"]
tokens = 100


def write(path, tensors):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        part = array.array("f", values).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def size(shape):
    return shape[0] * size(shape[1:]) if shape else 1


pieces = [piece for block in table["blocks"] for piece in block["pieces"]]
# A tensor of all experts has one more dimension than an expert's piece of it.
shapes = {
    piece["tensor"]: piece["shape"] if piece["expert"] is None else [experts, *piece["shape"]] for piece in pieces
}
update = {name: (shape, [0.001] * size(shape)) for name, shape in shapes.items()}
each = tokens * table["experts_per_token"]
counts = [each // experts + (expert < each % experts) for expert in range(experts)]
statistics = {}
for layer in range(layers):
    statistics[f"layers.{layer}.token_counts"] = ([experts], counts)
    statistics[f"layers.{layer}.hidden_sums"] = ([experts, width], [0.5 * c for c in counts for _ in range(width)])
    statistics[f"layers.{layer}.margin_sums"] = ([experts], [0.25 * count for count in counts])
    statistics[f"layers.{layer}.probability_sums"] = ([experts], [tokens / experts] * experts)
result = {"contract": 1, "update": "difference", "notes": 7, "tokens": tokens, "loss_first": 2.0, "loss_last": 1.0}
result["metrics"] = {"steps": 4}
if job["job"] == "evaluate":
    result = {"contract": 1, "correct": 3, "total": 4}

first = "head.weight"
if fault == "shape":
    update[first] = ([1, 1], [0.0])
elif fault == "nan":
    update[first][1][5] = float("nan")
elif fault == "tensor":
    del update[first]
elif fault == "unknown":
    update["head.scale"] = ([1], [1.0])
elif fault == "counts":
    statistics["layers.0.token_counts"][1][0] += 50
elif fault == "half":
    statistics["layers.0.token_counts"][1][0] += 0.5
elif fault == "margins":
    statistics["layers.1.margin_sums"][1][0] = 1e6
elif fault == "distribution":
    statistics["layers.0.probability_sums"][1][0] = -1.0
elif fault == "version":
    result["contract"] = 2
elif fault == "field":
    result["colour"] = "blue"
elif fault == "all right":
    result["correct"] = 5
elif fault == "parameters":
    result["update"] = "parameters"
elif fault == "exit":
    print("a note about " + "x" * 5000 + " the end", file=sys.stderr)
    sys.exit(3)
elif fault == "hang":
    # Its child holds stderr open, and must go too.
    subprocess.Popen(["sleep", "600"])
    print("still at it", file=sys.stderr, flush=True)
    time.sleep(600)
elif fault == "environment":
    names = [name for name in os.environ if name.startswith(("CLOISTER", "CARGO"))]
    sys.exit(f"sees {names}, home {Path(os.environ['HOME']).name}, mode {folder.stat().st_mode & 0o777:o}")

for step in range(1, 5):
    print(json.dumps({"step": step, "steps": 4}), flush=True)
print("not progress")
if fault != "no update":
    write(folder / "update.safetensors", update)
if fault == "garbage":
    (folder / "update.safetensors").write_bytes(b"no tensors")
if fault == "long":
    with open(folder / "update.safetensors", "ab") as file:
        file.truncate(1 << 30)
write(folder / "statistics.safetensors", statistics)
(folder / "result.json").write_text(json.dumps(result))
