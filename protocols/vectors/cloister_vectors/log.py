"""The log of a round (LOG-01)."""

from .hashing import leaf_hash, root, u32_little

KINDS = [
    "plan", "announcement", "manifest", "seal-1", "upload", "seal-2", "reveal", "closing", "abort", "late-sketches",
    "blame", "pair-opening",
]


class Log:
    """Entries with their leaf hashes."""

    def __init__(self):
        self.entries = []

    def push(self, kind, party, body):
        """Appends an entry; the kinds count from 1."""
        leaf = leaf_hash(bytes([1 + KINDS.index(kind)]) + u32_little(party) + body)
        self.entries.append({"kind": kind, "party": party, "body": body, "leaf": leaf})

    def root(self):
        """The root over everything so far."""
        return root([entry["leaf"] for entry in self.entries])
