"""Graphs of the switching LDS, whose first z no regime has moved."""

from tfdvae.testing.parents import Parents

__all__ = ["SWITCHING_LDS", "SWITCHING_LDS_FILTER"]


def after_first(t: int, s: int) -> bool:
    """The same frame, but for the first."""
    return s == t > 0


SWITCHING_LDS: Parents = {
    "s": {
        "prior": {"s": "previous"},
        "posterior": {"x": "everything", "u": "everything", "s": "previous"},
    },
    "z": {
        "prior": {"z": "previous", "s": after_first, "u": "now"},
        "posterior": {"x": "everything", "u": "everything", "z": "previous"},
    },
    "x": {"z": "now"},
}
SWITCHING_LDS_FILTER: Parents = {
    "s": {
        "prior": {"s": "previous"},
        "posterior": {"x": after_first, "u": after_first, "s": "previous", "z": "previous"},
    },
    "z": {
        "prior": {"z": "previous", "s": after_first, "u": "now"},
        "posterior": {"x": "now", "u": "now", "z": "previous", "s": after_first},
    },
    "x": {"z": "now"},
}
