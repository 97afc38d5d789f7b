"""SplitMix64 by its published numbers, the same compiled and in NumPy."""

import numpy as np

from m6rec.kernels.arrays.hashing import (
    INCREMENT,
    hash_of_columns,
    hash_of_pair,
    mix_bits,
    mix_bits_of_one,
)

# The generator's first five outputs from the seed 1234567.
SEED = 1_234_567
OUTPUTS = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def test_the_generators_outputs_are_the_published_ones() -> None:
    states = np.uint64(SEED) + np.arange(1, 6, dtype=np.uint64) * INCREMENT
    assert mix_bits(states).tolist() == OUTPUTS


def test_compiled_and_in_numpy_are_equal() -> None:
    states = np.random.default_rng(1).integers(0, 2**64, 1000, dtype=np.uint64)
    assert [mix_bits_of_one(state) for state in states] == mix_bits(states).tolist()


def test_a_pairs_hash_is_the_mix_of_both_numbers() -> None:
    users, items = np.array([0, 7, 5_000_000_000]), np.array([0, 3, 12], dtype=np.int32)
    states = users.astype(np.uint64) * INCREMENT + items.astype(np.uint64) + INCREMENT
    found = [hash_of_pair(user, item) for user, item in zip(users, items, strict=True)]
    assert found == mix_bits(states).tolist()


def test_a_hash_of_columns_depends_on_every_number_and_its_column() -> None:
    users, items = np.array([1, 1, 2]), np.array([5, 6, 5])
    found = hash_of_columns(3, users, items)
    assert len(set(found.tolist())) == 3
    assert (hash_of_columns(3, users[1:], items[1:]) == found[1:]).all()
    assert (hash_of_columns(4, users, items) != found).all()
    assert (hash_of_columns(3, items, users) != found).all()
    assert hash_of_columns(0, np.array([0]))[0] == mix_bits(
        mix_bits(np.array([INCREMENT])) + INCREMENT
    )
