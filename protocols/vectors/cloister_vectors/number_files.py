"""Vectors of masks, packed words, fixed point and sketches."""

import struct

from . import dealing, fixed, late, masking, sketching
from .crypto_files import bad
from .hashing import digest
from .ristretto import scalar_bytes
from .samples import integers, scalar, seed, singles

EXPERT, ROUTER = {"Expert": {"layer": 0, "expert": 0}}, {"Router": {"layer": 3}}
ROUTING, SHARED, EVALUATION = {"Routing": {"layer": 0}}, "Shared", "Evaluation"
REGIONS = {"Regions": {"layer": 1}}


def kind_name(kind):
    """A kind without its fields."""
    return kind if isinstance(kind, str) else next(iter(kind))


def hex32(values):
    """Single-precision numbers as hex, little-endian."""
    return fixed.singles_to_bytes(values).hex()


def hex64(value):
    """A double-precision number as hex, little-endian."""
    return struct.pack("<d", value).hex()


def words_hex(words):
    """Words of 32 bits as hex, little-endian."""
    return struct.pack(f"<{len(words)}I", *words)


def mask_contexts():
    """What masks of different blocks share."""
    one = {
        "epoch": seed("epoch"), "plan": seed("plan"), "manifest": seed("manifest"), "round": 1,
        "block": 0, "ring_bits": 32, "length": 12,
    }
    large = {"round": 2**64 - 1, "block": 2**32 - 1, "ring_bits": 16, "length": 3001}
    return [one, one | {"ring_bits": 24, "length": 1}, one | large]


def masks():
    """MASK-03 to MASK-05."""
    secret, other, own = scalar("mask key a"), scalar("mask key b"), dealing.public_of(scalar("block seed"))
    agreed, public = dealing.agree(secret, dealing.public_of(other)), dealing.public_of(other)
    cases = []
    for common in mask_contexts():
        shared = {k: v.hex() if isinstance(v, bytes) else v for k, v in common.items()}
        self_key = masking.self_key(common, 7, own)
        pair_key = masking.pair_key(common, 2**31, 3, agreed)
        contexts = {
            "self": masking.mask_context(common, masking.SELF, 7, 7),
            "pair": masking.mask_context(common, masking.PAIR, 3, 2**31),
        }
        for owner, key in (("self", self_key), ("pair", pair_key)):
            words = masking.expand(key, common["length"])
            cases.append({
                "context": shared, "owner": owner, "encoded": contexts[owner].hex(), "key": key.hex(),
                "first": words[:12], "digest": digest("sum", words_hex(words)).hex(),
            })
    return {
        "self": {"member": 7, "seed": own.hex()},
        "pair": {"one": 2**31, "other": 3, "secret": scalar_bytes(secret).hex(), "public": public.hex()},
        "cases": cases,
    }


def packing():
    """MASK-06, and what a word of a ring stands for."""
    edges = [0, 1, 2**15 - 1, 2**15, 2**16 - 1, 2**16, 2**23 - 1, 2**23, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1]
    words = edges + integers("words", 8, 0, 2**32 - 1)
    cases = []
    for bits in (16, 24, 32):
        packed = masking.pack(words, bits)
        assert masking.unpack(packed, bits) == [word % 2**bits for word in words]
        lifted = [masking.lift(word, bits) for word in words]
        cases.append({"bits": bits, "words": words, "packed": packed.hex(), "lifted": lifted})
    return {"cases": cases}


def quantise_case(kind, scale, update):
    """One case of MASK-07."""
    whole, clipped = fixed.quantise(scale, kind_name(kind) == "Router", update)
    return {"kind": kind, "scale": scale, "update": hex32(update), "integers": whole, "clipped": clipped}


def quantise():
    """MASK-07: ties, clips, the router's weight, and updates that are not finite."""
    scale = lambda step, clip: {"step_log2": step, "clip_steps": clip}
    ties = [n / 2 for n in range(-7, 8)]
    cases = [
        quantise_case(SHARED, scale(0, 100), ties),
        quantise_case(SHARED, scale(-3, 1000), [n / 8 for n in ties]),
        quantise_case(SHARED, scale(0, 5), [3.0, 4.0]),
        quantise_case(SHARED, scale(0, 5), [3.0, 4.5]),
        quantise_case(EXPERT, scale(-12, 2**14), singles("small update", 9, 0.5)),
        quantise_case(EXPERT, scale(-20, 2**14), singles("large update", 9, 3.0)),
        quantise_case(EXPERT, scale(-30, 2**31 - 1), singles("fine update", 5, 1.0)),
        quantise_case(EXPERT, scale(4, 3), [1e30, -2e30, 0.0]),
        quantise_case(ROUTING, scale(-12, 2**14), [0.5, 0.25, 0.25]),
        quantise_case(SHARED, scale(-12, 2**14), [0.0, 0.0]),
        quantise_case(SHARED, scale(0, 1), [0.625, -0.625, 0.5]),
        quantise_case(EXPERT, scale(0, 3), [0.75] * 16),
        quantise_case(EXPERT, scale(-4, 40), singles("coarse update", 60, 2.0)),
        quantise_case(ROUTER, scale(0, 1), [0.625, 0.75, 1.0]),
        quantise_case(REGIONS, scale(-12, 2**12), [0.5, -0.25, -0.125, 0.0]),
        quantise_case(REGIONS, scale(-6, 64), [n / 64 for n in ties]),
        quantise_case(REGIONS, scale(-12, 2**12), singles("regions", 48, 0.25)),
        quantise_case(REGIONS, scale(-14, 2**14), singles("regions", 48, 1.0)),
        quantise_case(REGIONS, scale(-2, 4), [-0.75, -1.125]),
        quantise_case(REGIONS, scale(-1, 2), [-0.375] * 7),
        quantise_case(REGIONS, scale(0, 1), [0.625, -0.625, 0.5]),
    ]
    for weight in (0.25, 0.2, 0.625, 1.0, 1.5, 0.30000001192092896):
        cases.append(quantise_case(ROUTER, scale(-12, 1023), [100.0, -0.125, weight]))
    wrong = []
    for update in ([0.0, float("nan")], [float("inf"), 1.0], [1.0, float("-inf")]):
        arguments = (scale(-12, 2**14), False, update)
        fields = {"kind": SHARED, "scale": arguments[0], "update": hex32(update)}
        wrong.append(bad("not-finite", fixed.quantise, arguments, **fields))
    return {"cases": cases, "bad": wrong}


def delicate(scale, weight):
    """Sums, and parameters that they nearly take to 0, for which the order of the operations shows in the result."""
    step, found = 2.0 ** scale["step_log2"], []
    for entry in integers("delicate sums", 2000, -(2**20), 2**20):
        old = fixed.single(-entry * step / weight)
        if fixed.single(old + entry * step / weight) != fixed.single(old + entry * (step / weight)):
            found.append((entry, old))
    return [list(values) for values in zip(*found[:8], strict=True)]


def apply_case(kind, scale, length, total, weight, old=None, max_weight=1, noise_steps=0):
    """One case of ROUND-21."""
    old = old or singles(f"parameters {kind_name(kind)} {length} {weight}", length, 2.0)
    new = fixed.apply(scale, kind_name(kind), old, total, weight, max_weight, noise_steps)
    fields = {"kind": kind, "scale": scale, "parameters": hex32(old), "sum": total, "weight": weight}
    fields |= {"max_weight": max_weight, "noise_steps": noise_steps}
    return fields | {"applied": hex32(new)}


def apply():
    """ROUND-21 and ALIGN-12, and the digests of models."""
    scale, odd = {"step_log2": -12, "clip_steps": 2**14}, {"step_log2": -7, "clip_steps": 1023}
    fine, coarse = {"step_log2": -14, "clip_steps": 2**14}, {"step_log2": -7, "clip_steps": 128}
    sums = integers("sums", 8, -(2**20), 2**20)
    cases = [
        apply_case(EXPERT, scale, 8, sums, 7), apply_case(SHARED, odd, 8, sums, 45),
        apply_case(SHARED, odd, 8, delicate(odd, 7)[0], 7, delicate(odd, 7)[1]),
        apply_case(SHARED, scale, 3, [2**31 - 1, -(2**31), 0], 3),
        apply_case(ROUTER, scale, 4, [*sums[:3], 2**14], 1),
        apply_case(ROUTER, scale, 4, [*sums[:3], 2**14 * 9 // 4], 9),
        apply_case(ROUTER, odd, 4, [*sums[:3], 1023 // 4 * 3], 3),
        apply_case(ROUTER, scale, 4, [*sums[:3], 2**14 * 9 + 6 * 16 * 6], 9, None, 3, 16),
        apply_case(ROUTER, scale, 4, [*sums[:3], 2**12 * 9 - 6 * 16 * 6], 9, None, 3, 16),
        apply_case(ROUTING, scale, 4, [5, -3, 10, 1], 2),
        apply_case(ROUTING, scale, 3, [0, -3, -10], 2),
        apply_case(EVALUATION, scale, 2, [4097, 12288], 5), apply_case(EVALUATION, odd, 2, [-1, 2**31 - 1], 3),
        apply_case(REGIONS, fine, 8, sums, 5), apply_case(REGIONS, coarse, 8, sums, 45, max_weight=15, noise_steps=16),
        apply_case(REGIONS, fine, 4, [1, -1, 0, -(2**20) + 1], 9, max_weight=3, noise_steps=256),
        apply_case(REGIONS, fine, 3, [2**31 - 1, -(2**31), -5], 3),
        apply_case(REGIONS, fine, 3, [0, 0, 0], 7),
    ]
    wrong = []
    for consistency, weight, noise in [
        (2**12 * 9 - 1, 9, 0), (2**14 * 9 + 1, 9, 0), (-5, 3, 0), (0, 3, 0),
        (2**14 * 9 + 6 * 16 * 3 + 1, 9, 16), (2**12 * 9 - 6 * 16 * 3 - 1, 9, 16),
    ]:
        total = [*sums[:3], consistency]
        arguments = (scale, "Router", [0.0] * 4, total, weight, 1, noise)
        fields = {"kind": ROUTER, "scale": scale, "parameters": hex32([0.0] * 4), "sum": total, "weight": weight}
        fields |= {"max_weight": 1, "noise_steps": noise}
        wrong.append(bad("consistency-weight", fixed.apply, arguments, **fields))
    models = [[], [[]], [[1.0]], [[0.5, -0.0], singles("block", 5, 1.0), []]]
    digests = [{"blocks": [hex32(b) for b in m], "digest": fixed.model_digest(m).hex()} for m in models]
    return {"cases": cases, "bad": wrong, "models": digests}


def consistency():
    """ALIGN-11; single precision is allowed, so the values agree to a millionth."""
    cases = []
    for number in range(6):
        p = [abs(v) for v in singles(f"own {number}", 4, 1.0)]
        g = [abs(v) for v in singles(f"published {number}", 4, 1.0)] if number else [0.0] * 4
        m = singles(f"margins {number}", 4, 1.0)
        weight = fixed.consistency_weight(p, g, m)
        cases.append({"own": hex32(p), "published": hex32(g), "margins": hex32(m), "weight": hex64(weight)})
    return {"cases": cases}


def sketches():
    """ALIGN-01 without noise: single signs, clipped and unclipped vectors, and vectors that are not finite."""
    cases, key = [], seed("projection")
    one_hot = lambda at, size: [1.0 if index == at else 0.0 for index in range(size)]
    for coordinates in (16, 32, 64, 128):
        for block, vector, clip in [
            (None, one_hot(0, 1), 1.0), (None, one_hot(4, 6), 2.0), (0, one_hot(0, 1), 1.0),
            (2**32 - 1, one_hot(2, 3), 1.0), (None, singles("region", 40, 1.0), 12.5),
            (3, singles("update", 70, 1.0), 4.0), (3, [], 1.0), (None, [float("nan"), 1.0], 1.0),
            (None, [0.0, 0.0], 1.0),
        ]:
            nonce = 0 if block is None else 1 + block
            made = sketching.sketch(key, nonce, coordinates, vector, clip)
            cases.append({
                "coordinates": coordinates, "block": block, "vector": hex32(vector),
                "clip": hex64(clip), "sketch": made,
            })
    return {"seed": key.hex(), "cases": cases}


def signs():
    """ALIGN-14: directions, signs, and regions that are centred before and after their projection."""
    key, directions = seed("projection"), []
    for coordinates in (8, 16, 64, 128, 256):
        for block, vector in [
            (None, [1.0]), (3, singles("update", 70, 1.0)), (3, singles("update", 70, 1e-20)),
            (None, singles("region", 40, 1e10)), (None, []), (0, [0.0, 0.0]), (7, [1.0, float("inf")]),
        ]:
            nonce = 0 if block is None else 1 + block
            directions.append({
                "coordinates": coordinates, "block": block, "vector": hex32(vector),
                "direction": sketching.direction(key, nonce, coordinates, vector),
            })
    cases = []
    for number, size in enumerate((16, 32, 64, 256)):
        update, region = integers(f"signs {number}", size, -5, 5), integers(f"turned {number}", size // 2, -2, 2)
        coins = [value % 2 == 1 for value in integers(f"coins {number}", update.count(0) + region.count(0), 0, 1)]
        made = sketching.signs(update, region, coins)
        cases.append({"update": update, "region": region, "coins": coins, "signs": made.hex()})
    centred = []
    for number, count in enumerate((3, 1, 0)):
        counted = [integers(f"counted {number} {at}", 8, -9000, 9000) for at in range(count)]
        region = integers(f"centred {number}", 8, -9000, 9000)
        centred.append({"region": region, "counted": counted, "centred": sketching.centred(region, counted)})
    means = []
    for number, (lengths, counted) in enumerate([
        ([6, 6, 6], [False, True, False]), ([6, 6, 6, 6], [True, True, False, True]), ([5, 0, 5], [True, True, True]), ([4, 4], [False, False]), ([], []),
    ]):
        regions = [singles(f"hidden {number} {at}", length, 2.0) for at, length in enumerate(lengths)]
        means.append({
            "regions": [hex32(region) for region in regions], "counted": counted,
            "centred": [hex32(region) for region in sketching.centred_means(regions, counted)],
        })
    return {"seed": key.hex(), "directions": directions, "cases": cases, "centred": centred, "means": means}


def late_sketches():
    """LATE-02 without a round around it, and LATE-04."""
    cases = []
    for number, (members, length, bits) in enumerate([(1, 1, 32), (3, 40, 24), (7, 130, 16), (5, 300, 32), (2, 0, 32)]):
        seal2, seeds = seed(f"second seal {number}"), [seed(f"late {number} {m}") for m in range(members)]
        words = [word % 2**bits for word in integers(f"late words {number}", length, 0, 2**32)]
        key = late.projection_seed(seal2, number, seeds)
        cases.append({
            "seal2": seal2.hex(), "block": number, "seeds": [s.hex() for s in seeds], "seed": key.hex(),
            "bits": bits, "words": words, "rows": late.rows(key, words, bits),
        })
    bounds = []
    for kind, length, clip, noise, weight in [
        (SHARED, 4800, 1000, 0, 1), (EXPERT, 4899, 2**14, 16, 3), (ROUTER, 5041, 2**20, 2, 15),
        (SHARED, 2**32, 2**31 - 1, 2**20, 15), (ROUTER, 4900, 4, 0, 1),
    ]:
        row = {
            "shape": {"id": 0, "kind": kind, "length": length},
            "scale": {"step_log2": -10, "clip_steps": clip}, "noise_steps": noise,
        }
        bounds.append({"block": row, "weight": weight, "bound": str(late.late_bound(row, weight))})
    return {"cases": cases, "bounds": bounds}
