"""Rule P-1: which files a data directory has, and what is in which."""

from __future__ import annotations

from pathlib import Path

from zkembed.durable import Epochs

from .helpers import history, open_log, write_snapshot
from .test_files import file_log


def test_p_1_identity_epochs_manifest_and_one_generation_of_segments_and_snapshots(tmp_path: Path) -> None:
    """P-1, P-6: every value comes back from its own file; without that file it is gone, and nothing else is."""
    log = file_log(tmp_path)
    first = open_log(log)
    records = history(40)
    log.append(records)
    write_snapshot(log, records[19])
    log.set_epochs(Epochs(7, 2, 5))
    log.truncate(records[29].zxid)
    log.close()
    kinds = {path.name.split("-")[0] for path in tmp_path.iterdir()}
    assert {"identity", "epochs", "manifest", "log", "snapshot"} <= kinds
    assert kinds <= {"identity", "epochs", "manifest", "log", "snapshot", "lock", "reserve"}
    again = file_log(tmp_path)
    found = open_log(again)
    again.close()
    assert (found.identity.storage_id, found.identity.incarnation) == (first.identity.storage_id, first.identity.incarnation + 1)
    assert (found.epochs, found.snapshot.zxid, found.last_zxid) == (Epochs(7, 2, 5), records[19].zxid, records[29].zxid)
    (tmp_path / "manifest").unlink()
    without = open_log(file_log(tmp_path))
    assert "manifest" in without.damage
    assert (without.identity.storage_id, without.epochs) == (first.identity.storage_id, Epochs(7, 2, 5, damaged=True))
