"""The log in memory against a plain list of records (rules Y-2, P-6, P-7, P-9, X-4, C-3, C-6, section 18)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zab.helpers import record_after, z
from zkembed.durable import SnapshotInfo
from zkembed.errors import DecodeError, InternalError
from zkembed.record import Kind, Record
from zkembed.zab.history import History, decode_configurations, encode_configurations
from zkembed.zab.quorum import Configuration, Member
from zkembed.zxid import epoch_of, make


def config(version: int, *node_ids: int) -> Configuration:
    return Configuration(version, tuple(Member(node_id, f"node-{node_id}", storage_id=bytes(16)) for node_id in node_ids))


def next_zxid(end: int, *, new_epoch: bool) -> int:
    return make(epoch_of(end) + 1, 1) if new_epoch or end == 0 else end + 1


class Model:
    """The same log as a list; base_zxid and base_chain for what is no longer kept."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.base = (0, 0)

    @property
    def points(self) -> list[tuple[int, int]]:
        return [self.base, *((record.zxid, record.chain) for record in self.records)]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    actions=st.lists(
        st.tuples(st.sampled_from(["append", "append", "append", "epoch", "truncate", "apply", "purge"]), st.integers(0, 1000)), max_size=40
    ),
    cache_bytes_max=st.sampled_from([1, 2000, 100_000]),
)
def test_history_is_a_list_of_records(actions: list[tuple[str, int]], cache_bytes_max: int) -> None:
    """Appends, truncations, application and purges in any order: floor, chain, size, cache and end are those of the plain list."""
    history, model = History(SnapshotInfo(), cache_bytes_max=cache_bytes_max), Model()
    for action, number in actions:
        if action in ("append", "epoch"):
            previous = model.records[-1] if model.records else None
            end, chain = model.points[-1]
            zxid = next_zxid(end, new_epoch=action == "epoch")
            record = Record.make(zxid, end, 0, Kind.REQUEST, 0, b"p" * (number % 50), chain)
            assert previous is None or previous.zxid == end
            history.append(record)
            model.records.append(record)
        elif action == "truncate":
            choices = [zxid for zxid, _ in model.points if zxid >= history.committed]
            zxid = choices[number % len(choices)]
            history.truncate(zxid)
            model.records = [record for record in model.records if record.zxid <= zxid]
        elif action == "apply":
            choices = [zxid for zxid, _ in model.points if zxid >= history.committed]
            history.set_durable(history.end)
            history.set_committed(choices[number % len(choices)])
            delivered = history.take_deliverable()
            assert all(earlier.zxid < later.zxid for earlier, later in pairwise(delivered))
            history.set_applied(history.delivered)
        else:
            points = [(zxid, chain) for zxid, chain in model.points if zxid <= history.applied]
            zxid, chain = points[number % len(points)]
            if zxid:
                history.snapshot_stored(SnapshotInfo(zxid, chain, b""), zxid)
                model.base = (zxid, chain)
                model.records = [record for record in model.records if record.zxid > zxid]
        history.check()
        compare(history, model)


def compare(history: History, model: Model) -> None:
    points = model.points
    assert (history.base, history.end, history.end_chain) == (points[0][0], *points[-1])
    for zxid, chain in points:
        assert history.chain(zxid) == chain
        assert history.floor(zxid) == zxid
        assert history.floor(zxid + 7) == max(other for other, _ in points if other <= zxid + 7)
        assert history.size(zxid, history.end) == sum(len(record.encoded) for record in model.records if record.zxid > zxid)
    assert history.floor(points[0][0] - 1) is None
    assert history.chain(history.end + 1) is None
    after = history.cached_after()
    assert list(history.cached(after, history.end)) == [record for record in model.records if record.zxid > after]


def filled(text: str = "1.1 1.2 1.3 2.1 2.2") -> History:
    history = History(SnapshotInfo())
    record = None
    for word in text.split():
        record = record_after(record, z(word))
        history.append(record)
    history.set_durable(history.end)
    return history


def test_section_18_2_append_must_be_contiguous() -> None:
    """Section 18.2: neither a gap, a repetition nor a foreign predecessor gets in."""
    history = filled("1.1 1.2")
    for prev, zxid in ((z("1.2"), z("1.4")), (z("1.1"), z("1.2")), (z("1.2"), z("2.2")), (z("1.3"), z("1.4"))):
        with pytest.raises(InternalError, match="append of"):
            history.append(Record.make(zxid, prev, 0, Kind.REQUEST, 0, b"", history.end_chain))


def test_section_18_3_6_marks_move_forward_only() -> None:
    """Section 18.3, 18.6: applying out of order and a falling commit point are defects."""
    history = filled()
    history.set_committed(z("2.1"))
    with pytest.raises(InternalError, match="commit point falls"):
        history.set_committed(z("1.3"))
    assert [record.zxid for record in history.take_deliverable()] == [z(word) for word in ["1.1", "1.2", "1.3", "2.1"]]
    assert history.take_deliverable() == ()
    with pytest.raises(InternalError, match="applied"):
        history.set_applied(z("2.2"))
    history.set_applied(z("2.1"))
    with pytest.raises(InternalError, match="applied"):
        history.set_applied(z("1.3"))


def test_section_18_4_no_truncation_below_applied_or_commit() -> None:
    """Section 18.4."""
    history = filled()
    history.set_committed(z("1.3"))
    with pytest.raises(InternalError, match="truncation to 0x100000002 below"):
        history.truncate(z("1.2"))


def test_recovery_knows_the_highest_commit_hint() -> None:
    """P-10: the hint of any record, not only the last."""
    history = History(SnapshotInfo())
    first = record_after(None, z("1.1"))
    second = record_after(first, z("1.2"), hint=z("1.1"))
    third = record_after(second, z("2.1"))
    history.recover([first, second])
    history.recover([third])
    assert (history.committed, history.durable) == (z("1.1"), z("2.1"))


def test_an_install_keeps_what_is_known_committed() -> None:
    """P-7, Y-7: the switch changes the log; what was applied stays so until the snapshot is loaded, then deliveries start behind it."""
    history = filled()
    history.set_committed(z("2.1"))
    history.take_deliverable()
    history.set_applied(z("2.1"))
    base = SnapshotInfo(z("1.2"), history.chain(z("1.2")) or 0)
    staged = History(base)
    for record in history.cached(z("1.2"), z("2.2")):
        staged.append(record)
    history.adopt(staged)
    assert (history.base, history.applied, history.committed) == (z("1.2"), z("2.1"), z("2.1"))
    assert history.take_deliverable() == ()
    assert history.begin_load() == z("1.2")
    history.set_durable(z("2.2"))
    assert [record.zxid for record in history.take_deliverable()] == [z("1.3"), z("2.1")]


def test_a_snapshot_of_a_replaced_log_is_ignored() -> None:
    """P-7: an own snapshot that was being written while an install switched is not in the new generation."""
    history = filled()
    history.snapshot_stored(SnapshotInfo(z("1.2"), 12345), z("1.2"))
    history.snapshot_stored(SnapshotInfo(z("7.2"), 12345), z("7.2"))
    assert history.snapshot is None
    assert history.base == 0


def with_configs() -> tuple[History, list[Configuration]]:
    history = History(SnapshotInfo())
    configs = [config(z("1.1"), 1, 2, 3), config(z("1.3"), 1, 2, 3, 4)]
    record = record_after(None, z("1.1"), payload=configs[0].encode(), kind=Kind.CONFIG)
    history.append(record)
    record = record_after(record, z("1.2"))
    history.append(record)
    history.append(record_after(record, z("1.3"), payload=configs[1].encode(), kind=Kind.CONFIG))
    return history, configs


def test_c_3_two_configurations_rule_until_the_last_is_committed() -> None:
    """C-3, C-9: the last CONFIG and the one before it; others are shown the newest committed one, or v1."""
    history, (first, second) = with_configs()
    assert list(history.configurations) == [first, second]
    assert (history.committed_configuration, history.shown_configuration) == (None, first)
    history.set_committed(z("1.2"))
    assert (history.committed_configuration, history.shown_configuration) == (first, first)
    history.set_committed(z("1.3"))
    assert list(history.configurations) == [second]
    assert history.shown_configuration == second
    assert history.configurations_at(z("1.2")) == (first,)


def test_c_6_truncating_a_config_restores_the_one_before() -> None:
    """C-6."""
    history, (first, _) = with_configs()
    history.truncate(z("1.2"))
    assert list(history.configurations) == [first]
    history.truncate(0)
    assert list(history.configurations) == []


def test_snapshot_meta_round_trip() -> None:
    """P-8: a snapshot carries the configuration of its zxid."""
    first = config(z("1.1"), 1, 2, 3)
    meta = encode_configurations([first])
    assert decode_configurations(meta) == (first,)
    assert History(SnapshotInfo(z("3.7"), 5, meta)).configurations == (first,)
    for bad in (b"\x00", b"\x83\x40\x40\x40", b"\x81\x41\x00"):
        with pytest.raises(DecodeError):
            decode_configurations(bad)
