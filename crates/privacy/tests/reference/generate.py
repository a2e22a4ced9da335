"""Writes what PyPI `dp-accounting` says of named settings and of 200 random ones, as JSON on standard output.

Run it as `cargo xtask accounting`. It shares no code with the crate, which is held to these values.
"""

import json
import math
import random

from dp_accounting import dp_event
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.rdp import rdp_privacy_accountant as rdp

NAMED = [
    ("gaussian", 1.0, 0.01, 1000, 1e-5),
    ("gaussian", 0.8, 0.05, 200, 1e-6),
    ("gaussian", 4.0, 1.0, 50, 1e-6),
    ("gaussian", 10.0, 1.0, 100, 1e-8),
    ("discrete_gaussian", 10.0, 1.0, 100, 1e-8),
]
ORDERS = [5.5, 8]
RANDOM = 200
SEED = 6


def by_losses(mechanism, sigma, q, count, delta):
    """The tight bound. For the discrete Gaussian it is not the package's default, which rounds every loss up."""
    if mechanism == "discrete_gaussian":
        one = pld.from_discrete_gaussian_mechanism(sigma, use_connect_dots=True)
    else:
        one = pld.from_gaussian_mechanism(sigma, sampling_prob=q)
    return one.self_compose(count).get_epsilon_for_delta(delta)


def by_renyi(sigma, q, count):
    """The Rényi divergences at two orders, one of them no integer."""
    event = dp_event.GaussianDpEvent(sigma)
    if q < 1.0:
        event = dp_event.PoissonSampledDpEvent(q, event)
    accountant = rdp.RdpAccountant(orders=ORDERS)
    accountant.compose(event, count)
    return [float(value) for value in accountant._rdp]


def draw(source):
    """One random setting; a third without sampling, a tenth of one noised integer."""
    kind = source.random()
    discrete = kind < 0.1
    q = 1.0 if kind < 0.4 else 10 ** source.uniform(-3, -0.3)
    sigma = 10 ** source.uniform(-0.3, 1.3)
    sigma = float(max(2, round(sigma))) if discrete else float(f"{sigma:.4g}")
    count = round(10 ** source.uniform(0, 3.3))
    delta = 10.0 ** -source.randint(5, 9)
    return "discrete_gaussian" if discrete else "gaussian", sigma, float(f"{q:.4g}"), count, delta


def rows():
    for setting in NAMED:
        yield setting, by_losses(*setting)
    source, found = random.Random(SEED), 0
    while found < RANDOM:
        setting = draw(source)
        _, sigma, q, count, _ = setting
        if q * math.sqrt(count) / sigma > 12:
            continue
        epsilon = by_losses(*setting)
        # Outside, a member would not be promised anything, or would not notice.
        if 0.05 <= epsilon <= 60:
            found += 1
            yield setting, epsilon


def main():
    lines = []
    for (mechanism, sigma, q, count, delta), epsilon in rows():
        row = {"mechanism": mechanism, "sigma": sigma, "q": q, "count": count, "delta": delta, "pld": epsilon}
        if mechanism == "gaussian":
            row["divergences"] = by_renyi(sigma, q, count)
        lines.append(json.dumps(row))
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main()
