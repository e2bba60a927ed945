"""What Gaussian families have in common: positive scales that follow from a network's output."""

from typing import Any

from tfdvae.families import numerics
from tfdvae.families.base import Family

__all__ = ["ScaledGaussian"]


class ScaledGaussian(Family):
    """Its arguments are those of `DiagonalGaussian`, which explains them."""

    noise_kind = "normal"

    def __init__(
        self, latent_dim: int, scale: str = "softplus", min_scale: float = 1e-4, scale_floor: str = "sum"
    ) -> None:
        super().__init__(latent_dim)
        numerics.check_scale(scale, min_scale, scale_floor)
        self.scale_map = scale
        self.min_scale = min_scale
        self.scale_floor = scale_floor

    def get_config(self) -> dict[str, Any]:
        own = {"scale": self.scale_map, "min_scale": self.min_scale, "scale_floor": self.scale_floor}
        return {**super().get_config(), **own}

    @property
    def noise_dim(self) -> int:
        return self.latent_dim
