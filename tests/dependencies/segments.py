"""Graphs of models whose latents exist once per segment."""

from tfdvae.testing.parents import Parents

__all__ = ["fhvae"]


def fhvae(segment: int) -> Parents:
    """By the frames of a segment. Latents of segments are held over them; q(z1_n | .) reads z2_n at the first."""

    def same(t: int, s: int) -> bool:
        return t // segment == s // segment

    def so_far(t: int, s: int) -> bool:
        return same(t, s) and s <= t

    return {
        "mu2": {"posterior": {"x": "everything", "u": "everything"}},
        "z2": {"prior": {"mu2": "everything"}, "posterior": {"x": same, "u": same}},
        "z1": {"posterior": {"x": same, "u": same, "z2": lambda t, s: same(t, s) and s % segment == 0}},
        "x": {"z1": so_far, "z2": so_far, "u": so_far},
    }
