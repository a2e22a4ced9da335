"""Bounds ε by PyPI `jax-privacy` from the scores that `cloister lab audit --scores` wrote, and compares.

Run it as `cargo xtask audit`. With the threshold and the error probability that our program used, `epsilon_one_run`
must give our bound of one run, and `epsilon_from_gdp`, on decisions in place of scores, our bound by decisions. With its own
correction for all thresholds, no bound of it may exceed the claim of a mechanism without a fault. Each bound may be wrong with the
probability `significance`, which is one test's share of what all tests of the audit may be wrong with together.
"""

import importlib.util
import json
import sys

import numpy as np

TOLERANCE = 1e-3


def load(path):
    """The auditor's module alone: the package around it wants a whole JAX."""
    spec = importlib.util.spec_from_file_location("jax_privacy_auditing", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def from_gdp(auditing, auditor, significance, delta):
    """Its `epsilon_from_gdp`, but for thresholds at which the limits of both error rates come to 1 or more.

    There it takes the magnitude of a negative separation, for which it would need lower limits: at a threshold that next to
    nothing is above, it refutes mechanisms that are private.
    """
    thresholds = len(auditor._fn_counts)
    inside, outside = auditor._fn_counts[-1], auditor._tn_counts[-1]
    each = significance / (2 * thresholds)
    missed = auditing._clopper_pearson_upper(auditor._fn_counts, inside, each)
    mistaken = auditing._clopper_pearson_upper(outside - auditor._tn_counts, outside, each)
    kept = missed + mistaken < 1.0
    kept[-1] = True  # It reads the number of canaries there, and the limit of 1 leaves the threshold out.
    auditor._fn_counts, auditor._tn_counts = auditor._fn_counts[kept], auditor._tn_counts[kept]
    return auditor.epsilon_from_gdp(significance * kept.sum() / thresholds, delta)


def ours_again(auditing, inside, outside, finding, significance, delta):
    """Our two bounds, by their functions."""
    threshold = np.sort(np.concatenate([inside, outside]))[-finding["guesses"]]
    one_run = auditing.CanaryScoreAuditor(inside, outside).epsilon_one_run(
        significance, delta, threshold_strategy=auditing.Explicit(threshold)
    )
    decided = auditing.CanaryScoreAuditor((inside > 0) * 1.0, (outside > 0) * 1.0)
    # It divides by the number of thresholds; ours was fixed beforehand.
    by_decisions = from_gdp(auditing, decided, significance * len(decided._fn_counts), delta)
    return one_run, by_decisions


def main():
    auditing = load(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as file:
        written = json.load(file)
    delta, significance = written["settings"]["delta"], written["significance"]
    faults = []
    print(
        f"{'unit':7} {'training':8} {'released':18} {'fault':16} {'claimed':>8} {'one run':>8} {'theirs':>8}"
        f" {'decisions':>9} {'theirs':>8} {'all thresholds':>15}"
    )
    for run in written["runs"]:
        finding = run["finding"]
        inside, outside = np.array(run["inside"]), np.array(run["outside"])
        if min(len(inside), len(outside)) == 0:
            continue  # All canaries of a short run fell on one side.
        one_run, by_decisions = ours_again(auditing, inside, outside, finding, significance, delta)
        theirs = auditing.CanaryScoreAuditor(inside, outside)
        alone = [
            theirs.epsilon_one_run(significance, delta),
            theirs.epsilon_clopper_pearson(significance, delta),
            from_gdp(auditing, theirs, significance, delta),
        ]
        training = "private" if finding["private_training"] else "plain"
        name = f"{finding['unit']:7} {training:8} {finding['subject']:18} {finding['fault']:16}"
        print(
            f"{name} {finding['epsilon_claimed']:8.3f} {finding['by_one_run']:8.3f} {one_run:8.3f}"
            f" {finding['by_decisions']:9.3f} {by_decisions:8.3f} {max(alone):15.3f}"
        )
        if abs(one_run - finding["by_one_run"]) > TOLERANCE or abs(by_decisions - finding["by_decisions"]) > TOLERANCE:
            faults.append(f"{name}: jax-privacy finds {one_run:.4f} and {by_decisions:.4f}")
        if finding["fault"] == "none" and max(alone) > finding["epsilon_claimed"]:
            faults.append(f"{name}: jax-privacy refutes the claim, at least ε = {max(alone):.4f}")
    print("\n".join(faults) or "jax-privacy finds the same bounds")
    sys.exit(bool(faults))


main()
