"""Verifies the files of a log with PyPI `aics-tlog`, and signs a checkpoint for the test that calls this program.

Argument: the folder that `tests/tlog/python.rs` writes.
"""

import base64
import sys
from pathlib import Path

from aics_tlog import (
    Checkpoint,
    FileSystemTileReader,
    MerkleTree,
    Note,
    TileWriter,
    audit_tiles,
    consistency_proof_from_tiles,
    cosignature_vkey,
    format_vkey,
    inclusion_proof_from_tiles,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    read_entry,
    sign_checkpoint,
    sign_cosignature,
    verify_checkpoint,
    verify_consistency,
    verify_leaf_inclusion,
    vkey_from_ed25519,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

folder = Path(sys.argv[1])
log_key = parse_vkey((folder / "log-key").read_text())
witness_key = parse_vkey((folder / "witness-key").read_text())
reader = FileSystemTileReader(folder / "log")
heads = {0: MerkleTree([]).root()}


def check(holds, what):
    if not holds:
        sys.exit(f"aics-tlog does not verify {what}")


def entry_at(index):
    """The test's entry at an index."""
    return (str(index) * (index % 5)).encode()


def opened(note):
    result = verify_checkpoint(note, log_key, [witness_key], quorum=1, expected_origin=log_key.name)
    check(result.ok, f"a checkpoint: {result.error}")
    return result


sizes = sorted(int(path.name) for path in (folder / "checkpoints").iterdir())
for size in sizes:
    text = (folder / "checkpoints" / str(size)).read_bytes()
    note = parse_note(text)
    check(note.to_bytes() == text, "that it writes a checkpoint alike")
    result = opened(note)
    check(result.size == size, f"the size {size}")
    check(result.timestamps == {witness_key.name: 1_800_000_000 + size}, f"the time at {size}")
    heads[size] = result.root
    report = audit_tiles(reader, size, result.root)
    print(f"aics-tlog: size {size}, {report.tiles} tiles and {report.bundles} bundles")

for path in (folder / "proofs").iterdir():
    # The package does not read the text form of proofs.
    head, note = path.read_text().split("\n\n", 1)
    header, index, *hashes = head.split("\n")
    check(header == "c2sp.org/tlog-proof@v1", header)
    index = int(index.removeprefix("index "))
    hashes = [base64.b64decode(line, validate=True) for line in hashes]
    result = opened(parse_note(note))
    entry = entry_at(index)
    check(read_entry(reader, index, result.size) == entry, f"entry {index}")
    check(verify_leaf_inclusion(entry, index, result.size, hashes, result.root), f"{path.name}")
    check(inclusion_proof_from_tiles(reader, index, result.size) == hashes, f"{path.name} as its own")

for path in (folder / "consistency").iterdir():
    old, new = map(int, path.name.split("-"))
    hashes = [bytes.fromhex(line) for line in path.read_text().split()]
    check(verify_consistency(old, new, heads[old], heads[new], hashes), f"consistency {path.name}")
    check(consistency_proof_from_tiles(reader, old, new) == hashes, f"consistency {path.name} as its own")

# The package's own files for the same entries.
size = sizes[-1]
entries = [entry_at(index) for index in range(size)]
theirs = TileWriter(entries).materialise()
for path, content in theirs.items():
    check((folder / "log" / path).read_bytes() == content, f"{path} as its own")
print(f"aics-tlog: {len(theirs)} files are the same")

origin, witness_name, time = "python.example/log", "python.example/witness", 1_800_000_000
log_secret, witness_secret = (Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32) for seed in (11, 12))
checkpoint = Checkpoint(origin, size, heads[size])
note = sign_checkpoint(checkpoint, log_secret, origin)
_, cosignature = sign_cosignature(witness_secret, witness_name, time, origin, size, heads[size])
note = Note(text=note.text, signatures=(*note.signatures, cosignature))
check(parse_checkpoint(note.text) == checkpoint, "its own checkpoint")
(folder / "their-checkpoint").write_bytes(note.to_bytes())
(folder / "their-log-key").write_text(format_vkey(vkey_from_ed25519(origin, log_secret.public_key())))
(folder / "their-witness-key").write_text(format_vkey(cosignature_vkey(witness_name, witness_secret.public_key())))
