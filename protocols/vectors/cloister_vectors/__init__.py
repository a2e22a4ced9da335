"""Cloister's protocol written a second time, from its specification, to make and check test vectors."""
