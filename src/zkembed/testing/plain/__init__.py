"""The state once more, written down a second time and plainly: what ``testing.reference`` is made of. Shares no code with ``tree/``."""
