"""The log in memory: what this node has logged, is logging, knows committed and has applied, without the disk's bytes.

It mirrors the durable log record by record, but keeps of an old record only its chain value and length (16 bytes), so that for
the whole retained log any common point T and its chain can be told to a learner (rules Y-2, Y-5). Recent records are kept whole in
a cache bounded by bytes, which always covers everything not yet applied. Configurations found in the log are kept by zxid, so that
a truncation restores the one before (rule C-6).

It decides nothing: leader, learner and peer move its marks. Broken order raises InternalError (section 18).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ..codec import decode, encode
from ..durable import SnapshotInfo
from ..errors import DecodeError, InternalError
from ..record import Kind, Record
from ..zxid import EMPTY, counter_of, epoch_of, follows, to_hex
from .quorum import Configuration

_COMPACT_AT = 1024
# A Record without its encoded bytes: the object, five numbers, and its place in the cache.
RECORD_BYTES = 320


def cost(record: Record) -> int:
    """About what a cached record takes in memory, its object and numbers included."""
    return len(record.encoded) + RECORD_BYTES


class History:
    """``base < ... <= applied <= delivered <= min(committed, durable) <= end`` while a role delivers.

    base: records behind this zxid are retained; it is itself a record's or snapshot's zxid, or 0.
    end: last record accepted, perhaps still on its way to the disk.  durable: last record on the disk.
    committed: greatest zxid known committed; it may be beyond ``end`` after a role ended (rule Y-6.1 remembers it).
    delivered: handed to the replica.  applied: the replica said so.
    pending_load: a snapshot was installed under the state; it must be loaded before the next delivery (rule Y-7).
    snapshots: own snapshots on disk, oldest first.
    """

    __slots__ = (
        "_bytes",
        "_cache",
        "_cache_bytes",
        "_cache_bytes_max",
        "_cache_first",
        "_cache_head",
        "_chains",
        "_configs",
        "_ends",
        "_founding_config",
        "_run_counters",
        "_run_epochs",
        "_run_starts",
        "_start",
        "applied",
        "base",
        "committed",
        "config_changes",
        "delivered",
        "durable",
        "end",
        "end_chain",
        "end_time",
        "pending_load",
        "snapshots",
    )

    def __init__(self, snapshot: SnapshotInfo, *, cache_bytes_max: int = 32 * 2**20) -> None:
        """An empty log on top of ``snapshot`` (``SnapshotInfo()``: none). Raises DecodeError if its meta is not readable."""
        self._cache_bytes_max = cache_bytes_max
        self.base = self.end = self.durable = self.committed = self.delivered = self.applied = snapshot.zxid
        self.end_chain = snapshot.chain
        self.end_time = 0
        self.pending_load: int | None = None
        self.snapshots = [snapshot] if snapshot.zxid != EMPTY else []
        # Ordinals count records; the base has ordinal _start. _chains and _ends (running sum of bytes) are indexed by ordinal - _start.
        self._start = 0
        self._bytes = 0
        self._chains = array("Q", [snapshot.chain])
        self._ends = array("Q", [0])
        # A run is a stretch of consecutive counters of one epoch.
        self._run_epochs = [epoch_of(snapshot.zxid)]
        self._run_counters = [counter_of(snapshot.zxid)]
        self._run_starts = [0]
        self._cache: list[Record] = []
        self._cache_head = 0
        self._cache_first = 1
        self._cache_bytes = 0
        self._configs = [config for config in decode_configurations(snapshot.meta) if config.version <= snapshot.zxid]
        self._founding_config = EMPTY
        self.config_changes = 0

    # --- growing and shrinking ---------------------------------------------------------------------------------------

    def recover(self, records: Iterable[Record]) -> None:
        """Records found on the disk at start-up, in order; may be called in slices. They count as durable (rule P-10)."""
        for record in records:
            self.append(record)
            if record.commit_hint > self.committed:
                self.committed = record.commit_hint
        self.durable = self.end

    def append(self, record: Record) -> None:
        """Accept a record at the end; not durable yet. Raises InternalError unless it stands right behind (section 18.2)."""
        zxid, end = record.zxid, self.end
        next_counter = zxid == end + 1 and end != EMPTY
        if record.prev_zxid != end or not (next_counter or follows(zxid, end)):
            raise InternalError(f"append of {to_hex(zxid)} behind {to_hex(record.prev_zxid)}, but the log ends at {to_hex(end)}")
        size = len(record.encoded)
        if not next_counter:
            self._run_epochs.append(epoch_of(zxid))
            self._run_counters.append(1)
            self._run_starts.append(self._start + len(self._chains))
        if record.kind is Kind.CONFIG:
            self._add_config(record)
        self._bytes += size
        self._chains.append(record.chain)
        self._ends.append(self._bytes)
        self._cache.append(record)
        self._cache_bytes += cost(record)
        self.end = zxid
        self.end_chain = record.chain
        self.end_time = record.time

    def _add_config(self, record: Record) -> None:
        try:
            config = read_config(record)
        except DecodeError as error:
            raise InternalError(str(error)) from error
        if record.prev_zxid == EMPTY:
            self._founding_config = record.zxid
        self._configs.append(config)
        self.config_changes += 1

    def truncate(self, zxid: int) -> None:
        """The log ends at ``zxid``, which it holds (rules P-6, C-6). Raises InternalError below applied or committed (section 18.4)."""
        if zxid < self.applied or zxid < self.committed:
            raise InternalError(
                f"truncation to {to_hex(zxid)} below applied {to_hex(self.applied)} or commit point {to_hex(self.committed)}"
            )
        keep = self._index(zxid)
        if keep is None:
            raise InternalError(f"truncation to {to_hex(zxid)}, which is not in the log")
        cached = max(0, self._start + keep + 1 - self._cache_first)
        self._cache_bytes -= sum(cost(record) for record in self._cache[max(cached, self._cache_head) :])
        del self._cache[cached:]
        self._cache_head = min(self._cache_head, len(self._cache))
        if not self._cache:
            self._cache_first = self._start + keep + 1
            self._cache_head = 0
        del self._chains[keep + 1 :]
        del self._ends[keep + 1 :]
        self._bytes = self._ends[-1]
        runs = bisect_right(self._run_starts, self._start + keep)
        del self._run_epochs[runs:], self._run_counters[runs:], self._run_starts[runs:]
        while self._configs and self._configs[-1].version > zxid:
            self._configs.pop()
            self.config_changes += 1
        if self._founding_config > zxid:
            self._founding_config = EMPTY
        self.end = zxid
        self.end_chain = self._chains[-1]
        self.durable = min(self.durable, zxid)

    def adopt(self, staged: History) -> None:
        """The switch of an install (rule P-7): the log becomes ``staged``; what is known committed and applied stays known."""
        known = max(self.committed, staged.committed)
        applied, delivered, changes = self.applied, self.delivered, self.config_changes
        for name in self.__slots__:
            setattr(self, name, getattr(staged, name))
        self.committed = known
        self.applied, self.delivered = applied, delivered
        self.pending_load = staged.base
        self.config_changes = changes + 1

    def begin_load(self) -> int | None:
        """The snapshot to load before the next delivery, if an install put one under the state; deliveries then start behind it."""
        base, self.pending_load = self.pending_load, None
        if base is not None:
            self.delivered = self.applied = base
        return base

    # --- marks -------------------------------------------------------------------------------------------------------

    def set_durable(self, zxid: int) -> None:
        if not self.durable <= zxid <= self.end:
            raise InternalError(f"durable {to_hex(zxid)} outside {to_hex(self.durable)} .. {to_hex(self.end)}")
        self.durable = zxid

    def set_committed(self, zxid: int) -> None:
        """Raises InternalError if it would fall (section 18.6)."""
        if zxid < self.committed:
            raise InternalError(f"commit point falls from {to_hex(self.committed)} to {to_hex(zxid)}")
        self.committed = zxid

    def set_applied(self, zxid: int) -> None:
        """The replica has applied up to ``zxid``; lets the cache go. Raises InternalError out of order (section 18.3)."""
        if not self.applied <= zxid <= self.delivered:
            raise InternalError(f"applied {to_hex(zxid)} outside {to_hex(self.applied)} .. {to_hex(self.delivered)}")
        self.applied = zxid
        if self._cache_bytes > self._cache_bytes_max:
            self._evict()

    def _evict(self) -> None:
        while self._cache_bytes > self._cache_bytes_max:
            record = self._cache[self._cache_head]
            if record.zxid > self.applied or self.pending_load is not None:
                break
            self._cache_bytes -= cost(record)
            self._cache_head += 1
        if self._cache_head >= _COMPACT_AT and self._cache_head * 2 >= len(self._cache):
            self._cache_first += self._cache_head
            del self._cache[: self._cache_head]
            self._cache_head = 0

    def take_deliverable(self) -> tuple[Record, ...]:
        """Records that are now committed and durable here and were not delivered before (rule X-4)."""
        upto = min(self.committed, self.durable)
        if upto <= self.delivered or self.pending_load is not None:
            return ()
        found = self.floor(upto)
        if found is None or found <= self.delivered:
            return ()
        records = self.cached(self.delivered, found)
        self.delivered = found
        return tuple(records)

    def snapshot_stored(self, info: SnapshotInfo, records_from: int) -> None:
        """An own snapshot is durable and the log was purged up to ``records_from`` (rule P-9)."""
        index = self._index(info.zxid)
        if index is None or self._chains[index] != info.chain:
            return  # It was taken before an install replaced the log; the new generation does not hold it.
        if all(known.zxid != info.zxid for known in self.snapshots):
            self.snapshots.append(info)
            self.snapshots.sort(key=lambda known: known.zxid)
        drop = self._index(records_from)
        if drop:
            self._rebase(records_from, drop)
        self.snapshots = [known for known in self.snapshots if known.zxid >= self.base]

    def _rebase(self, zxid: int, drop: int) -> None:
        ordinal = self._start + drop
        while self._cache_first + self._cache_head <= ordinal:
            self._cache_bytes -= cost(self._cache[self._cache_head])
            self._cache_head += 1
        del self._chains[:drop], self._ends[:drop]
        run = bisect_right(self._run_starts, ordinal) - 1
        del self._run_epochs[:run], self._run_counters[:run], self._run_starts[:run]
        self._run_counters[0] = counter_of(zxid)
        self._run_starts[0] = ordinal
        self._start = ordinal
        self.base = zxid
        # What rules at the base, and what came later: a truncation goes no further back (C-6).
        older = [config for config in self._configs if config.version <= zxid]
        self._configs = older[-1:] + self._configs[len(older) :]

    # --- questions ---------------------------------------------------------------------------------------------------

    def _index(self, zxid: int) -> int | None:
        """Position of a retained record (or the base, 0) in _chains; None if it is not there."""
        run = bisect_right(self._run_epochs, epoch_of(zxid)) - 1
        if run < 0 or self._run_epochs[run] != epoch_of(zxid):
            return None
        offset = counter_of(zxid) - self._run_counters[run]
        stop = self._run_starts[run + 1] if run + 1 < len(self._run_starts) else self._start + len(self._chains)
        position = self._run_starts[run] + offset
        return position - self._start if offset >= 0 and position < stop else None

    def _zxid_at(self, index: int) -> int:
        ordinal = self._start + index
        run = bisect_right(self._run_starts, ordinal) - 1
        return (self._run_epochs[run] << 32) | (self._run_counters[run] + ordinal - self._run_starts[run])

    def holds(self, zxid: int) -> bool:
        return self._index(zxid) is not None

    def chain(self, zxid: int) -> int | None:
        """The chain at a retained record or the base; None if it is not there."""
        index = self._index(zxid)
        return None if index is None else self._chains[index]

    def floor(self, zxid: int) -> int | None:
        """T of rule Y-2: the greatest zxid of this log, base included, that is <= ``zxid``; None if all are greater."""
        if zxid >= self.end:
            return self.end
        if zxid < self.base:
            return None
        index = self._index(zxid)
        if index is not None:
            return zxid
        run = bisect_right(self._run_epochs, epoch_of(zxid)) - 1
        stop = self._run_starts[run + 1] if run + 1 < len(self._run_starts) else self._start + len(self._chains)
        return self._zxid_at(stop - 1 - self._start)

    def before(self, zxid: int) -> int:
        """The record right before a retained one (the base for the first); ``base`` if ``zxid`` is not behind it."""
        index = self._index(zxid)
        return self._zxid_at(index - 1) if index else self.base

    def size(self, after: int, upto: int) -> int:
        """Encoded bytes of the records (after, upto]; both must be retained."""
        first, last = self._index(after), self._index(upto)
        if first is None or last is None:
            raise InternalError(f"size of ({to_hex(after)}, {to_hex(upto)}], which the log does not hold")
        return self._ends[last] - self._ends[first]

    def cached_after(self) -> int:
        """Records behind this zxid are in the cache."""
        return self._zxid_at(self._cache_first + self._cache_head - 1 - self._start)

    def cached(self, after: int, upto: int) -> Sequence[Record]:
        """The records (after, upto], which must all be in the cache."""
        first, last = self._index(after), self._index(upto)
        if first is None or last is None:
            raise InternalError(f"records ({to_hex(after)}, {to_hex(upto)}] are not in the log")
        offset = self._start - self._cache_first
        low, high = first + 1 + offset, last + 1 + offset
        if low < self._cache_head and low < high:
            raise InternalError(f"records behind {to_hex(after)} are no longer in the cache")
        return self._cache[low:high]

    @property
    def snapshot(self) -> SnapshotInfo | None:
        """The newest own snapshot from which the log goes on without a break."""
        return self.snapshots[-1] if self.snapshots else None

    # --- configurations ----------------------------------------------------------------------------------------------

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Those that rule by the log (rule C-3): the last one, and the one before it unless the last is known committed. Empty: none."""
        if len(self._configs) < 2 or self._configs[-1].version <= self.committed:
            return tuple(self._configs[-1:])
        return tuple(self._configs[-2:])

    @property
    def committed_configuration(self) -> Configuration | None:
        """The newest one known committed."""
        for config in reversed(self._configs):
            if config.version <= self.committed:
                return config
        return None

    @property
    def shown_configuration(self) -> Configuration | None:
        """What others may adopt: the newest known committed, or v1 while it is not (rules I-4, C-9)."""
        committed = self.committed_configuration
        if committed is None and self._configs and self._configs[0].version == self._founding_config:
            return self._configs[0]
        return committed

    def configurations_at(self, zxid: int) -> tuple[Configuration, ...]:
        """What a snapshot at ``zxid``, which is committed, must remember: the newest at or before it."""
        known = [config for config in self._configs if config.version <= zxid]
        return tuple(known[-1:])

    def check(self) -> None:
        """Raise InternalError if the marks or the bookkeeping contradict each other."""
        checks = (
            (self.base <= self.durable <= self.end, "base <= durable <= end"),
            (self.applied <= self.delivered, "applied <= delivered"),
            (self.pending_load is not None or self.delivered <= self.end, "delivered <= end"),
            (self.delivered <= max(self.committed, self.base), "delivered <= committed"),
            (self._zxid_at(len(self._chains) - 1) == self.end and self._chains[-1] == self.end_chain, "the last run ends at end"),
            (len(self._chains) == len(self._ends), "one length a chain"),
            (self._zxid_at(0) == self.base, "the first run starts at base"),
            (self._cache_first + len(self._cache) == self._start + len(self._chains), "the cache reaches the end"),
            (self._cache_bytes == sum(cost(record) for record in self._cache[self._cache_head :]), "the cache's bytes"),
            (
                self.pending_load is not None or self.cached_after() <= max(self.delivered, self.base),
                "the cache covers what is not delivered",
            ),
        )
        for holds, text in checks:
            if not holds:
                raise InternalError(f"history: not true that {text}: {self!r}")

    def __repr__(self) -> str:
        marks = ", ".join(
            f"{name} {to_hex(getattr(self, name))}" for name in ("base", "end", "durable", "committed", "delivered", "applied")
        )
        return f"<History {marks}>"


def read_config(record: Record) -> Configuration:
    """The configuration that a CONFIG record holds; its version is the record's zxid (rule C-1). Raises DecodeError."""
    try:
        config = Configuration.decode(record.payload)
    except DecodeError as error:
        raise DecodeError(f"CONFIG entry {to_hex(record.zxid)}: {error}") from error
    if config.version != record.zxid:
        raise DecodeError(f"CONFIG entry {to_hex(record.zxid)} says version {to_hex(config.version)}")
    return config


def encode_configurations(configurations: Iterable[Configuration]) -> bytes:
    """The meta of a snapshot: configurations, oldest first."""
    return encode([configuration.encode() for configuration in configurations])


def decode_configurations(meta: bytes) -> tuple[Configuration, ...]:
    """The inverse; ``b""`` is none. Raises DecodeError."""
    if not meta:
        return ()
    value = decode(meta)
    if type(value) is not list or len(value) > 2 or not all(type(item) is bytes for item in value):
        raise DecodeError("a snapshot's configurations are a list of at most two byte strings")
    configurations = tuple(Configuration.decode(item) for item in value)
    if any(later.version <= earlier.version for earlier, later in pairwise(configurations)):
        raise DecodeError("a snapshot's configurations are not in order")
    return configurations
