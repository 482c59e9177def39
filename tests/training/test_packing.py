"""Rows and their order: every token once an epoch, nothing across borders, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.training.packing import (
    IGNORE,
    ConversationRows,
    RowOrder,
    TextRows,
    batches,
    evenly,
    pack,
)

BOS, PAD = 0, 2


def text_rows(tokens: np.ndarray, length: int = 8, *, separate: bool = False, shift: bool = True) -> TextRows:
    return TextRows(tokens, length, seed=1, bos_id=BOS, pad_id=PAD, separate=separate, shift=shift)


@settings(deadline=None)
@given(count=st.integers(2, 200), length=st.integers(1, 20))
def test_unshifted_windows_hold_every_target_exactly_once(count: int, length: int) -> None:
    tokens = np.arange(10, 10 + count)
    rows = text_rows(tokens, length, shift=False)
    filled = rows.fill(np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64))
    targets = filled.targets.ravel()
    assert targets[targets != IGNORE].tolist() == tokens[1:].tolist()
    wanted = filled.targets != IGNORE
    assert (filled.ids[wanted] + 1 == filled.targets[wanted]).all()


@settings(deadline=None)
@given(count=st.integers(2, 200), length=st.integers(1, 20), epoch=st.integers(0, 5))
def test_shifted_windows_stay_inside_and_never_overlap(count: int, length: int, epoch: int) -> None:
    tokens = np.arange(10, 10 + count)
    rows = text_rows(tokens, length)
    filled = rows.fill(np.arange(len(rows)), np.full(len(rows), epoch))
    targets = filled.targets[filled.targets != IGNORE]
    assert len(set(targets.tolist())) == len(targets)
    assert len(targets) >= len(tokens) - 1 - 2 * length


def test_each_epoch_cuts_elsewhere_but_always_at_the_same_place() -> None:
    rows = text_rows(np.arange(1000))
    assert rows.shift(0) == 0
    assert len({rows.shift(epoch) for epoch in range(1, 30)}) > 3
    assert rows.shift(4) == text_rows(np.arange(1000)).shift(4)


def test_documents_in_a_row_are_segments_and_nobody_predicts_a_beginning() -> None:
    tokens = np.array([BOS, 10, 11, BOS, 12, 13, 14, BOS, 15])
    filled = text_rows(tokens, 8, separate=True, shift=False).fill(np.array([0]), np.array([0]))
    assert filled.segments is not None
    assert filled.segments[0].tolist() == [1, 1, 1, 2, 2, 2, 2, 3]
    assert filled.targets[0].tolist() == [10, 11, IGNORE, 12, 13, 14, IGNORE, 15]


def test_a_stream_shorter_than_a_row_is_padded() -> None:
    filled = text_rows(np.array([BOS, 10, 11])).fill(np.array([0]), np.array([0]))
    assert filled.ids[0].tolist() == [BOS, 10, 11, PAD, PAD, PAD, PAD, PAD]
    assert filled.targets[0].tolist() == [10, 11] + [IGNORE] * 6


def conversations() -> tuple[np.ndarray, np.ndarray]:
    tokens, mask = [], []
    for size, trained in ((4, 2), (3, 1), (9, 4), (2, 0), (20, 3)):
        tokens += [BOS, *range(100, 100 + size - 1)]
        mask += [0] * (size - trained) + [1] * trained
    return np.array(tokens), np.array(mask)


def test_conversations_are_packed_whole_with_their_masks() -> None:
    tokens, mask = conversations()
    rows = ConversationRows(tokens, mask, 8, seed=1, bos_id=BOS, pad_id=PAD)
    # (2, 0) has nothing to learn, neither have the first 9 tokens of (20, 3)
    assert (rows.report.conversations, rows.report.truncated, rows.report.dropped) == (5, 1, 2)
    filled = rows.fill(np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64))
    assert filled.segments is not None
    assert int((filled.targets != IGNORE).sum()) == 2 + 1 + 4
    for ids, targets, segments in zip(*filled, strict=True):
        for number in set(segments.tolist()) - {0}:
            inside = segments == number
            assert ids[inside][0] == BOS
            assert (ids[inside] == BOS).sum() == 1
        assert (ids[segments == 0] == PAD).all()
        assert (targets[segments == 0] == IGNORE).all()
        trained = targets != IGNORE
        follows = np.append(ids[1:], -1)
        inner = trained & (np.append(segments[1:], 0) == segments)
        assert (targets[inner] == follows[inner]).all()


def test_without_a_mask_every_token_of_a_conversation_is_trained() -> None:
    tokens, _ = conversations()
    rows = ConversationRows(tokens, None, 32, seed=1, bos_id=BOS, pad_id=PAD)
    filled = rows.fill(np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64))
    assert int((filled.targets != IGNORE).sum()) == len(tokens) - 5


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 16), max_size=60), seed=st.integers(0, 99))
def test_packing_places_everything_once_and_fills_rows_well(sizes: list[int], seed: int) -> None:
    array = np.array(sizes, dtype=np.int64)
    rows = pack(array, 16, seed=seed)
    assert sorted(item for row in rows for item in row) == list(range(len(sizes)))
    assert all(sum(sizes[item] for item in row) <= 16 for row in rows)
    assert len(rows) <= -(-sum(sizes) // 16) * 11 / 9 + 1  # the bound of best fit decreasing
    assert rows == pack(array, 16, seed=seed)


@settings(deadline=None)
@given(count=st.integers(1, 40), per_step=st.integers(1, 12), epochs=st.integers(1, 4))
def test_every_row_once_an_epoch_whatever_the_batch(count: int, per_step: int, epochs: int) -> None:
    order = RowOrder(count, rows_per_step=per_step, seed=3)
    seen: list[tuple[int, int]] = []
    for step in range(order.steps_for(epochs)):
        rows, of_epoch = order.rows_of(step)
        seen += zip(of_epoch.tolist(), rows.tolist(), strict=True)
    wanted = {(epoch, row) for epoch in range(epochs) for row in range(count)}
    assert len(seen) == len(set(seen))
    assert wanted <= set(seen)
    assert order.epochs_closed(order.steps_for(epochs)) >= epochs
    assert order.epochs_closed(order.steps_for(epochs) - 1) < epochs


def test_a_step_is_a_function_of_its_number_alone() -> None:
    forward, alone = RowOrder(50, rows_per_step=8, seed=3), RowOrder(50, rows_per_step=8, seed=3)
    steps = [forward.rows_of(step)[0].tolist() for step in range(40)]
    assert alone.rows_of(33)[0].tolist() == steps[33]
    assert alone.rows_of(2)[0].tolist() == steps[2]  # going back forgets nothing
    assert RowOrder(50, rows_per_step=8, seed=4).rows_of(2)[0].tolist() != steps[2]


def test_smaller_bites_see_the_same_rows_in_a_step() -> None:
    wide, narrow = RowOrder(50, rows_per_step=8, seed=3), RowOrder(50, rows_per_step=8, seed=3)
    assert all((wide.rows_of(step)[0] == narrow.rows_of(step)[0]).all() for step in range(20))


@pytest.mark.parametrize(("count", "limit", "wanted"), [(5, None, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (2, 5, [0, 1])])
def test_a_validation_subset_is_spread_and_always_the_same(count: int, limit: int | None, wanted: list[int]) -> None:
    assert evenly(count, limit).tolist() == wanted


def test_validation_batches_have_one_shape_and_count_each_row_once() -> None:
    rows = text_rows(np.arange(10, 10 + 41), shift=False)
    filled = list(batches(rows, np.arange(len(rows)), 4))
    assert {batch.ids.shape for batch in filled} == {(4, 8)}
    assert sum(int((batch.targets != IGNORE).sum()) for batch in filled) == 40
