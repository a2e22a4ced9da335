"""Writes the tight ε of named settings and of random ones, as JSON on standard output.

Run it as `cargo xtask accounting`. It shares no code with the crate, which is held to these values. They are of `exact.py`, and PyPI
`dp-accounting` confirms them where it can: at a δ below 1e-9 rounding in its plain FFT is as large as δ, losses that are small against
its grid of 1e-4 come out too large, large ones take it too long, and its Rényi divergences between integers add up the sizes of
alternating terms. Each setting that it can speak of has its value beside ours, and this program fails if ours is above, or more than
2 % below.
"""

import json
import math
import random

import exact
from dp_accounting import dp_event
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.rdp import rdp_privacy_accountant as rdp

NAMED = [
    ([("gaussian", 1.0, 0.01, 1000)], 1e-5),
    ([("gaussian", 0.8, 0.05, 200)], 1e-6),
    ([("gaussian", 4.0, 1.0, 50)], 1e-6),
    ([("gaussian", 10.0, 1.0, 100)], 1e-8),
    ([("integer", 10, 1, 100)], 1e-8),
    # Where moments underflow, and losses of some parts are large against the sum of others.
    ([("gaussian", 0.03, 0.5, 1)], 1e-6),
    ([("gaussian", 1.0, 0.01, 1000), ("gaussian", 0.01, 0.5, 34)], 1e-6),
    ([("gaussian", 0.1, 1.0, 3)], 1e-6),
    # The plan's least noise and least sampling, and many steps.
    ([("gaussian", 1.0, 1e-4, 20_000)], 1e-6),
    ([("gaussian", 0.5, 1e-5, 20_000)], 1e-15),
    ([("gaussian", 0.05, 1e-5, 20_000)], 1e-6),
    # A round's training with a hundred rounds of its sketches, counts and routing.
    ([("gaussian", 1.1, 0.03, 3400), ("vector", 4096, 175.84, 64, 1, 800), ("integer", 30, 60, 800)], 1e-6),
    ([("gaussian", 1.1, 0.03, 3400), ("vector", 4096, 175.84, 64, 1, 800), ("vector", 64, 40.0, 8, 3, 400)], 1e-6),
]
ORDERS = [5.5, 8]
# Of one kind, of several kinds, and far out.
SINGLE, MIXED, EXTREME = 100, 70, 50
SEED = 6
COARSE = 1e-4


def exact_parts(parts):
    """What `exact` makes of the parts: noise on vectors is Gaussian for it, which it is but for less than the noise of one step."""
    for kind, *rest in parts:
        if kind == "gaussian":
            yield exact.Gaussian(*rest)
        elif kind == "integer":
            yield exact.Integer(*rest)
        else:
            sigma, sensitivity, _, parties, count = rest
            yield exact.Gaussian(sigma * math.sqrt(parties) / sensitivity, 1.0, count)


def by_package(parts, delta, epsilon):
    """What `dp-accounting` says; none where it has no say."""
    if delta < 1e-9 or epsilon > 60 or max(part.losses(True)[0].max() for part in exact_parts(parts)) > 200:
        return None
    total = None
    for kind, *rest in parts:
        if kind == "integer":
            sigma, sensitivity, count = rest
            one = pld.from_discrete_gaussian_mechanism(sigma, sensitivity=sensitivity, use_connect_dots=True)
        elif kind == "gaussian":
            sigma, q, count = rest
            if q * min(1.0, 1 / sigma) < 10 * COARSE:
                return None
            one = pld.from_gaussian_mechanism(sigma, sampling_prob=q)
        else:
            sigma, sensitivity, _, parties, count = rest
            one = pld.from_gaussian_mechanism(sigma * math.sqrt(parties) / sensitivity)
        composed = one.self_compose(count)
        total = composed if total is None else total.compose(composed)
    return total.get_epsilon_for_delta(delta)


def by_renyi(sigma, q, count):
    """The Rényi divergences at two orders, one of them no integer."""
    event = dp_event.GaussianDpEvent(sigma)
    if q < 1.0:
        event = dp_event.PoissonSampledDpEvent(q, event)
    accountant = rdp.RdpAccountant(orders=ORDERS)
    accountant.compose(event, count)
    return [float(value) for value in accountant._rdp]


def rounded(value):
    return float(f"{value:.4g}")


def draw_single(source):
    """One setting; a third without sampling, a tenth of one noised integer."""
    kind = source.random()
    q = 1.0 if kind < 0.4 else rounded(10 ** source.uniform(-3, -0.3))
    sigma = 10 ** source.uniform(-0.3, 1.3)
    count = round(10 ** source.uniform(0, 3.3))
    delta = 10.0 ** -source.randint(5, 9)
    if kind < 0.1:
        return [("integer", max(2, round(sigma)), 1, count)], delta
    return [("gaussian", rounded(sigma), q, count)], delta


def draw_mixed(source):
    """Private training, and what a round charges beside it."""
    parts = draw_single(source)[0] if source.random() < 0.8 else []
    rounds = source.randint(1, 100)
    if source.random() < 0.7:
        coordinates, sigma = source.choice([16, 32, 64, 128]), round(10 ** source.uniform(2, 4))
        parts.append(("vector", sigma, rounded(sigma * 10 ** source.uniform(-2.5, -0.5)), coordinates, 1, rounds))
    if source.random() < 0.7:
        sigma = round(10 ** source.uniform(0.4, 1.6))
        parts.append(("integer", sigma, max(1, round(sigma * 10 ** source.uniform(-1, 0.3))), rounds))
    if source.random() < 0.7:
        sigma = round(10 ** source.uniform(1.2, 3))
        parts.append(("vector", sigma, rounded(sigma * 10 ** source.uniform(-2, 0)), round(10 ** source.uniform(0.5, 6)), 3, rounds))
    return parts, 10.0 ** -source.randint(5, 9)


def draw_extreme(source):
    """Little noise, rare records, many steps, tiny δ."""
    q = rounded(10 ** source.uniform(-5, -0.3))
    sigma = rounded(10 ** source.uniform(-1.3, 1))
    return [("gaussian", sigma, q, round(10 ** source.uniform(0, 4.3)))], 10.0 ** -source.randint(5, 15)


def drawn(source, draw, wanted, least, most):
    """Settings whose ε is in a range: outside, a member would not be promised anything, or would not notice."""
    found = 0
    while found < wanted:
        parts, delta = draw(source)
        too_much = sum(part[2] * math.sqrt(part[3]) / part[1] for part in parts if part[0] == "gaussian") > 12 and most < 100
        if not parts or too_much:
            continue
        try:
            epsilon = exact.epsilon(list(exact_parts(parts)), delta)
        except ArithmeticError:
            continue
        if least <= epsilon <= most:
            found += 1
            yield parts, delta, epsilon


def settings(seed):
    for parts, delta in NAMED:
        yield parts, delta, exact.epsilon(list(exact_parts(parts)), delta)
    source = random.Random(seed)
    yield from drawn(source, draw_single, SINGLE, 0.05, 60)
    yield from drawn(source, draw_mixed, MIXED, 0.05, 200)
    yield from drawn(source, draw_extreme, EXTREME, 0.005, 2000)


def named(part):
    """A part as the crate writes mechanisms, and how often."""
    kind, *rest, count = part
    if kind == "gaussian":
        return [{"gaussian": dict(zip(("noise_multiplier", "sampling_probability"), rest))}, count]
    sigma, sensitivity, coordinates, parties = rest if kind == "vector" else (*rest, 1, 1)
    noise = {"sigma": sigma, "parties": parties, "coordinates": coordinates, "sensitivity": float(sensitivity)}
    return [{"discrete_gaussian": noise}, count]


def row(parts, delta, epsilon):
    package = by_package(parts, delta, epsilon)
    if package is not None and not (1 - 1e-4) * epsilon <= package <= 1.02 * epsilon:
        raise SystemExit(f"{parts} at {delta}: exact.py says {epsilon}, dp-accounting {package}")
    made = {"parts": [named(part) for part in parts], "delta": delta, "epsilon": epsilon, "package": package}
    if len(parts) == 1 and parts[0][0] == "gaussian" and parts[0][1] > 0.3:
        made["divergences"] = by_renyi(*parts[0][1:])
    return made


def main():
    print("[\n" + ",\n".join(json.dumps(row(*setting)) for setting in settings(SEED)) + "\n]")


if __name__ == "__main__":
    main()
