"""What both seals permit to reveal, and whether what came is that (ROUND-01, ROUND-15)."""

from .dealing import public_of
from .refusal import Refused, require
from .ristretto import decode_scalar
from .seeds import MEMBER_ITSELF
from .sharing import public_share


def check_listed(first, dealer, key, by, revealed):
    """Refuses what is not exactly the permitted blocks, made by the secret behind `key`."""
    require([entry["block"] for entry in revealed["seeds"]] == first.permitted_blocks(dealer), "reveal")
    first.dealers[dealer].round_seeds.verify(key, dealer, by, revealed)


def check_secret(first, dealer, secret):
    """Refuses a secret that the seals keep closed, or that does not fit the dealer's commitments."""
    announced = first.dealers[dealer]
    match secret:
        case {"MaskKey": key}:
            require(dealer in first.needed_mask_keys(), "reveal")
            require(public_of(decode_scalar(key)) == announced.public, "reveal")
        case {"Seeds": revealed}:
            check_listed(first, dealer, announced.seed_key.public, MEMBER_ITSELF, revealed)
        case {"SeedParts": {"custodian": holder, "parts": revealed}}:
            require(holder in first.holders, "reveal")
            key = public_share(announced.seed_key.commitments, holder)
            check_listed(first, dealer, key, holder, revealed)


def check_reveal(first, reveal):
    """Refuses at the step `reveal`, whatever is wrong."""
    try:
        require(reveal["dealer"] in first.packed or reveal["dealer"] in first.needed_mask_keys(), "reveal")
        check_secret(first, reveal["dealer"], reveal["secret"])
    except Refused:
        raise Refused("reveal") from None
