"""Limits and timers of the protocol (docs/protocol.md section 17). No safety rule depends on any of them."""

from __future__ import annotations

from attrs import frozen


@frozen
class Settings:
    """Times in seconds of the monotonic clock, sizes in bytes, counts in entries."""

    tick: float = 0.2
    sync_limit: float = 1.6
    init_limit: float = 10.0
    finalize_wait: float = 0.2
    notify_min: float = 0.2
    notify_max: float = 5.0
    dial_min: float = 0.05
    dial_max: float = 1.0
    disloyal_wait: float = 1.0
    stall_limit: float = 0.5
    lag_limit: float = 5.0
    lag_bytes_max: int = 64 * 2**20
    reepoch_interval: float = 60.0
    join_lag_bytes_max: int = 1 * 2**20
    leave_wait: float = 1.0
    max_epoch_jump: int = 1_000_000
    counter_limit: int = 0xFFFF_0000
    outstanding_max: int = 20_000
    outstanding_bytes_max: int = 32 * 2**20
    cache_bytes_max: int = 32 * 2**20
    diff_bytes_max: int = 64 * 2**20
    proposal_bytes_max: int = 1 * 2**20
