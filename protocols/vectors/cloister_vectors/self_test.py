"""The package against values that others published, and rules for scores against values worked out by hand.

It runs before any vector is written.
"""

from hashlib import sha512

from .hashing import leaf_hash, path, root, verify_path
from .planning import by_scores, check_block, check_groups, check_regions, check_score_noise, planned_block, settings
from .planning import with_regions, withheld_settings, without_privacy
from .refusal import step_of
from .rfc_values import BAD_ELEMENTS, MULTIPLES, RFC_8032_KEYS, RFC_8032_SEEDS, TREE_LEAVES, TREE_ROOTS
from .rfc_values import ONE_WAY_BORDER_ELEMENT, ONE_WAY_BORDERS, ONE_WAY_ELEMENTS, ONE_WAY_FIRST_INPUT, ONE_WAY_TEXTS
from .ristretto import BASE, IDENTITY, ORDER, decode, element_of_wide
from .scoring import choose
from .signing import public_key
from .withheld import announced_under, score_consensus


def run():
    """Raises AssertionError at the first value that differs."""
    check_published()
    check_group_numbers()
    check_scored_cohorts()
    check_undecided_cohorts()
    check_withheld_plans()
    check_long_regions()


def check_group_numbers():
    """ALIGN-16: blocks of seven experts of two layers in three groups, with a router in between."""
    kinds = [{"Expert": {"layer": at // 4, "expert": at % 4}} for at in range(7)]
    kinds.insert(4, {"Router": {"layer": 0}})
    table = settings() | {"blocks": [planned_block(at, kind, 5) for at, kind in enumerate(kinds)]}
    assert announced_under(by_scores(table, 3)) == {0: 0, 1: 0, 2: 0, 3: 3, 5: 3, 6: 6, 7: 6}
    lengths = [row["shape"]["length"] for row in with_regions(table)["blocks"][-2:]]
    assert lengths == [64, 48]


def check_scored_cohorts():
    """ALIGN-17: the lower median of 300, 200, 100, 37 and 0 is 100, and 96/256 of it is 37.5."""
    scores = {1: 300, 2: 200, 3: 100, 4: -50, 5: None, 6: 37}
    assert score_consensus([{"values": {"Score": score}} for score in scores.values()]) == [300, 200, 100, 0, None, 37]
    cohort = chosen_by(dict.fromkeys((0, 2), scores))[0]
    assert cohort == ("Aligned", [1, 2, 3, 5], [300, 200, 100, 0, None, 37])


def chosen_by(scores, **rule):
    """Each block's choice, members and consensus for six organisations with these scores, by the block they name."""
    table, members = withheld_settings(), range(1, 7)
    table = table | {"scoring": table["scoring"] | rule}
    announced = {m: {block: {"values": {"Score": own[m]}} for block, own in scores.items()} for m in members}
    cohorts = choose(table, dict(zip(members, "abcdef")), dict.fromkeys(members, 1), announced)
    return [(one["choice"], [row["member"] for row in one["members"]], one["consensus"]) for one in cohorts]


def check_undecided_cohorts():
    """ALIGN-17: block 0 names the group of blocks 0 and 1, which nobody agrees with; block 2 decides, or does not."""
    strict, everyone = {"shared_cohort": "Majority", "fallback": "Skip", "slack": 2}, [1, 2, 3, 4, 5, 6]
    low, high = {1: 0, 2: -1, 3: None, 4: -9, 5: 0, 6: -2}, {1: -1, 2: 7, 3: None, 4: 0, 5: -4, 6: 7}
    zeros = ("Everyone", everyone, [0, 0, None, 0, 0, 0])
    first, second, third, _, shared, *_ = chosen_by({0: low, 2: high}, **strict)
    assert first == second == zeros and third == ("Void", [], [0, 7, None, 0, 0, 7])
    assert shared == ("Aligned", everyone, [2, 3, None, 2, 2, 3])
    *experts, _, shared, _, _, _ = chosen_by({0: low, 2: low}, **strict)
    assert experts == [zeros] * 3 and shared == ("Everyone", everyone, [3, 3, None, 3, 3, 3])
    first, _, third, _, shared, *_ = chosen_by({0: high, 2: low}, shared_cohort="Majority", fallback="Skip")
    assert (first[0], third[0], shared) == ("Void", "Everyone", ("Void", [], [1, 3, None, 1, 1, 3]))


def check_withheld_plans():
    """PLAN-03 and PLAN-22: settings that obey them, and the same without what they ask for."""
    silent = {"scoring": withheld_settings()["scoring"] | {"score_noise": 0}}
    private, public = by_scores(settings()), without_privacy(settings())
    for chosen in (settings(), public, private, private | silent, withheld_settings()):
        check_groups(chosen)
        check_regions(chosen)
        check_score_noise(chosen)
    assert step_of(check_score_noise, withheld_settings() | silent) == "scores-without-noise"
    kinds = [row["shape"]["kind"] for row in withheld_settings()["blocks"]]
    assert kinds[-2:] == [{"Regions": {"layer": 0}}, "Evaluation"]
    for chosen in (by_scores(public), with_regions(private), with_regions(settings()), with_regions(public)):
        assert step_of(check_regions, chosen) == "regions"
    assert step_of(check_groups, by_scores(settings(), 4)) == "groups"


def check_long_regions():
    """LATE-01: a block of regions has no late sketch, and so no bound on one, however long it is."""
    chosen = settings() | {"late_sketches": "Optional"}
    loud = lambda kind: planned_block(0, kind, 4864) | {"noise_steps": 20_000}
    check_block(chosen, loud({"Regions": {"layer": 0}}), 6)
    assert step_of(check_block, chosen, loud("Shared"), 6) == "late-sketch-wrap"


def check_published():
    """The group, signatures and trees."""
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
