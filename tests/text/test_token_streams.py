import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.text.token_streams import TokenStream, mixture


def stream(sizes: list[int]) -> TokenStream:
    arrays = [np.arange(100 * number, 100 * number + size, dtype=np.uint16) for number, size in enumerate(sizes)]
    count = len(sizes)
    return TokenStream(arrays, np.arange(count), np.zeros(count, dtype=np.int64), np.array(sizes, dtype=np.int64))


@given(sizes=st.lists(st.integers(0, 5), max_size=6), start=st.integers(-20, 20), stop=st.integers(-20, 20))
def test_it_reads_like_one_array(sizes: list[int], start: int, stop: int) -> None:
    tokens = stream(sizes)
    whole = np.asarray(tokens)
    assert len(tokens) == len(whole) == sum(sizes)
    assert whole.tolist() == [100 * number + place for number, size in enumerate(sizes) for place in range(size)]
    assert tokens[start:stop].tolist() == whole[start:stop].tolist()
    assert tokens[:].dtype == tokens.dtype == np.uint16
    assert tokens.boundaries.tolist() == [0, *np.cumsum(sizes)]
    for index in range(-len(whole), len(whole)):
        assert tokens[index] == whole[index]


def test_outside_is_an_error() -> None:
    with pytest.raises(IndexError):
        stream([3])[3]


def test_a_slice_inside_one_piece_is_no_copy() -> None:
    array = np.arange(10, dtype=np.uint16)
    tokens = TokenStream([array], np.array([0, 0]), np.array([5, 0]), np.array([5, 5]))
    assert tokens[1:4].tolist() == [6, 7, 8]
    assert np.shares_memory(tokens[1:4], array)
    assert tokens[3:7].tolist() == [8, 9, 0, 1]


def test_mixing_repeats_evenly_and_keeps_everything() -> None:
    sources = np.array([0] * 10 + [1] * 30)
    sizes = np.full(40, 7)
    order = mixture(sources, sizes, [1.0, 1.5], seed=3)
    times = np.bincount(order, minlength=40)
    assert times[:10].tolist() == [2] * 10
    assert times[10:].tolist() == [1] * 30
    assert order.tolist() == mixture(sources, sizes, [1.0, 1.5], seed=3).tolist()
    assert order.tolist() != mixture(sources, sizes, [1.0, 1.5], seed=4).tolist()
    assert mixture(sources, sizes, [2.0, 2.0], seed=3).tolist() == list(range(40))
    assert mixture(np.zeros(4, dtype=np.int64), sizes[:4], [5.0, 1.0], seed=3).tolist() == [0, 1, 2, 3]


@given(
    first=st.lists(st.integers(1, 50), min_size=20, max_size=40),
    second=st.lists(st.integers(1, 50), min_size=20, max_size=40),
    weight=st.floats(0.1, 10),
)
def test_shares_are_the_weights(first: list[int], second: list[int], weight: float) -> None:
    sources = np.array([0] * len(first) + [1] * len(second))
    sizes = np.array(first + second)
    order = mixture(sources, sizes, [weight, 1.0], seed=1)
    if weight == 1.0:
        return
    assert set(order.tolist()) == set(range(len(sizes)))
    tokens = np.bincount(sources[order], weights=sizes[order])
    # rounded to whole documents
    assert abs(tokens[0] - weight * tokens[1]) <= 50 * max(1.0, weight)
