"""Vectors of hashes, trees, signatures, the group, proofs, recovery from shares, and letters."""

from . import dealing, hashing, ristretto, sharing, signing
from .refusal import step_of
from .rfc_values import BAD_ELEMENTS, MULTIPLES, RFC_8032_SEEDS
from .ristretto import ORDER, scalar_bytes, scalar_of_wide
from .samples import scalar, seed, wide

HOLDERS, THRESHOLD = [1, 2, 5, 9, 4_000_000_000], 3


def hexes(values):
    """Byte strings as hex."""
    return [value.hex() for value in values]


def flip(data, bit=0):
    """Data with one bit of its last byte changed."""
    return data[:-1] + bytes([data[-1] ^ 1 << bit])


def bad(step, check, arguments, **fields):
    """A negative case; the check of this package must refuse it at the same step."""
    assert step_of(check, *arguments) == step, (step, fields)
    return fields | {"step": step}


def digests():
    """HASH-01."""
    parts = [[], [b""], [b"one"], [b"one", b"two"], [seed("part"), bytes(range(200))]]
    cases = [
        {"domain": domain, "parts": hexes(part), "digest": hashing.digest(domain, *part).hex()}
        for domain in hashing.DOMAINS for part in parts
    ]
    return {"cases": cases}


def merkle():
    """RFC 6962 roots and paths, and paths that lead nowhere."""
    cases, wrong = [], []
    for size in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17]:
        leaves = [hashing.leaf_hash(seed(f"leaf {index}")[:index]) for index in range(size)]
        paths = [hexes(hashing.path(leaves, index)) for index in range(size)]
        cases.append({"leaves": hexes(leaves), "root": hashing.root(leaves).hex(), "paths": paths})
    leaves = [bytes.fromhex(leaf) for leaf in cases[7]["leaves"]]
    good = hashing.path(leaves, 2)
    for index, size, leaf, path in [
        (3, 7, leaves[2], good), (2, 6, leaves[2], good[:-1]), (7, 7, leaves[2], good),
        (2, 7, leaves[3], good), (2, 7, leaves[2], good[:-1]), (2, 7, leaves[2], [*good, good[0]]),
        (2, 7, leaves[2], [flip(good[0]), *good[1:]]), (2, 7, leaves[2], good[::-1]), (2, 7, leaves[2], []),
    ]:
        arguments = (hashing.root(leaves), leaf, index, size, path)
        fields = {"root": arguments[0].hex(), "leaf": leaf.hex(), "index": index, "size": size}
        wrong.append(bad("path", hashing.verify_path, arguments, path=hexes(path), **fields))
    return {"cases": cases, "bad": wrong}


def signatures():
    """WIRE-04."""
    cases, wrong = [], []
    for key in [*RFC_8032_SEEDS, seed("signer")]:
        for tag, message in [("cloister/v1/plan", b""), ("cloister/v1/seal-1", seed("message"))]:
            made = {"seed": key.hex(), "public": signing.public_key(key).hex(), "tag": tag}
            made |= {"message": message.hex(), "signature": signing.sign(key, tag, message).hex()}
            cases.append(made)
    key, tag, message = seed("signer"), "cloister/v1/plan", b"body"
    public, good = signing.public_key(key), signing.sign(key, tag, message)
    large = good[:32] + (int.from_bytes(good[32:], "little") + ORDER).to_bytes(32, "little")
    for why, arguments in {
        "another tag": (public, "cloister/v1/abort", message, good),
        "another message": (public, tag, b"bodY", good),
        "a longer message": (public, tag, message + b"\x00", good),
        "another key": (signing.public_key(seed("other")), tag, message, good),
        "a damaged signature": (public, tag, message, flip(good)),
        "a response that is not reduced": (public, tag, message, large),
        "a key that is no point": (b"\x02" + bytes(31), tag, message, good),
    }.items():
        fields = dict(zip(("public", "tag", "message", "signature"), arguments))
        fields = {name: value if name == "tag" else value.hex() for name, value in fields.items()}
        wrong.append(bad("signature", signing.verify, arguments, why=why, **fields))
    return {"cases": cases, "bad": wrong}


def group():
    """RFC 9496 encodings, and scalars."""
    wides = [bytes(64), b"\xff" * 64, wide("scalar"), ORDER.to_bytes(64, "little")]
    scalars = [ORDER, ORDER + 1, 2**255, 2**256 - 1]
    refused = [bad("element", ristretto.decode_public, (data,), element=data.hex()) for data in BAD_ELEMENTS]
    refused.append(bad("element", ristretto.decode_public, (bytes(32),), element=bytes(32).hex()))
    for number in scalars:
        data = number.to_bytes(32, "little")
        refused.append(bad("scalar", ristretto.decode_scalar, (data,), scalar=data.hex()))
    return {
        "multiples": hexes(MULTIPLES[1:]),
        "wides": [{"wide": w.hex(), "scalar": scalar_bytes(scalar_of_wide(w)).hex()} for w in wides],
        "bad": refused,
    }


def knowledge():
    """MASK-02."""
    cases, wrong = [], []
    for number, kind in enumerate((dealing.MASK_KEY, dealing.SEED_KEY, dealing.MASK_KEY)):
        secret, nonce = scalar(f"mask key {number}"), wide(f"nonce {number}")
        where = dealing.place(seed("epoch"), 2**40 + number, 1 + number)
        context = dealing.key_context(where, kind)
        proof = dealing.prove_knowledge(secret, context, scalar_of_wide(nonce))
        dealing.verify_knowledge(dealing.public_of(secret), context, proof)
        cases.append({
            "secret": scalar_bytes(secret).hex(), "element": dealing.public_of(secret).hex(),
            "epoch": seed("epoch").hex(), "round": 2**40 + number, "member": 1 + number, "kind": kind,
            "place": where.hex(), "context": context.hex(), "nonce": nonce.hex(), "proof": proof.hex(),
        })
    first = cases[0]
    element, context, proof = (bytes.fromhex(first[name]) for name in ("element", "context", "proof"))
    large = (int.from_bytes(proof[32:], "little") + ORDER).to_bytes(32, "little")
    for why, arguments in {
        "another kind of key": (element, flip(context), proof),
        "another context": (element, flip(context[:-1]) + context[-1:], proof),
        "another element": (bytes.fromhex(cases[1]["element"]), context, proof),
        "another response": (element, context, proof[:32] + scalar_bytes(scalar("response"))),
        "a response that is not reduced": (element, context, proof[:32] + large),
        "the identity as commitment": (element, context, bytes(32) + proof[32:]),
        "a commitment that is no element": (element, context, BAD_ELEMENTS[0] + proof[32:]),
        "the halves exchanged": (element, context, proof[32:] + proof[:32]),
    }.items():
        fields = dict(zip(("element", "context", "proof"), hexes(arguments)))
        wrong.append(bad("proof", dealing.verify_knowledge, arguments, why=why, **fields))
    return {"cases": cases, "bad": wrong}


def agreements():
    """MASK-13."""
    cases, wrong = [], []
    for number in range(3):
        secret, other = scalar(f"receiving {number}"), scalar(f"ephemeral {number}")
        nonce = wide(f"agreement {number}")
        public, context = dealing.public_of(other), seed(f"context {number}")
        agreed, proof = dealing.prove_agreement(secret, public, context, scalar_of_wide(nonce))
        dealing.verify_agreement(dealing.public_of(secret), public, agreed, context, proof)
        cases.append({
            "secret": scalar_bytes(secret).hex(), "own": dealing.public_of(secret).hex(), "public": public.hex(),
            "context": context.hex(), "nonce": nonce.hex(), "agreed": agreed.hex(), "proof": proof.hex(),
        })
    names = ("own", "public", "agreed", "context", "proof")
    good = {name: bytes.fromhex(cases[0][name]) for name in names}
    other = {name: bytes.fromhex(cases[1][name]) for name in names}
    large = (int.from_bytes(good["proof"][32:], "little") + ORDER).to_bytes(32, "little")
    for why, changes in {
        "another context": {"context": other["context"]}, "another owner": {"own": other["own"]},
        "another element": {"public": other["public"]}, "another agreement": {"agreed": other["agreed"]},
        "elements exchanged": {"own": good["public"], "public": good["own"]},
        "the identity as agreement": {"agreed": bytes(32)},
        "no element as agreement": {"agreed": BAD_ELEMENTS[3]},
        "another proof": {"proof": other["proof"]},
        "halves exchanged": {"proof": good["proof"][32:] + good["proof"][:32]},
        "a response that is not reduced": {"proof": good["proof"][:32] + large},
    }.items():
        fields = good | changes
        shown = {name: value.hex() for name, value in fields.items()}
        wrong.append(bad("proof", dealing.verify_agreement, tuple(fields.values()), why=why, **shown))
    return {"cases": cases, "bad": wrong}


def shamir():
    """MASK-11."""
    cases, wrong = [], []
    for threshold in (1, 2, THRESHOLD, len(HOLDERS)):
        secret = scalar(f"secret {threshold}")
        draws = [wide(f"power {n} of {threshold}") for n in range(1, threshold)]
        values = sharing.split([secret, *map(scalar_of_wide, draws)], HOLDERS)
        shares = list(zip(HOLDERS, map(scalar_bytes, values)))
        assert sharing.combine(threshold, shares[::-1]) == secret
        cases.append({
            "secret": scalar_bytes(secret).hex(), "threshold": threshold, "draws": hexes(draws),
            "shares": [[holder, share.hex()] for holder, share in shares],
        })
    good = [(holder, bytes.fromhex(share)) for holder, share in cases[2]["shares"]]
    for step, shares in [
        ("too-few", good[:2]), ("too-few", []), ("holders", [good[0], good[1], good[0]]),
        ("holders", [(0, good[0][1]), *good[1:]]), ("not-canonical", [(1, b"\xff" * 32), *good[1:]]),
    ]:
        listed = [[holder, share.hex()] for holder, share in shares]
        wrong.append(bad(step, sharing.combine, (THRESHOLD, shares), threshold=THRESHOLD, shares=listed))
    return {"cases": cases, "bad": wrong}


def letters():
    """MASK-12."""
    cases, wrong = [], []
    for size in (0, 32, 64):
        secret, ephemeral = scalar(f"receiving {size}"), wide(f"ephemeral {size}")
        context, content = seed(f"context {size}"), (seed("content") * 2)[:size]
        letter = dealing.seal_letter(content, dealing.public_of(secret), context, scalar_of_wide(ephemeral))
        assert dealing.open_letter(letter, secret, context) == content
        cases.append({
            "secret": scalar_bytes(secret).hex(), "recipient": dealing.public_of(secret).hex(),
            "context": context.hex(), "ephemeral": ephemeral.hex(), "content": content.hex(),
            "letter": letter.hex(), "digest": hashing.digest("letter", letter).hex(),
        })
    secret, letter, context = scalar("receiving 64"), bytes.fromhex(cases[2]["letter"]), seed("context 64")
    for why, arguments in {
        "another recipient": (letter, scalar("somebody else"), context),
        "another context": (letter, secret, flip(context)),
        "a damaged tag": (flip(letter), secret, context),
        "a damaged share": (letter[:100] + flip(letter[100:101]) + letter[101:], secret, context),
        "a damaged proof": (letter[:40] + flip(letter[40:41]) + letter[41:], secret, context),
        "an ephemeral key that is no element": (BAD_ELEMENTS[0] + letter[32:], secret, context),
        "the identity as ephemeral key": (bytes(32) + letter[32:], secret, context),
        "a letter cut short": (letter[:40], secret, context),
        "a longer letter": (letter + b"\x00", secret, context),
        "nothing": (b"", secret, context),
    }.items():
        fields = {"letter": arguments[0].hex(), "secret": scalar_bytes(arguments[1]).hex()}
        fields |= {"context": arguments[2].hex(), "why": why}
        wrong.append(bad("letter", dealing.open_letter, arguments, **fields))
    return {"cases": cases, "bad": wrong}
