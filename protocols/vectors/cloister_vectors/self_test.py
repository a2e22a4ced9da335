"""The package against values that others published; it runs before any vector is written."""

from .hashing import leaf_hash, path, root, verify_path
from .refusal import step_of
from .rfc_values import BAD_ELEMENTS, MULTIPLES, RFC_8032_KEYS, RFC_8032_SEEDS, TREE_LEAVES, TREE_ROOTS
from .ristretto import BASE, IDENTITY, ORDER, decode
from .signing import public_key


def run():
    """Raises AssertionError at the first value that differs."""
    sum_so_far = IDENTITY
    for number, encoded in enumerate(MULTIPLES):
        assert sum_so_far.encode() == encoded == (number * BASE).encode()
        assert decode(encoded) == sum_so_far
        sum_so_far = sum_so_far + BASE
    assert ORDER * BASE == IDENTITY and (ORDER - 1) * BASE == -BASE
    assert all(step_of(decode, data) == "element" for data in BAD_ELEMENTS)
    assert [public_key(seed) for seed in RFC_8032_SEEDS] == RFC_8032_KEYS
    leaves = [leaf_hash(leaf) for leaf in TREE_LEAVES]
    assert [root(leaves[:size]) for size in range(5)] == TREE_ROOTS
    for index, leaf in enumerate(leaves):
        verify_path(root(leaves), leaf, index, len(leaves), path(leaves, index))
