"""The group ristretto255 as RFC 9496 defines it, over Python's integers. Slow, and not constant-time."""

from .refusal import require

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def _is_negative(value):
    return value % P % 2 == 1


def _absolute(value):
    return -value % P if _is_negative(value) else value % P


SQRT_M1 = _absolute(pow(2, (P - 1) // 4, P))


def _sqrt_ratio(u, v):
    """Section 4.2: whether u/v is a square, and its root or that of SQRT_M1·u/v."""
    root = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    check = v * root * root % P
    correct, flipped = check == u % P, check == -u % P
    flipped_i = check == -u * SQRT_M1 % P
    if flipped or flipped_i:
        root = root * SQRT_M1 % P
    return correct or flipped, _absolute(root)


INVSQRT_A_MINUS_D = _sqrt_ratio(1, -1 - D)[1]
SQRT_AD_MINUS_ONE = -_sqrt_ratio(-D - 1, 1)[1] % P


class Element:
    """An element of the group, in extended coordinates of the curve."""

    def __init__(self, x, y, z, t):
        self.x, self.y, self.z, self.t = x % P, y % P, z % P, t % P

    def __eq__(self, other):
        same = self.x * other.y - self.y * other.x
        rotated = self.y * other.y - self.x * other.x
        return same % P == 0 or rotated % P == 0

    def __add__(self, other):
        a = (self.y - self.x) * (other.y - other.x)
        b = (self.y + self.x) * (other.y + other.x)
        c = 2 * D * self.t * other.t
        d = 2 * self.z * other.z
        e, f, g, h = b - a, d - c, d + c, b + a
        return Element(e * f, g * h, f * g, e * h)

    def __neg__(self):
        return Element(-self.x, self.y, self.z, -self.t)

    def __rmul__(self, scalar):
        product = IDENTITY
        for bit in bin(scalar % ORDER)[2:]:
            product = product + product
            if bit == "1":
                product = product + self
        return product

    def encode(self):
        """Section 4.3.2."""
        u1, u2 = (self.z + self.y) * (self.z - self.y) % P, self.x * self.y % P
        _, root = _sqrt_ratio(1, u1 * u2 * u2)
        den1, den2 = root * u1 % P, root * u2 % P
        inverse = den1 * den2 * self.t % P
        x, y, den = self.x, self.y, den2
        if _is_negative(self.t * inverse):
            x, y, den = self.y * SQRT_M1 % P, self.x * SQRT_M1 % P, den1 * INVSQRT_A_MINUS_D % P
        if _is_negative(x * inverse):
            y = -y
        return _absolute(den * (self.z - y)).to_bytes(32, "little")


IDENTITY = Element(0, 1, 1, 0)


def decode(data):
    """Section 4.3.1; the identity is decoded too."""
    s = int.from_bytes(data, "little")
    require(len(data) == 32 and s < P and not _is_negative(s), "element")
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    was_square, root = _sqrt_ratio(1, v * u2 * u2)
    den_x = root * u2 % P
    x = _absolute(2 * s * den_x)
    y = u1 * root * den_x * v % P
    require(was_square and not _is_negative(x * y) and y != 0, "element")
    return Element(x, y, 1, x * y)


def decode_public(data):
    """An element that the protocol takes from a peer: not the identity (MASK-02)."""
    element = decode(data)
    require(element != IDENTITY, "element")
    return element


def _base_point():
    """The base point of Ed25519: y = 4/5, x not negative."""
    y = 4 * pow(5, -1, P) % P
    _, x = _sqrt_ratio(y * y - 1, D * y * y + 1)
    return Element(x, y, 1, x * y)


BASE = _base_point()


def _map(t):
    """Section 4.3.4: `MAP`, of one field element to an element of the group."""
    r = SQRT_M1 * t * t % P
    u = (r + 1) * (1 - D * D) % P
    v = (-1 - r * D) * (r + D) % P
    was_square, s = _sqrt_ratio(u, v)
    s, c = (s, -1) if was_square else (-_absolute(s * t), r)
    n = c * (r - 1) * (D - 1) * (D - 1) - v
    w0, w1, w2, w3 = 2 * s * v, n * SQRT_AD_MINUS_ONE, 1 - s * s, 1 + s * s
    return Element(w0 * w3, w2 * w1, w1 * w3, w0 * w2)


def element_of_wide(data):
    """Section 4.3.4: the element that 64 bytes are taken to; the top bit of each half is ignored."""
    assert len(data) == 64
    field = lambda half: int.from_bytes(half, "little") % 2**255 % P
    return _map(field(data[:32])) + _map(field(data[32:]))


def scalar_of_wide(data):
    """A scalar from 64 bytes, little-endian, reduced modulo the order."""
    assert len(data) == 64
    return int.from_bytes(data, "little") % ORDER


def scalar_bytes(scalar):
    """The canonical encoding of a scalar."""
    return (scalar % ORDER).to_bytes(32, "little")


def decode_scalar(data):
    """A scalar that is given in its canonical encoding."""
    scalar = int.from_bytes(data, "little")
    require(len(data) == 32 and scalar < ORDER, "scalar")
    return scalar
