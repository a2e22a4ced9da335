"""The tight ε of composed Gaussian mechanisms, by inverting the Laplace transform of the loss.

With `M(z) = E[exp(z·L)]` of the whole composition, the divergence at ε is `1/(2πi)` times the integral of
`M(z)·exp(-z·ε)/(z·(z + 1))` over a vertical line right of 0, for `1/(z·(z + 1))` is the transform of `max(0, 1 - exp(-u))`. The
line goes through the saddle point, so that nothing cancels however small the divergence is, and trapezoids converge faster than any
power of their width. No grid of losses takes part. Where the transform decays too slowly for that, as that of few or rare losses,
one-step losses are connected on a grid ever finer, until it makes no difference.
"""

import math

import numpy as np
from scipy import optimize, special

LEGENDRE = np.polynomial.legendre.leggauss(8)
REACH = 14.0
MOST_POINTS = 8192
MOST_GRID = 2**22


def log_moments(part, z, remove):
    """ln M(z) of one mechanism at points of a vertical line, and that of the outcomes whose loss is below 0."""
    losses, log_weights = part.losses(remove)
    tilted = log_weights + z[0].real * losses
    base = tilted.max()
    # What is smaller changes no digit; those below 0 stand first.
    kept = np.argsort(losses)
    kept = kept[tilted[kept] > base - 45]
    losses, weights = losses[kept], np.exp(tilted[kept] - base)
    below = np.searchsorted(losses, 0.0)
    whole, negative = np.empty(len(z), complex), np.empty(len(z), complex)
    for start in range(0, len(z), 256):
        values = np.exp(1j * np.outer(z[start : start + 256].imag, losses)) * weights
        whole[start : start + 256] = values.sum(axis=1)
        negative[start : start + 256] = values[:, :below].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return part.count * (np.log(whole) + base), part.count * (np.log(negative) + base)


class Gaussian:
    """Noise of `sigma` times the sensitivity on a Poisson sample with probability `q`, `count` times."""

    def __init__(self, sigma, q, count):
        self.sigma, self.q, self.count = sigma, q, count

    def losses(self, remove):
        """Losses at points of quadrature, and ln of their weights."""
        reach = REACH * self.sigma
        cells = np.linspace(-reach, 1 + reach, 1 + math.ceil((1 / self.sigma + 2 * REACH) * 4))
        if self.q < 1:
            # Where both components weigh as much, the loss bends within a distance of sigma squared.
            bend = self.sigma**2 * math.log(1 / self.q - 1) + 0.5
            cells = np.union1d(cells, bend + self.sigma**2 * np.linspace(-40, 40, 321))
        nodes, weights = LEGENDRE
        half = np.diff(cells)[:, None] / 2
        x = (cells[:-1, None] + half + half * nodes).ravel()
        log_width = np.log((half * weights).ravel())
        density = lambda mean: -((x - mean) ** 2) / (2 * self.sigma**2) - math.log(self.sigma * math.sqrt(2 * math.pi))
        exponent = (2 * x - 1) / (2 * self.sigma**2)
        small = np.minimum(exponent, 1.0)
        loss = np.where(
            exponent > 1,
            exponent + np.log(self.q + (1 - self.q) * np.exp(-np.maximum(exponent, 0))),
            np.log1p(self.q * np.expm1(small)) if self.q < 1 else exponent,
        )
        if remove:
            return loss, density(0) + loss + log_width
        return -loss, density(0) + log_width

    def log_moment(self, z, remove):
        if self.q == 1:
            whole = (z * z + z) / (2 * self.sigma**2)
            return self.count * whole, None
        return log_moments(self, z, remove)


class Integer:
    """Discrete Gaussian noise on an integer that changes by `sensitivity`, `count` times."""

    def __init__(self, sigma, sensitivity, count):
        self.sigma, self.sensitivity, self.count = sigma, sensitivity, count

    def losses(self, _):
        x = np.arange(-math.ceil(REACH * self.sigma), math.ceil(REACH * self.sigma) + 1)
        weights = -(x**2) / (2 * self.sigma**2)
        return self.sensitivity * (self.sensitivity - 2 * x) / (2 * self.sigma**2), weights - special.logsumexp(weights)

    def log_moment(self, z, remove):
        return log_moments(self, z, remove)


class Direction:
    """A composition, with the record removed or added."""

    def __init__(self, parts, remove):
        self.parts, self.remove = parts, remove

    def log_moment(self, z):
        """ln M(z), and the part of compositions in which every loss is below 0; none where a part has no such split."""
        moments = [part.log_moment(np.atleast_1d(np.asarray(z, complex)), self.remove) for part in self.parts]
        whole = sum(whole for whole, _ in moments)
        negative = None if any(negative is None for _, negative in moments) else sum(negative for _, negative in moments)
        return whole, negative

    def real(self, tilt):
        return float(self.log_moment([tilt])[0][0].real)

    def epsilon(self, delta):
        start = lambda log_tilt: (self.real(math.exp(log_tilt)) - math.log(delta)) / math.exp(log_tilt)
        powers = np.arange(-12, 16, 0.5)
        best = powers[int(np.nanargmin([start(power) for power in powers]))]
        tilt = math.exp(optimize.minimize_scalar(start, bounds=(best - 0.5, best + 0.5), method="bounded").x)
        base, step = self.real(tilt), tilt * 1e-3
        deviation = math.sqrt(max(0.0, self.real(tilt + step) - 2 * base + self.real(tilt - step))) / step
        width = 2 * math.pi / (60 * deviation + 50 / tilt)
        total, at = [], 0
        points = 512
        while at < MOST_POINTS:
            t = width * np.arange(at, at + points)
            z = tilt + 1j * t
            whole, negative = self.log_moment(z)
            value = np.exp(whole - base)
            if negative is not None:
                # Where every loss is below 0 the sum is, and nothing of it is in the divergence.
                value = value - np.exp(negative - base)
            total.append((z, value / (z * (z + 1))))
            at += points
            if np.abs(total[-1][1]).max() < 1e-9 * np.abs(total[0][1][0]):
                break
        else:
            raise ArithmeticError("the transform does not decay")
        z, value = (np.concatenate(parts) for parts in zip(*total))
        value[0] /= 2

        def log_divergence(epsilon):
            divergence = (value * np.exp(-z * epsilon + tilt * epsilon)).sum().real * width / math.pi
            return math.log(max(divergence, 1e-300)) + base - tilt * epsilon

        end = start(math.log(tilt))
        low = max(0.0, end - 25 / tilt)
        if log_divergence(low) <= math.log(delta):
            if low == 0.0:
                return 0.0
            raise ArithmeticError("the line is too far from the saddle point")
        return optimize.brentq(lambda epsilon: log_divergence(epsilon) - math.log(delta), low, end, xtol=1e-12, rtol=1e-10)


def epsilon_of_integers(sigma, sensitivity, count, delta):
    """Of one kind of noised integers alone: their sum says all, and is discrete Gaussian but for less than 1e-15."""
    spread, shift = math.sqrt(count) * sigma, count * sensitivity
    x = np.arange(-math.ceil(REACH * spread) - shift, math.ceil(REACH * spread) + 1)
    log_p = -(x.astype(float) ** 2) / (2 * spread**2)
    log_p -= special.logsumexp(log_p)
    loss = shift * (shift - 2.0 * x) / (2 * spread**2)
    excess = lambda epsilon: (np.exp(log_p[loss > epsilon]) * -np.expm1(epsilon - loss[loss > epsilon])).sum() - delta
    return 0.0 if excess(0.0) <= 0 else optimize.brentq(excess, 0.0, float(loss.max()), xtol=1e-12, rtol=1e-10)


def epsilon_of_gaussian(mean, delta):
    """Balle and Wang (2018), theorem 8, in logarithms."""

    def log_divergence(epsilon):
        near = special.log_ndtr(mean / 2 - epsilon / mean)
        far = special.log_ndtr(-mean / 2 - epsilon / mean)
        return near + math.log(-math.expm1(min(epsilon + far - near, -1e-300)))

    excess = lambda epsilon: log_divergence(epsilon) - math.log(delta)
    if excess(0.0) <= 0:
        return 0.0
    return optimize.brentq(excess, 0.0, mean**2 / 2 + 40 * mean, xtol=1e-12, rtol=1e-12)


def log_mass(low, high):
    """ln of the probability of a standard normal number between two."""
    near, far = np.where(low > 0, -low, high), np.where(low > 0, -high, low)
    a, b = special.log_ndtr(near), special.log_ndtr(far)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b > -np.inf, a + np.log(-np.expm1(np.minimum(b - a, 0))), a)


def reach_of(mass):
    """Standard deviations beyond which a normal distribution with this mass has less than 1, much less if `mass` is large."""
    return math.sqrt(2 * max(0.0, math.log(mass)))


def connected(part, step, remove, delta):
    """One step's losses on a grid: the first point and the masses, by connecting the dots. What is left out beyond the grid has
    less than a millionth of δ in all steps together: moments of it would be all that large tilts see."""
    if isinstance(part, Integer):
        losses, log_weights = part.losses(remove)
        first = math.floor(losses.min() / step)
        mass = np.zeros(math.ceil(losses.max() / step) - first + 2)
        index = np.floor(losses / step).astype(int) - first
        upper = -np.expm1((index + first) * step - losses) / -math.expm1(-step)
        np.add.at(mass, index, np.exp(log_weights) * (1 - upper))
        np.add.at(mass, index + 1, np.exp(log_weights) * upper)
        return first, mass
    sigma, q, sign = part.sigma, part.q, 1 if remove else -1
    ratio = lambda x: np.logaddexp(math.log1p(-q) if q < 1 else -np.inf, math.log(q) + (2 * x - 1) / (2 * sigma**2))
    all_steps = 1e6 * part.count / delta
    most = max(1 + reach_of(q * all_steps) * sigma, reach_of(all_steps) * sigma)
    ends = sorted(sign * ratio(x) for x in (-reach_of(all_steps) * sigma, most))
    first, last = math.floor(ends[0] / step), math.ceil(ends[1] / step)
    loss = np.arange(first, last + 1) * step
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        odds = np.expm1(np.minimum(sign * loss, 1)) / q
        small = np.where(odds > -1, np.log1p(odds), -np.inf)
        large = sign * loss + np.log1p(-(1 - q) * np.exp(-np.maximum(sign * loss, 0))) - math.log(q)
    x = sigma**2 * (sign * loss if q == 1 else np.where(sign * loss > 1, large, small)) + 0.5
    low, high = np.minimum(x[:-1], x[1:]), np.maximum(x[:-1], x[1:])
    without = log_mass(low / sigma, high / sigma)
    with_ = np.logaddexp((math.log1p(-q) if q < 1 else -np.inf) + without, math.log(q) + log_mass((low - 1) / sigma, (high - 1) / sigma))
    drawn, compared = (with_, without) if remove else (without, with_)
    with np.errstate(invalid="ignore"):
        upper = np.nan_to_num(-np.expm1(loss[:-1] + compared - drawn) / -math.expm1(-step), nan=1.0).clip(0, 1)
    mass = np.zeros(len(loss))
    mass[:-1] += np.exp(drawn) * (1 - upper)
    mass[1:] += np.exp(drawn) * upper
    return first, mass


def epsilon_on_grid(parts, delta, step, remove, tilts):
    steps = [(part.count, *connected(part, step, remove, delta)) for part in parts]
    with np.errstate(divide="ignore"):
        logs = [(count, (first + np.arange(len(mass))) * step, np.log(mass)) for count, first, mass in steps]
    moment = lambda tilt: sum(count * special.logsumexp(log + tilt * loss) for count, loss, log in logs)
    most = lambda tilt: -math.log1p(tilt) - tilt * math.log1p(1 / tilt)
    start = lambda tilt: (moment(tilt) + most(tilt) - math.log(delta)) / tilt
    tilt = min(tilts, key=start)
    far = [tilt * 2.0 ** (power / 2) for power in range(-12, 12)]
    high = min((moment(tilt + more) - moment(tilt) + 40) / more for more in far)
    low = max((moment(tilt - more) - moment(tilt) + 40) / -more for more in far)
    first, size = math.floor(low / step), 2 ** math.ceil(math.log2((high - low) / step + 2))
    if size > MOST_GRID:
        raise ArithmeticError("the grid has too many points")
    product = np.ones(size // 2 + 1, complex)
    for count, loss, log in logs:
        tilted = np.exp(log + tilt * loss - special.logsumexp(log + tilt * loss))
        index = (round(loss[0] / step) + np.arange(len(loss))) % size
        product *= np.fft.rfft(np.bincount(index, tilted, size)) ** count
    composed = np.roll(np.fft.irfft(product, size), -(first % size)).clip(0)
    loss = (first + np.arange(size)) * step
    with np.errstate(over="ignore"):
        mass = composed * np.exp(np.minimum(moment(tilt) - tilt * loss, 600))
    excess = lambda epsilon: (mass[loss > epsilon] * -np.expm1(epsilon - loss[loss > epsilon])).sum() - delta
    return tilt, 0.0 if excess(0.0) <= 0 else optimize.brentq(excess, 0.0, float(loss[-1]), rtol=1e-9)


def refined(parts, delta, remove, enough):
    """What the grid's ε goes to: beyond the last by as much as the last is from the one before. No finer than it takes to see that
    it is at most `enough`."""
    step, before = max(np.abs(part.losses(True)[0]).max() for part in parts) / 512, math.inf
    tilts = [2.0**power for power in range(-14, 20)]
    while True:
        tilt, found = epsilon_on_grid(parts, delta, step, remove, tilts)
        tilts = [tilt * 2.0 ** (power / 2) for power in range(-2, 3)]
        if found <= enough:
            return found
        if before - found < 2e-4 * found and step < found / 32:
            return found - (before - found)
        step, before = step / 2, found


def epsilon(parts, delta):
    """The tight ε of everything together."""
    plain = [part for part in parts if isinstance(part, Gaussian) and part.q == 1]
    rest = [part for part in parts if part not in plain]
    squared = sum(part.count / part.sigma**2 for part in plain)
    if not rest:
        return epsilon_of_gaussian(math.sqrt(squared), delta)
    if len(parts) == 1 and isinstance(parts[0], Integer):
        return epsilon_of_integers(parts[0].sigma, parts[0].sensitivity, parts[0].count, delta)
    together = rest + ([Gaussian(1 / math.sqrt(squared), 1.0, 1)] if plain else [])
    found = 0.0
    for remove in (True, False):
        try:
            found = max(found, Direction(together, remove).epsilon(delta))
        except ArithmeticError:
            found = max(found, refined(together, delta, remove, found))
    return found
