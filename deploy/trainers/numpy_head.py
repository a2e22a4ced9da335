"""A training program for Cloister that needs numpy alone: it trains the head, and leaves experts and routers to others.

    cloister client … --trainer-cmd 'python3 deploy/trainers/numpy_head.py'
"""

import sys

import numpy as np

from cloister_job import Job, Statistics, progress, shuffled
from minilm_numpy import MiniLmMoe, softmax

HEAD_RATE_RATIO = 3.0


def features(model, notes, statistics=None):
    pooled = [model.pooled(note["text"], statistics) for note in notes]
    return np.stack([row for row, _ in pooled]), sum(cut for _, cut in pooled)


def labels(job, notes):
    classes = {name: number for number, name in enumerate(job.model["classes"])}
    return np.array([classes[str(note["label"])] for note in notes])


def train(job):
    model, settings = MiniLmMoe(job), job.settings
    notes, statistics = job.notes_of_job(), Statistics(job.table)
    rows, truncated = features(model, notes, statistics)
    targets = labels(job, notes)
    head = [model.tensors["head.weight"].copy(), model.tensors["head.bias"].copy()]
    optimizer = Adam(head, HEAD_RATE_RATIO * settings["learning_rate"])
    size, losses = settings["batch_size"], []
    steps = settings["local_epochs"] * -(-len(notes) // size)
    for epoch in range(settings["local_epochs"]):
        order = shuffled(len(notes), settings["seed"], epoch)
        for start in range(0, len(notes), size):
            batch = order[start : start + size]
            losses.append(step(head, optimizer, rows[batch], targets[batch]))
            progress(len(losses), steps)
    trained = {name: model.tensors[name] for name in job.trained_names()}
    trained["head.weight"], trained["head.bias"] = head
    right = float((logits(head, rows).argmax(axis=1) == targets).mean())
    job.write_training(trained, statistics, losses, len(notes), truncated, training_accuracy=right)


def logits(head, rows):
    return rows @ head[0].T + head[1]


def step(head, optimizer, rows, targets):
    probabilities = softmax(logits(head, rows))
    loss = -np.log(probabilities[np.arange(len(rows)), targets]).mean()
    error = (probabilities - np.eye(len(head[1]))[targets]) / len(rows)
    optimizer.step([error.T @ rows, error.sum(axis=0)])
    return float(loss)


class Adam:
    def __init__(self, parameters, rate):
        self.parameters, self.rate, self.steps = parameters, rate, 0
        self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]

    def step(self, gradients):
        self.steps += 1
        for parameter, (first, second), gradient in zip(self.parameters, self.moments, gradients):
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            mean, square = first / (1 - 0.9**self.steps), second / (1 - 0.999**self.steps)
            parameter -= (self.rate * mean / (np.sqrt(square) + 1e-8)).astype(np.float32)


def evaluate(job):
    model = MiniLmMoe(job)
    notes = job.notes_of_job()
    rows, _ = features(model, notes)
    head = [model.tensors["head.weight"], model.tensors["head.bias"]]
    job.write_evaluation((logits(head, rows).argmax(axis=1) == labels(job, notes)).sum(), len(notes))


if __name__ == "__main__":
    job = Job(sys.argv[-1])
    {"train": train, "evaluate": evaluate}[job.job](job)
