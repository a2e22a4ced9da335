"""Vectors of shared keys, seeds and their proofs, and the names of openings (MASK-08 to MASK-15, ROUND-30)."""

from . import dealing, sharing
from .crypto_files import bad, flip, hexes
from .openings import opening_name
from .planning import planned_block, settings
from .rfc_values import BAD_ELEMENTS
from .ristretto import decode_scalar, scalar_bytes
from .samples import scalar, seed
from .schema import PLANNED_BLOCK
from .seeds import MEMBER_ITSELF, RoundSeeds
from .sharing import SharedKey

HOLDERS, THRESHOLD = [1, 2, 5, 9, 4_000_000_000], 3
DEALER, ROUND = 7, 2**33 + 5
BLOCKS = [0, 1, 5, 8191]


def key(label, threshold):
    """A shared key that follows from a label."""
    return SharedKey([scalar(f"{label} coefficient {power} of {threshold}") for power in range(threshold)])


def share_case(threshold):
    """A polynomial with its commitments, shares and public shares."""
    made = key("key", threshold)
    for holder in HOLDERS:
        sharing.check_share(made.commitments, holder, made.share(holder))
    return {
        "threshold": threshold, "coefficients": hexes(map(scalar_bytes, made.coefficients)),
        "commitments": hexes(made.commitments),
        "shares": [
            {"holder": c, "share": made.share(c).hex(), "public": made.public_share(c).hex()} for c in HOLDERS
        ],
    }


def wrong_shares():
    """Shares that commitments do not bear out: what is wrong, commitments, holder, share."""
    made, other = key("key", THRESHOLD), key("another key", THRESHOLD)
    listed, share = made.commitments, made.share(2)
    yield "another holder's share", listed, 1, share
    yield "a share of another key", listed, 2, other.share(2)
    yield "one more", listed, 2, scalar_bytes(decode_scalar(share) + 1)
    yield "the negative", listed, 2, scalar_bytes(-decode_scalar(share))
    yield "zero", listed, 2, bytes(32)
    yield "a scalar that is not reduced", listed, 2, (decode_scalar(share) + sharing.ORDER).to_bytes(32, "little")
    yield "no scalar", listed, 2, b"\xff" * 32
    root = SharedKey([-2 * made.coefficients[1] - 4 * made.coefficients[2], *made.coefficients[1:]])
    assert root.share(2) == bytes(32) and root.public_share(2) == bytes(32)
    yield "zero, which is the polynomial's value", root.commitments, 2, root.share(2)
    yield "commitments in another order", listed[::-1], 2, share
    yield "a commitment too few", listed[:-1], 2, share
    yield "a commitment of another key", [*listed[:-1], other.commitments[-1]], 2, share
    yield "the key of another", [other.public, *listed[1:]], 2, share


def wrong_commitments():
    """Lists that an announcement may not have: what is wrong, commitments."""
    listed = key("key", THRESHOLD).commitments
    yield "a commitment too few", listed[:-1]
    yield "a commitment too many", [*listed, listed[0]]
    yield "none", []
    yield "the identity as key", [bytes(32), *listed[1:]]
    yield "the identity as last coefficient", [*listed[:-1], bytes(32)]
    yield "no element", [*listed[:-1], BAD_ELEMENTS[2]]


def commitments():
    """MASK-08 and MASK-11: polynomials, commitments and shares; and the contexts of one dealing."""
    epoch, custodian, plan = seed("epoch"), 300, seed("plan")
    where = dealing.place(epoch, ROUND, DEALER)
    wrong = [
        bad("share", sharing.check_share, (listed, holder, share), why=why, commitments=hexes(listed),
            holder=holder, share=share.hex())
        for why, listed, holder, share in wrong_shares()
    ]
    lists = [
        bad("commitments", sharing.check_commitments, (listed, THRESHOLD), why=why, threshold=THRESHOLD,
            commitments=hexes(listed))
        for why, listed in wrong_commitments()
    ]
    return {
        "epoch": epoch.hex(), "round": ROUND, "dealer": DEALER, "custodian": custodian, "plan": plan.hex(),
        "place": where.hex(), "letter_context": dealing.letter_context(where, custodian, plan).hex(),
        "key_contexts": hexes(dealing.key_context(where, kind) for kind in (dealing.MASK_KEY, dealing.SEED_KEY)),
        "cases": [share_case(threshold) for threshold in (1, 2, THRESHOLD, len(HOLDERS))],
        "bad": wrong, "bad_commitments": lists,
    }


def listed_json(revealed):
    """Elements by block, and their proof."""
    rows = [{"block": entry["block"], "seed": entry["seed"].hex()} for entry in revealed["seeds"]]
    return {"seeds": rows, "proof": revealed["proof"].hex()}


def revealed_case(round_seeds, secret, by, blocks):
    """What one secret makes of some blocks, with the proof and its transcript."""
    made = round_seeds.reveal(secret, DEALER, by, blocks)
    transcript = round_seeds.transcript(DEALER, by, dealing.public_of(secret), made["seeds"])
    return {
        "by": by, "secret": scalar_bytes(secret).hex(), "key": dealing.public_of(secret).hex(),
        "transcript": transcript.hex(), **listed_json(made),
    }


def proven(round_seeds, secret, listed, by=MEMBER_ITSELF):
    """Elements as given, with the proof that a secret makes for them whether it made them or not."""
    return {"seeds": listed, "proof": round_seeds.prove(secret, DEALER, by, listed)}


def broken_lists(round_seeds, secret, good):
    """Lists and proofs that do not fit: step, what is wrong, what was revealed."""
    rows, proof = good["seeds"], good["proof"]
    with_rows = lambda listed: {"seeds": listed, "proof": proof}
    first = lambda **fields: [rows[0] | fields, *rows[1:]]
    other = round_seeds.element(scalar("another secret"), rows[0]["block"])
    exchanged = [rows[0] | {"seed": rows[1]["seed"]}, rows[1] | {"seed": rows[0]["seed"]}, *rows[2:]]
    elements = {
        "another element": first(seed=other), "the identity": first(seed=bytes(32)),
        "elements exchanged": exchanged,
    }
    for about, listed in elements.items():
        step = "element" if about == "the identity" else "proof"
        yield step, about, with_rows(listed)
        yield step, f"{about}, under a proof for it", proven(round_seeds, secret, listed)
    yield "element", "no element", with_rows(first(seed=BAD_ELEMENTS[9]))
    yield "proof", "another block", with_rows([*rows[:-1], rows[-1] | {"block": rows[-1]["block"] - 1}])
    yield "blocks", "blocks in another order", with_rows(rows[::-1])
    yield "blocks", "blocks in another order, under a proof for it", proven(round_seeds, secret, rows[::-1])
    yield "blocks", "a block twice", with_rows([rows[0], *rows])
    yield "blocks", "a block twice, under a proof for it", proven(round_seeds, secret, [rows[0], *rows])
    yield "blocks", "no blocks", with_rows([])
    for about, revealed in {
        "a block missing": with_rows(rows[1:]), "the last block missing": with_rows(rows[:-1]),
        "a bent proof": {"seeds": rows, "proof": flip(proof)},
        "a bent challenge": {"seeds": rows, "proof": flip(proof[:32]) + proof[32:]},
        "a proof of another secret": proven(round_seeds, scalar("another secret"), rows),
        "a proof in another's name": proven(round_seeds, secret, rows, by=1),
        "a proof with the dealer's own number": proven(round_seeds, secret, rows, by=DEALER),
    }.items():
        yield "proof", about, revealed


def misnamed_seeds(round_seeds, seed_key):
    """Right lists under wrong names: what is wrong, place, key, dealer, by, list."""
    good = round_seeds.reveal(seed_key.secret, DEALER, MEMBER_ITSELF, BLOCKS)
    yield "another key", round_seeds, key("another seed key", THRESHOLD).public, DEALER, MEMBER_ITSELF, good
    yield "a public share as key", round_seeds, seed_key.public_share(1), DEALER, MEMBER_ITSELF, good
    yield "another dealer", round_seeds, seed_key.public, DEALER + 1, MEMBER_ITSELF, good
    yield "another who reveals", round_seeds, seed_key.public, DEALER, 1, good
    names = (round_seeds.epoch, round_seeds.round, round_seeds.plan)
    for at, (what, value) in enumerate({"epoch": seed("epoch 2"), "round": ROUND + 1, "plan": seed("plan 2")}.items()):
        other = RoundSeeds(*names[:at], value, *names[at + 1:])
        yield f"another {what}", other, seed_key.public, DEALER, MEMBER_ITSELF, good
    parts = round_seeds.reveal(decode_scalar(seed_key.share(1)), DEALER, 1, BLOCKS)
    yield "another custodian's parts", round_seeds, seed_key.public_share(2), DEALER, 2, parts
    yield "parts as seeds", round_seeds, seed_key.public, DEALER, MEMBER_ITSELF, parts


def bad_seeds(round_seeds, seed_key):
    """The refused lists as entries of the file."""
    good = round_seeds.reveal(seed_key.secret, DEALER, MEMBER_ITSELF, BLOCKS)
    broken = [
        (step, why, round_seeds, seed_key.public, DEALER, MEMBER_ITSELF, revealed)
        for step, why, revealed in broken_lists(round_seeds, seed_key.secret, good)
    ]
    broken += [("proof", *case) for case in misnamed_seeds(round_seeds, seed_key)]
    for step, why, where, public, dealer, by, revealed in broken:
        fields = {
            "epoch": where.epoch.hex(), "round": where.round, "plan": where.plan.hex(), "key": public.hex(),
            "dealer": dealer, "by": by, **listed_json(revealed),
        }
        yield bad(step, where.verify, (public, dealer, by, revealed), why=why, **fields)


def recovered(round_seeds, seed_key, block):
    """Parts of one seed, and what any `h_r` of them make."""
    parts = [(c, round_seeds.element(decode_scalar(seed_key.share(c)), block)) for c in HOLDERS]
    made = round_seeds.element(seed_key.secret, block)
    assert all(sharing.combine_elements(THRESHOLD, parts[at:] + parts[:at]) == made for at in range(len(parts)))
    return {"block": block, "parts": [[c, part.hex()] for c, part in parts], "seed": made.hex()}


def bad_recoveries(parts):
    """Parts that give no seed."""
    points = [(holder, bytes.fromhex(part)) for holder, part in parts]
    for step, listed in [
        ("holders", [points[0], points[1], points[0]]), ("holders", [(0, points[0][1]), *points[1:3]]),
        ("element", [(1, BAD_ELEMENTS[3]), *points[1:3]]), ("element", [(1, bytes(32)), *points[1:3]]),
    ]:
        shown = [[holder, part.hex()] for holder, part in listed]
        yield bad(step, sharing.combine_elements, (THRESHOLD, listed), parts=shown)


def seeds():
    """MASK-14 and MASK-15."""
    round_seeds, seed_key = RoundSeeds(seed("epoch"), ROUND, seed("plan")), key("seed key", THRESHOLD)
    shares = {custodian: decode_scalar(seed_key.share(custodian)) for custodian in HOLDERS}
    recoveries = [recovered(round_seeds, seed_key, block) for block in BLOCKS[:2]]
    cases = [revealed_case(round_seeds, seed_key.secret, MEMBER_ITSELF, blocks) for blocks in (BLOCKS, BLOCKS[2:3])]
    cases += [revealed_case(round_seeds, share, custodian, BLOCKS) for custodian, share in shares.items()]
    return {
        "epoch": seed("epoch").hex(), "round": ROUND, "plan": seed("plan").hex(), "dealer": DEALER,
        "threshold": THRESHOLD, "commitments": hexes(seed_key.commitments),
        "bases": [{"block": b, "base": round_seeds.base(b).encode().hex()} for b in BLOCKS],
        "cases": cases, "recoveries": recoveries,
        "bad": list(bad_seeds(round_seeds, seed_key)), "bad_recoveries": list(bad_recoveries(recoveries[0]["parts"])),
    }


def openings():
    """ROUND-30: every case is named otherwise than the others."""
    planned = settings()["blocks"]
    cohort = [{"member": member, "weight": 1 + member % 3} for member in (1, 2, 5, 300)]
    shape = lambda at, **fields: planned[at] | {"shape": planned[at]["shape"] | fields}
    scale = lambda **fields: planned[0] | {"scale": planned[0]["scale"] | fields}
    regions = lambda number, layer, length: planned_block(number, {"Regions": {"layer": layer}}, length)
    cases = [(row, cohort) for row in planned] + [
        (planned[3], cohort, seed("routing")), (planned[3], cohort, seed("other routing")),
        (planned[0], cohort[1:]), (planned[0], cohort[:1]), (planned[0], [cohort[0] | {"weight": 15}, *cohort[1:]]),
        (planned[0], [cohort[0] | {"member": 0}, *cohort[1:]]), (planned[0], [*cohort, {"member": 301, "weight": 1}]),
        (planned[0], []), (shape(0, id=1), cohort), (shape(0, length=6), cohort), (shape(0, kind="Shared"), cohort),
        (scale(step_log2=-11), cohort), (scale(clip_steps=1), cohort),
        (regions(6, 0, 48), cohort), (regions(5, 0, 3), cohort), (regions(5, 1, 3), cohort),
        (planned[5] | {"scale": regions(5, 0, 3)["scale"]}, cohort),
    ]
    listed = [
        {"block": PLANNED_BLOCK.to_json(row), "cohort": members, "routing": routing[0].hex() if routing else None,
         "name": opening_name(row, members, *routing).hex()}
        for row, members, *routing in cases
    ]
    assert len({case["name"] for case in listed}) == len(listed)
    return {"cases": listed}
