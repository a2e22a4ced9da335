"""Announcements, letters and first seals that must be refused (ROUND-10 to ROUND-13)."""

from .bad_dealings import BadDealings
from .canonical import decode
from .refusals import flipped
from .rfc_values import BAD_ELEMENTS
from .samples import seed, wide
from .schema import BODIES
from .statements import body_bytes, certificate

DEALER, CUSTODIAN = 3, 2
# A member for whom the block of the shared rest is closed (ROUND-38).
CLOSED_FOR, SHARED = 2, 4
ANNOUNCEMENT = BODIES["Announcement"][1]


def broken_keys(body, other):
    """MASK-02 and MASK-08: what is wrong, and fields of a body in place of member 3's; `other` is another member's body."""
    for name in ("mask_key", "seed_key"):
        own, listed = body[name], body[name]["commitments"]
        of = lambda **fields: {name: own | fields}
        yield f"the identity as {name}", of(commitments=[bytes(32), *listed[1:]])
        yield f"no element as {name}", of(commitments=[BAD_ELEMENTS[7], *listed[1:]])
        yield f"the identity as a coefficient of the {name}", of(commitments=[*listed[:-1], bytes(32)])
        yield f"no element as a coefficient of the {name}", of(commitments=[*listed[:-1], BAD_ELEMENTS[7]])
        yield f"a commitment of the {name} too few", of(commitments=listed[:-1])
        yield f"a commitment of the {name} too many", of(commitments=[*listed, listed[1]])
        yield f"no commitments of the {name}", of(commitments=[])
        yield f"the {name} and proof of another member", {name: other[name]}
        yield f"another {name} under the proof", of(commitments=other[name]["commitments"])
        yield f"another proof of the {name}", of(proof=other[name]["proof"])
    yield "the two keys exchanged", {"mask_key": body["seed_key"], "seed_key": body["mask_key"]}
    yield "the mask key as seed key", {"seed_key": body["mask_key"]}


def broken_announcements(refusals):
    """Bodies that member 3 signs: step, what is wrong, body."""
    first = refusals.first
    body = decode(ANNOUNCEMENT, first.announcements[DEALER]["body"])
    other = decode(ANNOUNCEMENT, first.announcements[1]["body"])
    rows, sketches = body["dealings"], body["sketches"]
    vectors = sketches[0]["values"]["Projections"]
    valued = lambda values: [sketches[0] | {"values": values}, *sketches[1:]]
    sized = lambda **fields: valued({"Projections": vectors | fields})
    yield "mismatch", "another epoch", body | {"epoch": seed("another epoch")}
    yield "mismatch", "another round", body | {"round": 2}
    yield "mismatch", "another plan", body | {"plan": seed("another plan")}
    for name, keys in broken_keys(body, other):
        yield "announcement", name, body | keys
    to_another = [rows[0] | {"recipient": rows[1]["recipient"]}, *rows[1:]]
    yield "announcement", "a letter for another receiving key than the plan's", body | {"dealings": to_another}
    yield "announcement", "a dealing too few", body | {"dealings": rows[:-1]}
    yield "announcement", "dealings not ascending", body | {"dealings": rows[::-1]}
    yield "announcement", "a dealing for no custodian", body | {"dealings": [*rows, rows[0] | {"custodian": 6}]}
    yield "announcement", "closed blocks not ascending", body | {"closed": [2, 1]}
    yield "announcement", "a closed block twice", body | {"closed": [1, 1]}
    yield "announcement", "a closed block that the plan does not have", body | {"closed": [len(first.settings["blocks"])]}
    yield "announcement", "a sketch too few", body | {"sketches": sketches[1:]}
    yield "announcement", "sketches not ascending", body | {"sketches": sketches[::-1]}
    yield "announcement", "a short region", body | {"sketches": sized(region=vectors["region"][:-1])}
    yield "announcement", "a long update", body | {"sketches": sized(update=[*vectors["update"], 0])}
    yield "announcement", "signs in place of projections", body | {"sketches": valued({"Signs": bytes(2)})}
    yield "announcement", "a score in place of projections", body | {"sketches": valued({"Score": 5000})}
    yield "announcement", "no score in place of projections", body | {"sketches": valued({"Score": None})}
    scores = [sketch | {"values": {"Score": 5000}, "tokens": 0} for sketch in sketches]
    yield "announcement", "scores in place of all projections", body | {"sketches": scores}


def add_announcements(refusals):
    """ROUND-10."""
    for receiver in ("custodian 2", "member 1"):
        at = refusals.place(receiver, "Announcement", DEALER - 1)
        good = refusals.message(at)["Announcement"]
        cases = [
            ("signature", "a damaged signature", good | {"signature": flipped(good["signature"])}),
            ("signature", "another signer", good | {"signer": 1}),
            ("role", "the coordinator", good | {"signer": 0}), ("role", "nobody", good | {"signer": 9}),
        ]
        if receiver == "custodian 2":
            made = lambda body: refusals.signed("Announcement", body, DEALER)
            cases += [(step, about, made(body)) for step, about, body in broken_announcements(refusals)]
        for step, about, statement in cases:
            refusals.add(at, receiver, step, about, {"Announcement": statement})


def add_letters(refusals):
    """ROUND-11: other letters than announced, and announced ones that are no use."""
    first, receiver = refusals.first, f"custodian {CUSTODIAN}"
    at = refusals.place(receiver, "Letter", DEALER - 1)
    announced_at = refusals.place(receiver, "Announcement", DEALER - 1)
    good = refusals.message(at)["Letter"]
    letter = lambda sealed: {"Letter": good | {"sealed": sealed}}
    for about, sealed in [
        ("another custodian's", first.letters[DEALER][1]), ("another dealer's", first.letters[1][CUSTODIAN]),
        ("a damaged letter", flipped(good["sealed"])), ("nothing", b""),
    ]:
        refusals.add(at, receiver, "letter", about, letter(sealed))
    dealt = BadDealings(first, DEALER, CUSTODIAN)
    for about, sealed in dealt.letters():
        draw = wide(f"complaint about {about}") if dealt.is_proven(sealed) else b""
        agreed, proof = dealt.shown(sealed, draw)
        fault = {"LetterFault": {"round": 1, "dealer": DEALER, "agreed": agreed, "proof": proof}}
        refusals.add(
            announced_at, receiver, "letter", about, letter(sealed), before=[{"Announcement": dealt.announced(sealed)}],
            fork=True, answer=(draw, fault),
        )


def add_second_announcement(refusals):
    """ROUND-10: a member announces once."""
    body = decode(ANNOUNCEMENT, refusals.first.announcements[DEALER]["body"])
    last = body["sketches"][-1] | {"tokens": 1}
    changed = refusals.signed("Announcement", body | {"sketches": [*body["sketches"][:-1], last]}, DEALER)
    for receiver in ("custodian 2", "member 1"):
        at = refusals.place(receiver, "Announcement", DEALER)
        refusals.add(at, receiver, "equivocation", "a second announcement", {"Announcement": changed}, fork=True)


def broken_manifests(manifest):
    """Manifests that do not follow: step, what is wrong, manifest."""
    cohorts, announced = manifest["cohorts"], manifest["announced"]
    with_cohort = lambda **fields: manifest | {"cohorts": [cohorts[0] | fields, *cohorts[1:]]}
    members = cohorts[0]["members"]
    heavier = [members[0] | {"weight": members[0]["weight"] + 1}, *members[1:]]
    higher = [cohorts[0]["consensus"][0] + 1, *cohorts[0]["consensus"][1:]]
    yield "mismatch", "another round", manifest | {"round": 2}
    yield "mismatch", "another plan", manifest | {"plan": seed("another plan")}
    yield "manifest", "an announcement that nobody holds", manifest | {
        "announced": [announced[0] | {"announcement": seed("no announcement")}, *announced[1:]]
    }
    yield "manifest", "a member that did not announce", manifest | {
        "announced": [*announced, announced[0] | {"member": 7}]
    }
    yield "manifest", "members not ascending", manifest | {"announced": announced[::-1]}
    yield "manifest", "a member twice", manifest | {"announced": [announced[0], *announced]}
    yield "below-floor", "three organisations", manifest | {"announced": announced[:3]}
    yield "below-floor", "four members of three organisations", manifest | {
        "announced": [*announced[:2], *announced[4:]]
    }
    yield "score", "cohorts of other announcements", manifest | {"announced": announced[:5]}
    yield "score", "a member left out", with_cohort(members=members[1:])
    yield "score", "another weight", with_cohort(members=heavier)
    yield "score", "another consensus", with_cohort(consensus=higher)
    yield "score", "another choice", with_cohort(choice="Fallback")
    shared = cohorts[SHARED]["members"]
    with_member = sorted([*shared, {"member": CLOSED_FOR, "weight": 1}], key=lambda one: one["member"])
    assert all(one["member"] != CLOSED_FOR for one in shared)
    with_closed = [row | {"members": with_member} if row["block"] == SHARED else row for row in cohorts]
    yield "score", "a member for whom the block is closed", manifest | {"cohorts": with_closed}
    yield "score", "blocks exchanged", manifest | {"cohorts": [cohorts[1], cohorts[0], *cohorts[2:]]}


def add_proposals(refusals):
    """ROUND-12 and ROUND-13, at a custodian."""
    first, receiver = refusals.first, "custodian 1"
    at = refusals.place(receiver, "ProposeSeal1")
    manifest, seal = decode(BODIES["Manifest"][1], first.manifest), decode(BODIES["Seal1"][1], first.seal1)
    propose = lambda manifest, seal: {"ProposeSeal1": {"manifest": manifest, "seal": seal}}
    for step, about, broken in broken_manifests(manifest):
        refusals.add(at, receiver, step, about, propose(body_bytes("Manifest", broken), first.seal1))
    for field in ("epoch", "plan", "manifest", "previous", "tree"):
        broken = body_bytes("Seal1", seal | {field: seed("something else")})
        refusals.add(at, receiver, "mismatch", f"another {field}", propose(first.manifest, broken))
    later = body_bytes("Seal1", seal | {"round": 2})
    refusals.add(at, receiver, "mismatch", "another round", propose(first.manifest, later))
    refusals.add(at, receiver, "trailing", "trailing bytes", propose(first.manifest + b"\x00", first.seal1))
    refusals.add(at, receiver, "trailing", "trailing bytes", propose(first.manifest, first.seal1 + b"\x00"))


def broken_certificates(first, kind, good):
    """Certificates that are none, for any body: step, what is wrong, certificate."""
    votes, body = good["votes"], good["body"]
    with_votes = lambda votes: good | {"votes": votes}
    outsider = certificate(kind, body, first.seeds, [6])["votes"]
    coordinator = certificate(kind, body, first.seeds, [0])["votes"]
    other_kind = certificate("Abort", body, first.seeds, [votes[0]["custodian"]])["votes"]
    damaged = votes[:-1] + [votes[-1] | {"signature": flipped(votes[-1]["signature"])}]
    borrowed = [votes[0] | {"signature": votes[1]["signature"]}, *votes[1:]]
    yield "quorum", "a vote too few", with_votes(votes[:-1])
    yield "quorum", "no votes", with_votes([])
    yield "quorum", "one custodian twice", with_votes([*votes[:-1], votes[-2]])
    yield "quorum", "not ascending", with_votes(votes[::-1])
    yield "role", "a voter that is no custodian", with_votes([*votes[:-1], *outsider])
    yield "role", "the coordinator among the voters", with_votes([*coordinator, *votes])
    yield "signature", "a damaged signature", with_votes(damaged)
    yield "signature", "another custodian's signature", with_votes(borrowed)
    yield "signature", "a signature on another kind of body", with_votes([*other_kind, *votes[1:]])
    yield "signature", "another body", good | {"body": body[:-1] + bytes([body[-1] ^ 1])}


def add_certificates(refusals):
    """ROUND-05, at a member: the first seal."""
    first, receiver = refusals.first, "member 1"
    at = refusals.place(receiver, "Sealed1")
    original = refusals.message(at)["Sealed1"]
    seal = decode(BODIES["Seal1"][1], first.seal1)
    cases = list(broken_certificates(first, "Seal1", first.certificate1))
    body = body_bytes("Seal1", seal | {"tree": seed("another log")})
    cases.append(("mismatch", "another log", certificate("Seal1", body, first.seeds, [1, 2, 3, 4])))
    for step, about, made in cases:
        refusals.add(at, receiver, step, about, {"Sealed1": original | {"certificate": made}})


def add_received(refusals):
    """ROUND-41: what cannot have arrived, before the member uploads and after."""
    first, receiver = refusals.first, "member 1"
    at = refusals.place(receiver, "Sealed1")
    original = refusals.message(at)["Sealed1"]
    blocks = sorted(first.packed[1])
    entry = lambda block, chunks=1: {"block": block, "chunks": chunks}
    told = lambda *entries: {"Sealed1": original | {"received": list(entries)}}
    refusals.add(at, receiver, "received", "a chunk that arrived before any was sent", told(entry(blocks[0])))
    other = max(blocks) + 1
    later = refusals.place(receiver, "Sealed2")
    for about, message in [
        ("a block that it does not upload", told(entry(other))),
        ("no chunk of a block", told(entry(blocks[0], 0))),
        ("more chunks than the block has", told(entry(blocks[0], 2))),
        ("one block twice", told(entry(blocks[0]), entry(blocks[0]))),
        ("blocks that do not ascend", told(entry(blocks[1]), entry(blocks[0]))),
    ]:
        refusals.add(later, receiver, "received", f"arrived, {about}", message)


def add(refusals):
    """Everything up to the first seal."""
    add_announcements(refusals)
    add_letters(refusals)
    add_second_announcement(refusals)
    add_proposals(refusals)
    add_certificates(refusals)
    add_received(refusals)
