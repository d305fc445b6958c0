"""Counter-based random numbers: Philox4x32-10.

A number is a pure function of (seed, stream, iteration, row, feature), so a mask is the same whatever the
layout, batch padding, backend or thread count, and resuming needs no generator state. Source: J. K. Salmon
et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from hashlib import blake2b

from mocha_core.graph.array_api import Array, Namespace

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
_LOW = 0xFFFFFFFF


def stream_id(*names: str) -> int:
    """A stable 32-bit number for a stream of random numbers, such as (layer name, op name)."""
    return int.from_bytes(blake2b("\0".join(names).encode(), digest_size=4).digest(), "little")


def philox(xp: Namespace, counter: tuple[Array, Array, Array, Array], key: tuple[int, int]) -> list[Array]:
    """Four uint64 arrays holding 32 random bits each, for counters given as uint64 arrays below 2**32."""
    low = xp.asarray(_LOW, dtype=xp.uint64)
    shift = xp.asarray(32, dtype=xp.uint64)
    multipliers = [xp.asarray(m, dtype=xp.uint64) for m in MULTIPLIERS]
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c0 * multipliers[0], c2 * multipliers[1]
        keys = (xp.asarray(k0, dtype=xp.uint64), xp.asarray(k1, dtype=xp.uint64))
        c0, c1, c2, c3 = (
            xp.bitwise_xor(xp.bitwise_xor(xp.bitwise_right_shift(p1, shift), c1), keys[0]),
            xp.bitwise_and(p1, low),
            xp.bitwise_xor(xp.bitwise_xor(xp.bitwise_right_shift(p0, shift), c3), keys[1]),
            xp.bitwise_and(p0, low),
        )
        k0, k1 = (k0 + WEYL[0]) & _LOW, (k1 + WEYL[1]) & _LOW
    return [c0, c1, c2, c3]


def uniform(
    xp: Namespace, seed: int, stream: int, iteration: Array, first_row: Array, rows: int, features: int
) -> Array:
    """Float32 numbers in [0, 1), multiples of 2**-24, of shape (rows, features).

    Key: the seed's 64 bits. Counter: (feature // 4, first_row + row, stream, iteration); feature % 4 chooses
    one of the four words. `iteration` and `first_row` are integer arrays without axes.
    """
    groups = -(-features // 4)
    zeros = xp.zeros((rows, groups), dtype=xp.uint64)
    counter = (
        zeros + xp.expand_dims(xp.arange(groups, dtype=xp.uint64), axis=0),
        zeros + xp.expand_dims(xp.arange(rows, dtype=xp.uint64) + xp.astype(first_row, xp.uint64), axis=1),
        zeros + xp.asarray(stream, dtype=xp.uint64),
        zeros + xp.astype(iteration, xp.uint64),
    )
    words = xp.stack(philox(xp, counter, (seed & _LOW, (seed >> 32) & _LOW)), axis=2)
    bits = xp.reshape(words, (rows, groups * 4))[:, :features]
    eight = xp.asarray(8, dtype=xp.uint64)
    return xp.astype(xp.bitwise_right_shift(bits, eight), xp.float32) * 2.0**-24
