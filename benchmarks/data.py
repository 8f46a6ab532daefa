"""Real images for every benchmark, from the digits that come with scikit-learn."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor


def digits(n: int, side: int = 28, channels: int = 1, device: str | torch.device = "cpu") -> Tensor:
    """Digits enlarged to side × side, shape (n, channels, side, side), values near [0, 1].

    All are different: each channel has a little seeded noise of its own, and those beyond the
    1797 of the set are repeats with other noise.
    """
    images = torch.from_numpy(load_digits().images).float()[torch.arange(n) % 1797, None] / 16
    images = F.interpolate(images, (side, side), mode="bilinear").expand(-1, channels, -1, -1)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 0.02 * noise).to(device)


def signs(n: int, device: str | torch.device = "cpu") -> Tensor:
    """Targets −1 and 1 by turns, shape (n, 1)."""
    return (1.0 - 2.0 * (torch.arange(n) % 2))[:, None].to(device)
