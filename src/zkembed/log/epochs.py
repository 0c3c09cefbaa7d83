"""The ``epochs`` file: what this replica has promised, and the DAMAGED mark (rules P-2, P-3, P-12)."""

from __future__ import annotations

from ..durable import Epochs
from ..errors import DecodeError
from ..zxid import EPOCH_MAX
from .cell import load_cell, replace_cell
from .disk import Disk

EPOCHS = "epochs"
_NODE_ID_MAX = 2**63 - 1


def save_epochs(disk: Disk, epochs: Epochs) -> None:
    replace_cell(disk, EPOCHS, [epochs.accepted, epochs.accepted_leader, epochs.current, epochs.damaged])


def load_epochs(disk: Disk) -> Epochs:
    """Raises DecodeError if no copy is valid."""
    match load_cell(disk, EPOCHS):
        case [accepted, leader, current, bool(damaged)] if (
            type(accepted) is type(leader) is type(current) is int and 0 <= current <= accepted <= EPOCH_MAX and 0 <= leader <= _NODE_ID_MAX
        ):
            return Epochs(accepted, leader, current, damaged)
    raise DecodeError("the epochs file is not [accepted, leader, current, damaged]")
