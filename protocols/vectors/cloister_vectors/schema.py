"""Statements and messages: their fields in the order in which they travel."""

from .canonical import Bare, Bytes, Digest, Integer, Many, Optional, Structure, Text, Truth, Variants

U8, U16, U32, U64 = Integer(1), Integer(2), Integer(4), Integer(8)
I8, I16, I32 = Integer(1, signed=True), Integer(2, signed=True), Integer(4, signed=True)
DIGEST, KEY, SIGNATURE, BODY = Digest(), Bare(32), Bytes(64), Bytes()
PARTY, BLOCK, ROUND = U32, U32, U64

LAYER = Structure(layer=U16)
BLOCK_KIND = Variants(
    Expert=Structure(layer=U16, expert=U16), Router=LAYER, Shared=None, Routing=LAYER, Evaluation=None, Regions=LAYER
)
BLOCK_SHAPE = Structure(id=BLOCK, kind=BLOCK_KIND, length=U64)
SCALE = Structure(step_log2=I8, clip_steps=U32)
PLANNED_BLOCK = Structure(shape=BLOCK_SHAPE, scale=SCALE, noise_steps=U32)
SKETCH_PLAN = Structure(
    seed=DIGEST, coordinates=U16, noise_steps=U16, region_clip_milli=U32, count_noise=U16
)
SKETCH_VALUES = Variants(
    Projections=Structure(region=Many(I16), update=Many(I16)), Signs=Bytes(), Score=Optional(I32)
)
SCORING_RULE = Structure(
    sketches=Variants(Pairs=None, Signs=None, Withheld=None),
    groups=U16,
    score_noise=U16,
    threshold=Variants(MeanDeviation=None, MedianDeviation=None),
    spread_factor=U16,
    consensus_fraction=U16,
    minimum_tokens=U32,
    slack=U16,
    fallback=Variants(Everyone=None, Skip=None),
    shared_cohort=Variants(Everyone=None, Majority=None),
)
TRAINING_PLAN = Structure(
    local_epochs=U16,
    batch_size=U16,
    learning_rate_micro=U32,
    routing_penalty_milli=U32,
    private=Optional(
        Structure(
            clipping_norm_milli=U32,
            noise_multiplier_milli=U32,
            sampling_probability_micro=U32,
            minimum_records=U32,
        )
    ),
)
DEADLINES = Structure(announce=U64, seal=U64, upload=U64, reveal=U64)
ROUND_SETTINGS = Structure(
    task=DIGEST,
    ring=U8,
    max_weight=U8,
    cohort_floor=U16,
    sketch=SKETCH_PLAN,
    scoring=SCORING_RULE,
    late_sketches=Variants(Off=None, Optional=None, Required=None),
    rehearsal=Truth(),
    training=TRAINING_PLAN,
    deadlines=DEADLINES,
    blocks=Many(PLANNED_BLOCK),
)
ROUND_PLAN = Structure(
    epoch=DIGEST,
    round=ROUND,
    previous=DIGEST,
    model=DIGEST,
    parameters=Many(DIGEST),
    custodians=Many(Structure(custodian=PARTY, key=KEY)),
    barred=Many(PARTY),
    settings=ROUND_SETTINGS,
)
RECEIVING_KEY = Structure(epoch=DIGEST, round=ROUND, key=KEY)
SHARED_KEY = Structure(commitments=Many(KEY), proof=Bytes(64))
ANNOUNCEMENT = Structure(
    epoch=DIGEST,
    round=ROUND,
    plan=DIGEST,
    mask_key=SHARED_KEY,
    seed_key=SHARED_KEY,
    has_budget=Truth(),
    closed=Many(BLOCK),
    dealings=Many(Structure(custodian=PARTY, recipient=KEY, letter=DIGEST)),
    sketches=Many(Structure(block=BLOCK, values=SKETCH_VALUES, tokens=U32)),
)
COHORT_MEMBERS = Many(Structure(member=PARTY, weight=U8))
MANIFEST = Structure(
    epoch=DIGEST,
    round=ROUND,
    plan=DIGEST,
    announced=Many(Structure(member=PARTY, announcement=DIGEST)),
    cohorts=Many(
        Structure(
            block=BLOCK,
            choice=Variants(Everyone=None, Aligned=None, Fallback=None, Void=None),
            members=COHORT_MEMBERS,
            consensus=Many(Optional(U32)),
        )
    ),
)
SEAL_1 = Structure(epoch=DIGEST, round=ROUND, plan=DIGEST, manifest=DIGEST, previous=DIGEST, tree=DIGEST)
UPLOAD = Structure(epoch=DIGEST, round=ROUND, seal1=DIGEST, root=DIGEST)
SEAL_2 = Structure(
    epoch=DIGEST,
    round=ROUND,
    seal1=DIGEST,
    uploaded=Many(Structure(member=PARTY, root=DIGEST)),
    void=Many(BLOCK),
    repeated=Many(BLOCK),
    tree=DIGEST,
)
ABORT = Structure(
    epoch=DIGEST,
    round=ROUND,
    plan=DIGEST,
    model=DIGEST,
    reason=Variants(TooFewAnnounced=None, NotSealed=None, TooFewUploaded=None, BadDealing=None),
)
LATE_SKETCHES = Structure(
    epoch=DIGEST, round=ROUND, seal2=DIGEST, sketches=Many(Structure(block=BLOCK, rows=Many(U32)))
)
BLAME_ANSWER = Structure(
    epoch=DIGEST, round=ROUND, seal2=DIGEST, block=BLOCK, row=U32, pairs=Many(Structure(other=PARTY, value=U32))
)
SUM_CHECK = Variants(NotSketched=None, Checked=None, Unchecked=None, Refuted=None)
CLOSING = Structure(
    epoch=DIGEST,
    round=ROUND,
    plan=DIGEST,
    seal2=DIGEST,
    sums=Many(Structure(block=BLOCK, sum=DIGEST, weight=U32, check=SUM_CHECK)),
    blamed=Many(Structure(block=BLOCK, member=PARTY)),
    parameters=Many(DIGEST),
    model=DIGEST,
    tree=DIGEST,
)
RECOMPUTED = Structure(epoch=DIGEST, round=ROUND, closing=DIGEST, blocks=Many(BLOCK))

BODIES = {
    "ReceivingKey": ("cloister/v1/receiving-key", RECEIVING_KEY),
    "RoundPlan": ("cloister/v1/plan", ROUND_PLAN),
    "Announcement": ("cloister/v1/announcement", ANNOUNCEMENT),
    "Manifest": ("cloister/v1/manifest", MANIFEST),
    "Seal1": ("cloister/v1/seal-1", SEAL_1),
    "Upload": ("cloister/v1/upload", UPLOAD),
    "Seal2": ("cloister/v1/seal-2", SEAL_2),
    "Abort": ("cloister/v1/abort", ABORT),
    "LateSketches": ("cloister/v1/late-sketches", LATE_SKETCHES),
    "BlameAnswer": ("cloister/v1/blame", BLAME_ANSWER),
    "Closing": ("cloister/v1/closing", CLOSING),
    "Recomputed": ("cloister/v1/recomputed", RECOMPUTED),
}

SIGNED = Structure(signer=PARTY, body=BODY, signature=SIGNATURE)
VOTE = Structure(custodian=PARTY, signature=SIGNATURE)
CERTIFICATE = Structure(body=BODY, votes=Many(VOTE))
ENDING = Variants(Closed=Structure(certificate=CERTIFICATE, recomputed=Many(SIGNED)), Aborted=CERTIFICATE)
REVEALED_SEEDS = Structure(seeds=Many(Structure(block=BLOCK, seed=KEY)), proof=Bytes(64))
SEED_PARTS = Structure(custodian=PARTY, parts=REVEALED_SEEDS)
REVEAL = Structure(dealer=PARTY, secret=Variants(MaskKey=KEY, Seeds=REVEALED_SEEDS, SeedParts=SEED_PARTS))
BAD_DEALING = Structure(announcement=SIGNED, custodian=PARTY, letter=Bytes(), agreed=KEY, proof=Bytes(64))
MODEL_PART = Structure(block=BLOCK, index=U32, bytes=Bytes())
RECEIVED_CHUNKS = Structure(block=BLOCK, chunks=U32)
MISSING_PARTS = Structure(block=BLOCK, first=U32)
MODEL_TABLE = Structure(model=DIGEST, blocks=Many(Structure(length=U64, digest=DIGEST)))
PAIR_OPENING = Structure(member=PARTY, other=PARTY, agreed=KEY, proof=Bytes(64))
ROLE = Variants(member=None, custodian=None)

MESSAGE = Variants(
    KeyRequest=Structure(round=ROUND),
    ReceivingKey=SIGNED,
    Plan=Structure(plan=SIGNED, receiving_keys=Many(SIGNED), previous=Optional(ENDING)),
    Refusal=Structure(round=ROUND, role=ROLE, reason=Text()),
    Announcement=SIGNED,
    Letter=Structure(round=ROUND, dealer=PARTY, custodian=PARTY, sealed=Bytes()),
    ProposeSeal1=Structure(manifest=BODY, seal=BODY),
    Vote=Structure(body=DIGEST, signature=SIGNATURE),
    Sealed1=Structure(manifest=BODY, certificate=CERTIFICATE, received=Optional(Many(RECEIVED_CHUNKS))),
    Uploaded=SIGNED,
    ProposeSeal2=Structure(seal=BODY, uploads=Many(SIGNED)),
    ProposeAbort=Structure(abort=BODY),
    Sealed2=Structure(certificate=CERTIFICATE),
    SeedSharesRequest=Structure(round=ROUND, dealer=PARTY),
    Seeds=Structure(round=ROUND, seeds=REVEALED_SEEDS),
    MaskKeyShare=Structure(round=ROUND, dealer=PARTY, share=KEY),
    ProposeClosing=Structure(closing=BODY, recompute=Many(BLOCK)),
    OldParameters=MODEL_PART,
    Recomputed=SIGNED,
    MaskedBlock=Structure(round=ROUND, member=PARTY, block=BLOCK, path=Many(DIGEST)),
    Ended=ENDING,
    ModelRequest=Structure(model=DIGEST, missing=Many(MISSING_PARTS)),
    ModelPart=MODEL_PART,
    LetterOpened=Structure(round=ROUND, dealer=PARTY),
    LetterFault=Structure(round=ROUND, dealer=PARTY, agreed=KEY, proof=Bytes(64)),
    LateRequest=Structure(round=ROUND),
    LateSketches=SIGNED,
    BlameRequest=Structure(round=ROUND, block=BLOCK),
    BlameAnswer=SIGNED,
    PairOpened=Structure(round=ROUND, opening=PAIR_OPENING),
    Revealed=Structure(round=ROUND, reveal=REVEAL),
    BadDealing=BAD_DEALING,
    SeedParts=Structure(round=ROUND, dealer=PARTY, parts=REVEALED_SEEDS),
    Ahead=Structure(round=ROUND),
    Edition=Structure(file=Bytes(), signature=SIGNATURE),
    ModelTable=MODEL_TABLE,
)

TYPES = {name: schema for name, (_, schema) in BODIES.items()} | {"Message": MESSAGE}
