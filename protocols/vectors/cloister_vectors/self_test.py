"""The package against values that others published; it runs before any vector is written."""

from hashlib import sha512

from .hashing import leaf_hash, path, root, verify_path
from .refusal import step_of
from .rfc_values import BAD_ELEMENTS, MULTIPLES, RFC_8032_KEYS, RFC_8032_SEEDS, TREE_LEAVES, TREE_ROOTS
from .rfc_values import ONE_WAY_BORDER_ELEMENT, ONE_WAY_BORDERS, ONE_WAY_ELEMENTS, ONE_WAY_FIRST_INPUT, ONE_WAY_TEXTS
from .ristretto import BASE, IDENTITY, ORDER, decode, element_of_wide
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
    inputs = [sha512(text).digest() for text in ONE_WAY_TEXTS]
    assert inputs[0] == ONE_WAY_FIRST_INPUT
    assert [element_of_wide(data).encode() for data in inputs] == ONE_WAY_ELEMENTS
    assert all(element_of_wide(data).encode() == ONE_WAY_BORDER_ELEMENT for data in ONE_WAY_BORDERS)
    assert [public_key(seed) for seed in RFC_8032_SEEDS] == RFC_8032_KEYS
    leaves = [leaf_hash(leaf) for leaf in TREE_LEAVES]
    assert [root(leaves[:size]) for size in range(5)] == TREE_ROOTS
    for index, leaf in enumerate(leaves):
        verify_path(root(leaves), leaf, index, len(leaves), path(leaves, index))
