"""The autoencoder whose codes He & Su cluster for comparison."""

from torch import Tensor, nn

from lecore.seeding import seeded


class Autoencoder(nn.Module):
    """The convolutional autoencoder that He & Su compare with, for 28 × 28 grey images.

    Attributes:
        encoder: (n, 1, 28, 28) to features of shape (n, 8, 2, 2).
        decoder: The way back, to values in [−1, 1].
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, stride=2),
            nn.Conv2d(16, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, stride=1),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 16, 3, stride=2),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 8, 5, stride=3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 1, 2, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        reconstruction: Tensor = self.decoder(self.encoder(x))
        return reconstruction


def autoencoder(*, seed: int = 0) -> Autoencoder:
    """A freshly initialised :class:`Autoencoder`."""
    with seeded(seed):
        return Autoencoder()
