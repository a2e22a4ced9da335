"""Plans that every party must refuse (PLAN-01 to PLAN-22, ROUND-03, ROUND-08)."""

from .dealing import public_of
from .hashing import body_digest, digest
from .planning import CLIP_STEPS, by_scores, check_plan, planned_block, projection_seed, without_privacy
from .refusal import step_of
from .refusals import flipped
from .rfc_values import BAD_ELEMENTS
from .ristretto import scalar_of_wide
from .roster import COORDINATOR
from .round_one import LATER_SEALERS, receiving_draw
from .samples import seed
from .schema import BODIES
from .signing import sign
from .statements import body_bytes, certificate


# The blocks of the shared rest and of the routing distribution.
SHARED, ROUTING = 4, 5


def changed_blocks(settings, at, **fields):
    """Settings with one row of the block table changed; `shape` and `scale` are merged."""
    row = settings["blocks"][at]
    merged = {name: row[name] | value if isinstance(value, dict) else value for name, value in fields.items()}
    blocks = settings["blocks"][:at] + [row | merged] + settings["blocks"][at + 1:]
    return settings | {"blocks": blocks}


def for_task(chosen, task):
    """Settings for another task, with its seed of sketches."""
    return chosen | {"task": task, "sketch": chosen["sketch"] | {"seed": projection_seed(task)}}


def with_kinds(chosen, one, other):
    """Settings with the kinds of two blocks exchanged; their lengths stay."""
    blocks = list(chosen["blocks"])
    for at, kind_of in ((one, other), (other, one)):
        kind = chosen["blocks"][kind_of]["shape"]["kind"]
        blocks[at] = blocks[at] | {"shape": blocks[at]["shape"] | {"kind": kind}}
    return chosen | {"blocks": blocks}


def broken_settings(chosen):
    """Settings that break a rule: step, what is wrong, settings."""
    sketch = lambda size: chosen | {"sketch": chosen["sketch"] | {"coordinates": size}}
    seeded = lambda value: chosen | {"sketch": chosen["sketch"] | {"seed": value}}
    block = lambda at, **fields: changed_blocks(chosen, at, **fields)
    reach = lambda clip: block(4, scale={"clip_steps": clip})
    limit = (2**23 - 1 - 6 * 16 * 3 * 3) // (3 * 6)
    trained = chosen["training"]
    passes = lambda count: chosen | {"training": chosen["training"] | {"local_epochs": count}}
    private = lambda **fields: chosen | {"training": trained | {"private": trained["private"] | fields}}
    counts = lambda noise, least: chosen | {
        "sketch": chosen["sketch"] | {"count_noise": noise}, "scoring": chosen["scoring"] | {"minimum_tokens": least},
    }
    wide = block(4, shape={"length": 4800}, scale={"clip_steps": limit})
    return [
        ("below-floor", "a floor below F", chosen | {"cohort_floor": 3}),
        ("block-table", "a gap in the numbers", block(5, shape={"id": 6})),
        ("block-table", "a kind twice", block(1, shape={"kind": chosen["blocks"][0]["shape"]["kind"]})),
        ("block-table", "an empty block", block(4, shape={"length": 0})),
        ("block-table", "a block that is too long", block(4, shape={"length": 2**32 + 1})),
        ("block-table", "no blocks", chosen | {"blocks": []}),
        ("ring", "20 bits", chosen | {"ring": 20}), ("ring", "no bits", chosen | {"ring": 0}),
        ("projection", "another seed of sketches", seeded(seed("sketches"))),
        ("projection", "the task's digest as seed of sketches", seeded(chosen["task"])),
        ("projection", "another task's seed of sketches", seeded(projection_seed(seed("no task")))),
        ("sketch", "20 coordinates", sketch(20)), ("sketch", "256 coordinates", sketch(256)),
        ("sketch", "512 signs", sketch(512) | {"scoring": chosen["scoring"] | {"sketches": "Signs"}}),
        ("weight", "no weight", chosen | {"max_weight": 0}), ("weight", "16", chosen | {"max_weight": 16}),
        ("ring-wrap", "one step too many", reach(limit + 1)), ("ring-wrap", "16 bits", chosen | {"ring": 16}),
        ("ring-wrap", "the largest clip", reach(2**32 - 1)),
        ("ring-wrap", "noise", block(2, noise_steps=2**32 - 1)),
        ("weights-without-noise", "15 steps", block(3, noise_steps=15)),
        ("routing-without-noise", "15 steps", block(5, noise_steps=15) | {"max_weight": 1}),
        ("evaluation-without-noise", "255 steps", block(6, noise_steps=255)),
        ("block-table", "an evaluation of three numbers", block(6, shape={"length": 3})),
        ("counts-without-noise", "no noise", counts(0, 5)), ("counts-without-noise", "no threshold", counts(0, 0)),
        ("counts-without-noise", "less than an eighth", counts(4, 33)),
        ("counts-without-noise", "the largest threshold", counts(2**16 - 1, 2**32 - 1)),
        ("private-training", "no clip", private(clipping_norm_milli=0)),
        ("private-training", "no noise", private(noise_multiplier_milli=0)),
        ("private-training", "too little noise", private(noise_multiplier_milli=99)),
        ("local-epochs", "no pass", passes(0)), ("local-epochs", "1,001 passes", passes(1001)),
        ("private-training", "averages over nobody", private(minimum_records=0)),
        ("private-training", "too rare", private(sampling_probability_micro=99)),
        ("private-training", "more than certain", private(sampling_probability_micro=1_000_001)),
        ("late-sketch-wrap", "a sketch as large as half the ring", wide | {"late_sketches": "Optional"}),
        *broken_scoring(chosen), *broken_regions(chosen), *broken_region_clips(chosen), *quiet_scores(chosen),
    ]


def regions_in_place(chosen, layer=0, length=48, at=ROUTING):
    """Settings with a block of regions in place of the routing distribution, so that there are as many blocks."""
    return changed_blocks(chosen, at, **planned_block(at, {"Regions": {"layer": layer}}, length))


def scored_in_place(chosen, groups=2):
    """Settings by scores without private training that obey the rules, with as many blocks."""
    return regions_in_place(by_scores(without_privacy(chosen), groups))


def scaled_in_place(chosen, step_log2, clip_steps, noise):
    """The same with another scale and noise of the regions."""
    scale = {"step_log2": step_log2, "clip_steps": clip_steps}
    return changed_blocks(scored_in_place(chosen), ROUTING, scale=scale, noise_steps=noise)


def noised_scores(chosen, noise):
    """Settings by scores with another noise of scores; their blocks stay."""
    scored = by_scores(chosen)
    return scored | {"scoring": scored["scoring"] | {"score_noise": noise}}


def broken_scoring(chosen):
    """PLAN-03: numbers of groups and noise of scores that do not fit the form of sketches."""
    scored = lambda **fields: chosen | {"scoring": chosen["scoring"] | fields}
    large = {"sketch": chosen["sketch"] | {"coordinates": 256}}
    public = without_privacy(chosen)
    return [
        ("groups", "a group with pairs", scored(groups=1)),
        ("groups", "noise of scores with pairs", scored(score_noise=1)),
        ("groups", "a group with signs", scored(sketches="Signs", groups=1)),
        ("groups", "noise of scores with signs", scored(sketches="Signs", score_noise=500)),
        ("groups", "scores for no group", scored_in_place(chosen, groups=0)),
        ("groups", "more groups than experts", scored_in_place(chosen, groups=4)),
        ("groups", "the largest number of groups", scored_in_place(chosen, groups=2**16 - 1)),
        ("sketch", "256 coordinates with scores", regions_in_place(by_scores(public), length=768) | large),
    ]


def broken_regions(chosen):
    """PLAN-22: blocks of regions that ALIGN-18 does not ask for, and ones that are lacking."""
    public = without_privacy(chosen)
    scored = by_scores(public)
    signs = public | {"scoring": chosen["scoring"] | {"sketches": "Signs"}}
    also = regions_in_place(scored_in_place(chosen), layer=1, at=SHARED)
    return [
        ("regions", "regions with pairs", regions_in_place(public)),
        ("regions", "regions with signs", regions_in_place(signs)),
        ("regions", "regions with private training", regions_in_place(by_scores(chosen))),
        ("regions", "scores without regions", scored),
        ("regions", "regions of another layer", regions_in_place(scored, layer=1)),
        ("regions", "regions of a layer without experts as well", also),
        ("regions", "a coordinate too few", regions_in_place(scored, length=47)),
        ("regions", "the regions of one expert too many", regions_in_place(scored, length=64)),
    ]


def broken_region_clips(chosen):
    """PLAN-22: regions whose clip is not 1. A program that shifts 1 by 32 or 64 bits may take some clips for 1."""
    clips = [
        ("a clip one step below 1", -14, CLIP_STEPS - 1, 256), ("a clip one step above 1", -14, CLIP_STEPS + 1, 257),
        ("a clip of a half", -15, CLIP_STEPS, 256), ("a clip of 2", -13, CLIP_STEPS, 256),
        ("a clip of 4, as other blocks have", -12, CLIP_STEPS, 256), ("a clip of one step of 2", 1, 1, 16),
        ("a clip of one of 2^32 steps", -32, 1, 16), ("a clip of one of 2^64 steps", -64, 1, 16),
        ("a clip of one step of 2^32", 32, 1, 16),
    ]
    return [("region-clip", about, scaled_in_place(chosen, *numbers)) for about, *numbers in clips]


def quiet_scores(chosen):
    """PLAN-22: regions and scores with too little noise."""
    alike, public = {"max_weight": 1}, regions_in_place(without_privacy(chosen))
    return [
        ("regions-without-noise", "255 steps", scaled_in_place(chosen, -14, CLIP_STEPS, 255)),
        ("regions-without-noise", "15 steps of 1/512", scaled_in_place(chosen, -9, 512, 15) | alike),
        ("regions-without-noise", "no noise", scaled_in_place(chosen, -14, CLIP_STEPS, 0) | alike),
        ("scores-without-noise", "255 without private training", noised_scores(public, 255)),
        ("scores-without-noise", "no noise without private training", noised_scores(public, 0)),
    ]


def broken_custodians(plan, roster):
    """Lists of receiving keys that break PLAN-09."""
    listed = plan["custodians"]
    member_only = listed + [{"custodian": 6, "key": listed[0]["key"]}]
    key = lambda data: [listed[0] | {"key": data}, *listed[1:]]
    assert 6 not in roster.custodians
    return [
        ("custodians", "not ascending", listed[::-1]), ("custodians", "one twice", [listed[0], *listed]),
        ("custodians", "no custodian", member_only), ("too-few-custodians", "three", listed[:3]),
        ("receiving-key", "another's key", key(listed[1]["key"])),
    ]


def barred_without_evidence():
    """Lists of barred members that nothing was shown of: what is wrong, list."""
    return [("a member", [4]), ("a party that is no member", [9]), ("the coordinator", [0])]


def add_rules(refusals, at, receiver):
    """Plans that break a rule of the specification."""
    first, original = refusals.first, refusals.message(at)["Plan"]
    plan, chosen = first.plan, first.settings
    cases = [(step, about, plan | {"settings": broken}) for step, about, broken in broken_settings(chosen)]
    cases += [
        (step, about, plan | {"custodians": listed})
        for step, about, listed in broken_custodians(plan, first.roster)
    ]
    cases += [("barred-without-evidence", about, plan | {"barred": listed}) for about, listed in barred_without_evidence()]
    cases.append(("epoch", "another epoch", plan | {"epoch": seed("another epoch")}))
    listed = plan["parameters"]
    cases.append(("parameters", "parameters of a block too few", plan | {"parameters": listed[:-1]}))
    cases.append(("parameters", "other parameters than the model's", plan | {"parameters": [seed("parameters"), *listed[1:]]}))
    cases.append(("parameters", "parameters exchanged", plan | {"parameters": [listed[1], listed[0], *listed[2:]]}))
    for step, about, broken in cases:
        assert step_of(check_plan, broken, first.roster, first.vouched) == step, about
        message = {"Plan": original | {"plan": refusals.signed("RoundPlan", broken, COORDINATOR)}}
        refusals.add(at, receiver, step, about, message, aloud=True)


def broken_keys(refusals):
    """Signed receiving keys that do not vouch for the plan's: what is wrong, plan, statements."""
    first = refusals.first
    own, rest = first.vouched[0], first.vouched[1:]
    key = first.plan["custodians"][0]["key"]
    made = lambda signer, **fields: refusals.signed("ReceivingKey", first.names(key=key) | fields, signer)
    with_key = lambda data: first.plan | {
        "custodians": [{"custodian": 1, "key": data}, *first.plan["custodians"][1:]]
    }
    yield "no statement", first.plan, rest
    yield "for another round", first.plan, [made(1, round=2), *rest]
    yield "for another epoch", first.plan, [made(1, epoch=seed("another epoch")), *rest]
    yield "signed by another", first.plan, [made(2), *rest]
    yield "a damaged signature", first.plan, [own | {"signature": flipped(own["signature"])}, *rest]
    for about, data in [("no element", BAD_ELEMENTS[4]), ("the identity", bytes(32))]:
        yield about, with_key(data), [made(1, key=data), *rest]


def add_keys(refusals, at, receiver):
    """PLAN-09."""
    for about, plan, vouched in broken_keys(refusals):
        step = step_of(check_plan, plan, refusals.first.roster, vouched)
        message = {"plan": refusals.signed("RoundPlan", plan, 0), "receiving_keys": vouched, "previous": None}
        refusals.add(at, receiver, step, about, {"Plan": message}, aloud=True)


def signed_bytes(refusals, body):
    """Any bytes, signed as a plan by the coordinator."""
    signature = sign(refusals.first.seeds[COORDINATOR], BODIES["RoundPlan"][0], body)
    return {"signer": COORDINATOR, "body": body, "signature": signature}


def add_statements(refusals, at, receiver):
    """Signatures and encodings."""
    original = refusals.message(at)["Plan"]
    good = original["plan"]
    for step, about, statement in [
        ("signature", "a damaged signature", good | {"signature": flipped(good["signature"])}),
        ("signature", "a changed body", good | {"body": good["body"][:-1] + b"\x01"}),
        ("role", "signed by a member", refusals.signed("RoundPlan", refusals.first.plan, 1)),
        ("trailing", "trailing bytes", signed_bytes(refusals, good["body"] + b"\x00")),
        ("malformed", "cut short", signed_bytes(refusals, good["body"][:-1])),
    ]:
        refusals.add(at, receiver, step, about, {"Plan": original | {"plan": statement}})


def with_model(plan, parameters):
    """A plan that starts from the model of these parameters."""
    return plan | {"parameters": parameters, "model": digest("model", b"".join(parameters))}


def add_chain(refusals, at, receiver):
    """ROUND-08 and PLAN-10: plans that obey the rules and do not follow, or are for another task."""
    first, plan = refusals.first, refusals.first.plan
    keys = {entry["custodian"]: entry["key"] for entry in plan["custodians"]}
    cases = [
        ("chain", "another predecessor", plan | {"previous": seed("ending")}),
        ("chain", "another model", with_model(plan, [seed("model"), *plan["parameters"][1:]])),
        ("no-ending", "a later round", plan | {"round": 3}),
        ("second-plan", "round 0", plan | {"round": 0}),
    ]
    if receiver.startswith("member"):
        longer = changed_blocks(first.settings, 4, shape={"length": 8})
        cases.append(("blocks", "other blocks than the model's", plan | {"settings": longer}))
        cases.append(("blocks", "experts exchanged", plan | {"settings": with_kinds(first.settings, 0, 1)}))
        cases.append(("blocks", "an expert called a router", plan | {"settings": with_kinds(first.settings, 2, 3)}))
        cases.append(("task", "another task", plan | {"settings": for_task(first.settings, seed("no task"))}))
    for step, about, broken in cases:
        vouch = lambda c: first.names(key=keys[c]) | {"round": broken["round"]}
        vouched = [refusals.signed("ReceivingKey", vouch(c), c) for c in keys]
        check_plan(broken, first.roster, vouched)
        statement = refusals.signed("RoundPlan", broken, COORDINATOR)
        message = {"plan": statement, "receiving_keys": vouched, "previous": None}
        refusals.add(at, receiver, step, about, {"Plan": message}, aloud=True)


def changed_settings(chosen):
    """Settings that differ from those of an aborted round in more than the deadlines: what differs, settings."""
    for section, fields in {
        "sketch": {"noise_steps": 4, "coordinates": 32, "region_clip_milli": 12_501, "count_noise": 6},
        "scoring": {"spread_factor": 201, "minimum_tokens": 6, "slack": 1, "threshold": "MedianDeviation", "sketches": "Signs"},
        "training": {"local_epochs": 2, "learning_rate_micro": 999, "private": None},
    }.items():
        for name, value in fields.items():
            yield f"another {name} of the {section}", chosen | {section: chosen[section] | {name: value}}
    noise = chosen["training"]["private"] | {"noise_multiplier_milli": 1101}
    yield "more noise in private training", chosen | {"training": chosen["training"] | {"private": noise}}
    yield "a lower weight", chosen | {"max_weight": 2}
    yield "a higher floor", chosen | {"cohort_floor": 5}
    yield "a wider ring", chosen | {"ring": 32}
    yield "another scale", changed_blocks(chosen, 2, scale={"step_log2": -11})
    yield "another clip", changed_blocks(chosen, 2, scale={"clip_steps": CLIP_STEPS - 1})
    yield "more noise", changed_blocks(chosen, 2, noise_steps=17)


def add_after_abort(refusals):
    """ROUND-03: what was announced and uploaded in an aborted round is not sent again under other settings."""
    first, receiver = refusals.first, "member 1"
    at = refusals.place(receiver, "Sealed1")
    fields = {"plan": first.plan_digest, "model": first.plan["model"], "reason": "NotSealed"}
    body = body_bytes("Abort", first.names(**fields))
    ending = {"Aborted": certificate("Abort", body, first.seeds, LATER_SEALERS)}
    keys = {c: public_of(scalar_of_wide(receiving_draw(c, 2))) for c in first.roster.custodians}
    vouched = [refusals.signed("ReceivingKey", first.names(key=keys[c]) | {"round": 2}, c) for c in keys]
    plan = first.plan | {
        "round": 2, "previous": body_digest(body), "custodians": [{"custodian": c, "key": keys[c]} for c in keys],
    }
    for about, chosen in changed_settings(first.settings):
        changed = plan | {"settings": chosen}
        check_plan(changed, first.roster, vouched)
        message = {"plan": refusals.signed("RoundPlan", changed, COORDINATOR), "receiving_keys": vouched, "previous": ending}
        refusals.add(
            at, receiver, "changed-after-abort", f"after an abort, {about}", {"Plan": message},
            before=[{"Ended": ending}], aloud=True, fork=True,
        )


def add(refusals):
    """Everything about plans: the rules at a member, the rest at a custodian too."""
    at = refusals.place("member 1", "Plan")
    add_rules(refusals, at, "member 1")
    add_keys(refusals, at, "member 1")
    for receiver in ("member 1", "custodian 2"):
        add_statements(refusals, at, receiver)
        add_chain(refusals, at, receiver)
    add_after_abort(refusals)
