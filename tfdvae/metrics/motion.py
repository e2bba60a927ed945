"""How close poses are to the true ones."""

import numpy as np

__all__ = ["mpjpe"]


def mpjpe(prediction: np.ndarray, x: np.ndarray, mask: np.ndarray | None = None, mm_per_unit: float = 1000.0) -> float:
    """Mean per joint position error in mm: the distance of each joint from its true place, mean over joints, frames and
    sequences (Ionescu et al. 2014).

    Joints that never move, such as the root after centring, count as any other, as in the survey's 32 joints of H3.6M.

    Args:
        prediction, x: `[..., 3 J]`, x, y, z of the first joint first.
        mask: `[...]`, true where a frame counts.
        mm_per_unit: the length of 1 in x; 1000 for metres, as `load_motion` returns them.

    Raises:
        ValueError: different shapes, features that are not in threes, or no frame that counts.
    """
    prediction, x = np.asarray(prediction, np.float64), np.asarray(x, np.float64)
    if prediction.shape != x.shape or not x.ndim or x.shape[-1] % 3 or not x.size:
        raise ValueError(f"Expected positions of one shape [..., 3 J], got {prediction.shape} and {x.shape}.")
    if mask is not None and (np.shape(mask) != x.shape[:-1] or not np.any(mask)):
        raise ValueError(f"Expected a mask {x.shape[:-1]} with a frame that counts, got shape {np.shape(mask)}.")
    distances = np.linalg.norm((prediction - x).reshape(*x.shape[:-1], -1, 3), axis=-1)
    return float((distances if mask is None else distances[np.asarray(mask, bool)]).mean()) * mm_per_unit
