"""A whole round: one member leaves before it uploads, another before it reveals, one block becomes void."""

from . import fixed, masking, sharing
from .canonical import encode
from .contributions import Contribution
from .framing import chunk_frames
from .hashing import body_digest, digest, leaf_hash, path, root, u32_little
from .log import Log
from .member import Dealer, block_context, mask_blocks, open_sum
from .openings import without_closed
from .planning import check_plan, settings
from .revealing import check_reveal
from .ristretto import BASE, scalar_bytes, scalar_of_wide
from .roster import COORDINATOR, key_seed, the_roster
from .samples import singles, wide
from .schema import REVEAL
from .scoring import choose
from .script import Script, custodian, member
from .statements import body_bytes, certificate, check_certificate, signed, vote_message

LEFT_BEFORE_UPLOAD, LEFT_BEFORE_REVEAL = 4, 6
FIRST_SEALERS, LATER_SEALERS = [4, 1, 2, 3, 5], [1, 2, 3, 5]
# LATE-05, with late sketches that are required.
APPLIED = ("NotSketched", "Checked")


def first_model(chosen):
    """The parameters that the first round starts from."""
    return [singles(f"model {row['shape']['id']}", row["shape"]["length"], 1.0) for row in chosen["blocks"]]


def receiving_draw(number, round_number):
    """The random bytes behind a custodian's receiving key."""
    return wide(f"receiving key of {number} in round {round_number}")


def seed_parts(dealer, holder, parts):
    """A custodian's parts of a dealer's seeds, as the log has them."""
    return {"dealer": dealer, "secret": {"SeedParts": {"custodian": holder, "parts": parts}}}


def by_dealer_and_custodian(reveal):
    """LOG-01: the order of reveals."""
    return reveal["dealer"], reveal["secret"].get("SeedParts", {"custodian": 0})["custodian"]


class RoundOne:
    """The state of the round, step by step; `script` has its frames."""

    number = 1
    left_before_upload, left_before_reveal = LEFT_BEFORE_UPLOAD, LEFT_BEFORE_REVEAL
    first_sealers = FIRST_SEALERS
    closed = {2: [4]}

    def __init__(self):
        self.roster, self.log = the_roster(), Log()
        self.seeds = {number: key_seed(number) for number in [COORDINATOR, *self.roster.parties]}
        self.settings = self.planned()
        self.begin()
        self.contributions = {m: self.contributed(m) for m in self.members}
        for step in (self.keys_and_plan, self.announce, self.seal_1, self.upload, self.seal_2,
                     self.reveal, self.check_uploads, self.write_closing, self.recompute, self.end):
            step()

    def planned(self):
        """What the round does."""
        return settings()

    def begin(self):
        """Who is there, and what the round starts from."""
        self.script, self.model = Script(), first_model(self.settings)
        self.members, self.holders = self.roster.members, self.roster.custodians
        self.previous, self.last_ending = self.roster.epoch, None

    def contributed(self, number):
        """What a member brings."""
        return Contribution(number, self.settings)

    def draw_label(self, number):
        """What the random bytes of a member's dealing follow from."""
        return f"member {number}"

    def closed_for(self, number):
        """ROUND-38: the blocks that a member does not give, as it may have uploaded them before its disk was restored."""
        return self.closed.get(number, [])

    def check_uploads(self):
        """Step 6a: nothing, without late sketches."""
        self.checks, self.blamed, self.pair_draws = {}, [], {}

    def show_evidence(self, holder):
        """What a custodian gets of step 6a."""

    def show_reveals(self, receivers, reveals):
        """What was revealed, as the log has it, one message each."""
        for reveal in reveals:
            self.script.ask(receivers, {"Revealed": {"round": self.number, "reveal": reveal}})

    def everyone(self, without=()):
        """All roles, of parties that are still there."""
        members = [member(m) for m in self.members if m not in without]
        return members + self.custodians(without)

    def custodians(self, without=()):
        """All custodians that are still there."""
        return [custodian(c) for c in self.holders if c not in without]

    def names(self, **more):
        """The fields that most bodies begin with."""
        return {"epoch": self.roster.epoch, "round": self.number} | more

    def keys_and_plan(self):
        """Steps 0 and 1."""
        self.script.ask(self.custodians(), {"KeyRequest": {"round": self.number}})
        self.receiving = {c: scalar_of_wide(receiving_draw(c, self.number)) for c in self.holders}
        keys = {c: (secret * BASE).encode() for c, secret in self.receiving.items()}
        self.vouched = [signed("ReceivingKey", self.names(key=keys[c]), c, self.seeds[c]) for c in keys]
        for statement in self.vouched:
            self.script.tell(custodian(statement["signer"]), {"ReceivingKey": statement})
        self.plan = self.names(
            previous=self.previous, model=fixed.model_digest(self.model), parameters=fixed.block_digests(self.model),
            custodians=[{"custodian": c, "key": key} for c, key in keys.items()], barred=[], settings=self.settings,
        )
        check_plan(self.plan, self.roster, self.vouched)
        self.signed_plan = signed("RoundPlan", self.plan, COORDINATOR, self.seeds[COORDINATOR])
        self.plan_digest = body_digest(self.signed_plan["body"])
        self.log.push("plan", COORDINATOR, self.signed_plan["body"])
        message = {"plan": self.signed_plan, "receiving_keys": self.vouched, "previous": self.last_ending}
        self.script.ask(self.everyone(), {"Plan": message})

    def announce(self):
        """Step 2."""
        self.dealers, self.announcements, self.letters = {}, {}, {}
        for number in self.members:
            label, threshold = self.draw_label(number), self.roster.floors["reveal_threshold"]
            dealer = Dealer(number, label, self.plan, self.plan_digest, threshold)
            letters = dealer.letters()
            body = dealer.announcement(letters, self.contributions[number].sketches, self.closed_for(number))
            statement = signed("Announcement", body, number, self.seeds[number])
            self.dealers[number], self.announcements[number] = dealer, statement
            self.letters[number] = letters
            self.script.tell(member(number), {"Announcement": statement})
            self.script.ask(self.everyone(), {"Announcement": statement})
            self.log.push("announcement", number, statement["body"])
            for to, sealed in letters.items():
                letter = {"round": self.number, "dealer": number, "custodian": to, "sealed": sealed}
                self.script.tell(member(number), {"Letter": letter})
                self.script.ask([custodian(to)], {"Letter": letter})
                self.script.tell(custodian(to), {"LetterOpened": {"round": self.number, "dealer": number}})

    def vote(self, kind, body, voters):
        """Votes in the order in which they come, and the certificate of the first four."""
        for voter in voters:
            self.script.tell(custodian(voter), vote_message(kind, body, self.seeds[voter]))
        made = certificate(kind, body, self.seeds, sorted(voters[:self.roster.floors["seal_quorum"]]))
        keys = self.roster.keys_of(self.roster.custodians)
        check_certificate(kind, made, keys, self.roster.floors["seal_quorum"])
        return made

    def seal_1(self):
        """Step 3."""
        sketches = {m: {s["block"]: s for s in self.contributions[m].sketches} for m in self.members}
        cohorts = choose(self.settings, self.roster.organisation_of, self.roster.weight_of, sketches)
        reaches_floor = lambda listed: self.roster.organisations(listed) >= self.settings["cohort_floor"]
        self.cohorts = without_closed(cohorts, {m: self.closed_for(m) for m in self.members}, reaches_floor)
        listed = [
            {"member": m, "announcement": body_digest(statement["body"])}
            for m, statement in self.announcements.items()
        ]
        manifest = self.names(plan=self.plan_digest, announced=listed, cohorts=self.cohorts)
        self.manifest = body_bytes("Manifest", manifest)
        self.manifest_digest = body_digest(self.manifest)
        self.log.push("manifest", COORDINATOR, self.manifest)
        self.seal1 = body_bytes("Seal1", self.names(
            plan=self.plan_digest, manifest=self.manifest_digest,
            previous=self.plan["previous"], tree=self.log.root(),
        ))
        self.script.ask(self.custodians(), {"ProposeSeal1": {"manifest": self.manifest, "seal": self.seal1}})
        self.certificate1 = self.vote("Seal1", self.seal1, self.first_sealers)
        self.log.push("seal-1", COORDINATOR, self.seal1)

    def upload(self):
        """Step 4; one member is gone."""
        gone = [self.left_before_upload]
        invitation = {"manifest": self.manifest, "certificate": self.certificate1, "received": []}
        self.script.ask(self.everyone(gone), {"Sealed1": invitation})
        public = {m: dealer.public for m, dealer in self.dealers.items()}
        self.uploads, self.roots, self.packed = [], {}, {}
        for number in [m for m in self.members if m not in gone]:
            integers = self.contributions[number].integers
            packed = mask_blocks(self.dealers[number], self.cohorts, self.manifest_digest, integers, public)
            for block in sorted(packed):
                for frame in chunk_frames(self.number, number, block, packed[block]):
                    self.script.send(member(number), ["coordinator"], frame)
            self.roots[number], self.packed[number] = masking.upload_root(packed), packed
            body = self.names(seal1=body_digest(self.seal1), root=self.roots[number])
            self.uploads.append(signed("Upload", body, number, self.seeds[number]))
            self.script.tell(member(number), {"Uploaded": self.uploads[-1]})
            self.log.push("upload", number, self.uploads[-1]["body"])

    def seal_2(self):
        """Step 5."""
        self.summed = {}
        for cohort in self.cohorts:
            listed = [entry["member"] for entry in cohort["members"]]
            here = [m for m in listed if m in self.packed]
            if self.roster.organisations(here) >= self.settings["cohort_floor"]:
                gone = [m for m in listed if m not in self.packed]
                weights = {entry["member"]: entry["weight"] for entry in cohort["members"]}
                self.summed[cohort["block"]] = (here, gone, sum(weights[m] for m in here))
        self.void = [cohort["block"] for cohort in self.cohorts if cohort["block"] not in self.summed]
        self.seal2 = body_bytes("Seal2", self.names(
            seal1=body_digest(self.seal1),
            uploaded=[{"member": m, "root": upload} for m, upload in self.roots.items()],
            void=self.void, repeated=[], tree=self.log.root(),
        ))
        proposal = {"seal": self.seal2, "uploads": self.uploads}
        self.script.ask(self.custodians([self.left_before_upload]), {"ProposeSeal2": proposal})
        self.certificate2 = self.vote("Seal2", self.seal2, LATER_SEALERS)
        self.log.push("seal-2", COORDINATOR, self.seal2)

    def reveal(self):
        """Step 6: members' own seeds, custodians' shares of mask keys, and their parts of the seeds of a member that left."""
        gone = [self.left_before_upload]
        self.script.ask(
            self.everyone([*gone, self.left_before_reveal]), {"Sealed2": {"certificate": self.certificate2}}
        )
        self.reveals = [self.reveal_seeds(number) for number in self.packed if number != self.left_before_reveal]
        self.reveals += [self.reveal_mask_key(number) for number in self.needed_mask_keys()]
        if self.left_before_reveal is not None:
            self.reveals += self.reveal_parts(self.left_before_reveal)
        self.reveals.sort(key=by_dealer_and_custodian)
        for reveal in self.reveals:
            check_reveal(self, reveal)
            self.log.push("reveal", reveal["dealer"], encode(REVEAL, reveal))

    def permitted_blocks(self, number):
        """ROUND-01: the blocks whose seeds of a member open."""
        return [block for block, (here, _, _) in self.summed.items() if number in here]

    def needed_mask_keys(self):
        """ROUND-01: the members whose mask keys open."""
        return sorted({number for _, gone, _ in self.summed.values() for number in gone})

    def reveal_seeds(self, number):
        """A member's own seeds, and what the log has of it."""
        seeds = self.dealers[number].own_seeds(self.permitted_blocks(number))
        self.script.tell(member(number), {"Seeds": {"round": self.number, "seeds": seeds}})
        return {"dealer": number, "secret": {"Seeds": seeds}}

    def reveal_mask_key(self, number):
        """Custodians' shares of a mask key; any `h_r` of them open it."""
        dealt, threshold = self.dealers[number].mask_key, self.roster.floors["reveal_threshold"]
        shares = {holder: dealt.share(holder) for holder in LATER_SEALERS}
        for holder, share in shares.items():
            sharing.check_share(dealt.commitments, holder, share)
            message = {"round": self.number, "dealer": number, "share": share}
            self.script.tell(custodian(holder), {"MaskKeyShare": message})
        assert sharing.combine(threshold, list(shares.items())) == dealt.secret
        return {"dealer": number, "secret": {"MaskKey": scalar_bytes(dealt.secret)}}

    def reveal_parts(self, number):
        """Custodians are asked for the seeds of a member that left; the log has the parts of the first `h_r` of them."""
        request = {"round": self.number, "dealer": number}
        self.script.ask(self.custodians([self.left_before_upload]), {"SeedSharesRequest": request})
        blocks, threshold = self.permitted_blocks(number), self.roster.floors["reveal_threshold"]
        parts = {holder: self.dealers[number].parts(holder, blocks) for holder in LATER_SEALERS}
        for holder, seeds in parts.items():
            message = {"round": self.number, "dealer": number, "parts": seeds}
            self.script.tell(custodian(holder), {"SeedParts": message})
        for at, block in enumerate(blocks):
            points = [(holder, seeds["seeds"][at]["seed"]) for holder, seeds in parts.items()]
            assert sharing.combine_elements(threshold, points) == self.dealers[number].seed(block)
        return [seed_parts(number, holder, parts[holder]) for holder in LATER_SEALERS[:threshold]]

    def open_block(self, block):
        """The opened words, which are the plain sum."""
        here, gone, _ = self.summed[block]
        context = block_context(self.plan, self.plan_digest, self.manifest_digest, block)
        seeds = {m: self.dealers[m].seed(block) for m in here}
        keys = {m: self.dealers[m].mask_key.secret for m in gone}
        public = {m: dealer.public for m, dealer in self.dealers.items()}
        packed = {m: self.packed[m][block] for m in here}
        words = open_sum(context, here, gone, packed, seeds, keys, public)
        weights = {entry["member"]: entry["weight"] for entry in self.cohorts[block]["members"]}
        plain = [0] * len(words)
        for m in here:
            plain = [a + weights[m] * b for a, b in zip(plain, self.contributions[m].integers[block])]
        assert [masking.lift(word, context["ring_bits"]) for word in words] == plain
        return words

    def applied(self, block):
        """ROUND-21: a block's parameters once its opened sum is applied."""
        planned, ring, (_, _, weight) = self.settings["blocks"][block], self.settings["ring"], self.summed[block]
        kind, words = planned["shape"]["kind"], masking.unpack(self.sums[block], ring)
        kind = kind if isinstance(kind, str) else next(iter(kind))
        return fixed.apply(planned["scale"], kind, self.model[block], [masking.lift(word, ring) for word in words], weight)

    def write_closing(self):
        """Step 7: sums and model."""
        self.sums, self.closed_model, listed = {}, list(self.model), []
        for block, (_, _, weight) in self.summed.items():
            self.sums[block] = masking.pack(self.open_block(block), self.settings["ring"])
            check = self.checks.get(block, "NotSketched")
            if check in APPLIED:
                self.closed_model[block] = self.applied(block)
            total = digest("sum", u32_little(block), self.sums[block])
            listed.append({"block": block, "sum": total, "weight": weight, "check": check})
        self.closing = body_bytes("Closing", self.names(
            plan=self.plan_digest, seal2=body_digest(self.seal2), sums=listed, blamed=self.blamed,
            parameters=fixed.block_digests(self.closed_model),
            model=fixed.model_digest(self.closed_model), tree=self.log.root(),
        ))
        self.log.push("closing", COORDINATOR, self.closing)

    def masked_block(self, number, block):
        """A masked block with its path to the root that its member signed."""
        packed = self.packed[number]
        leaf = lambda b: leaf_hash(digest("masked-block", u32_little(b), packed[b]))
        leaves = [leaf(b) for b in sorted(packed)]
        assert root(leaves) == self.roots[number]
        place = path(leaves, sorted(packed).index(block))
        return {"round": self.number, "member": number, "block": block, "path": place}

    def hand_block(self, receiver, block):
        """What a custodian needs to recompute a block: its old parameters, and its masked blocks with paths."""
        part = {"block": block, "index": 0, "bytes": fixed.singles_to_bytes(self.model[block])}
        self.script.ask([receiver], {"OldParameters": part})
        for number in self.summed[block][0]:
            self.script.ask([receiver], {"MaskedBlock": self.masked_block(number, block)})
            for frame in chunk_frames(self.number, number, block, self.packed[number][block]):
                self.script.send("coordinator", [receiver], frame)

    def recomputers(self, block):
        """The `f + 1` custodians that recompute a block, by rotation over blocks and rounds."""
        quorum = self.roster.floors["malicious_custodians"] + 1
        return [LATER_SEALERS[(self.number + block + step) % len(LATER_SEALERS)] for step in range(quorum)]

    def recompute(self):
        """Step 7: every opened block is recomputed by `f + 1` custodians, and four sign the closing."""
        self.recomputed = []
        for holder in LATER_SEALERS:
            blocks = [block for block in self.summed if holder in self.recomputers(block)]
            self.show_reveals([custodian(holder)], self.reveals)
            for block in blocks:
                self.hand_block(custodian(holder), block)
            self.show_evidence(holder)
            proposal = {"closing": self.closing, "recompute": blocks}
            self.script.ask([custodian(holder)], {"ProposeClosing": proposal})
            vote = vote_message("Closing", self.closing, self.seeds[holder])
            self.script.tell(custodian(holder), vote)
            body = self.names(closing=body_digest(self.closing), blocks=blocks)
            self.recomputed.append(signed("Recomputed", body, holder, self.seeds[holder]))
            self.script.tell(custodian(holder), {"Recomputed": self.recomputed[-1]})

    def end(self):
        """Step 7: sums to the members that are there, and the ending to all."""
        gone = [self.left_before_upload, self.left_before_reveal]
        members = [member(m) for m in self.members if m not in gone]
        for block, packed in self.sums.items():
            for frame in chunk_frames(self.number, COORDINATOR, block, packed):
                self.script.send("coordinator", members, frame)
        made = certificate("Closing", self.closing, self.seeds, LATER_SEALERS)
        self.ending = {"Closed": {"certificate": made, "recomputed": self.recomputed}}
        self.script.ask(self.everyone(gone), {"Ended": self.ending})
