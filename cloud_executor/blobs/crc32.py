"""Computes the CRC-32 of joined pieces from the CRC-32 values of the pieces, without their bytes.

Appending n bytes multiplies a CRC-32, seen as a polynomial over GF(2), by x^(8n) modulo the CRC polynomial. As in zlib,
the powers are products of precomputed x^(2^k).
"""

from __future__ import annotations

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31
"""The polynomial 1, with bits in reverse order."""


def crc32_combine(first: int, second: int, second_size: int) -> int:
    """The CRC-32 of two joined pieces. `second_size` is in bytes."""
    return _product(_power(8 * second_size), first) ^ second


def _product(left: int, right: int) -> int:
    product = 0
    bit = _ONE
    while left:
        if left & bit:
            product ^= right
            left ^= bit
        bit >>= 1
        right = right >> 1 ^ _POLYNOMIAL if right & 1 else right >> 1
    return product


def _power(exponent: int) -> int:
    """x to the power of the exponent."""
    power = _ONE
    for square in _SQUARES:
        if exponent & 1:
            power = _product(square, power)
        exponent >>= 1
        if not exponent:
            break
    return power


def _squares() -> tuple[int, ...]:
    square = _ONE >> 1
    squares = [square]
    for _ in range(63):
        square = _product(square, square)
        squares.append(square)
    return tuple(squares)


_SQUARES = _squares()
"""x^(2^k) for k = 0, 1, …"""
