"""The features that He & Su cluster by K-means for comparison."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from lecore.losses import squared_error
from lecore.models import autoencoder
from lecore.torchvision_import import import_torchvision
from lecore.training import train

Array = NDArray[np.float64]


def pixel_features(images: Tensor) -> Array:
    """The images themselves, shape (n, values)."""
    pixels: Array = images.flatten(1).double().cpu().numpy()
    return pixels


def principal_features(images: Tensor, components: int = 100) -> Array:
    """Scores on the first principal components, shape (n, components)."""
    pixels = pixel_features(images)
    pca = PCA(min(components, *pixels.shape), svd_solver="full")
    scores: Array = pca.fit_transform(pixels)
    return scores


def autoencoder_features(
    images: Tensor, auxiliary: Tensor, *, epochs: int = 5000, seed: int = 0
) -> Array:
    """Codes of a convolutional autoencoder, trained on both sets as He & Su do.

    Full-batch Adam with learning rate 10⁻³ and weight decay 10⁻⁵ on the squared error.

    Args:
        images: Primary images, shape (n, 1, 28, 28), see :func:`at_size_28`.
        auxiliary: Auxiliary images.
        epochs: Steps; 5,000 in the paper.
        seed: Seed of the weights.

    Returns:
        Shape (n, 32).
    """
    model = autoencoder(seed=seed).to(images.device)
    both = torch.cat([images, auxiliary])

    def mean_squared_error(reconstruction: Tensor, image: Tensor) -> Tensor:
        return squared_error(reconstruction, image) / image.numel()

    train(
        model, both, both, learning_rate=1e-3, epochs=epochs, loss=mean_squared_error,
        optimizer="adam", weight_decay=1e-5, seed=seed, progress=True,
    )  # fmt: skip
    with torch.no_grad():
        codes: Array = model.encoder(images).flatten(1).double().cpu().numpy()
    return codes


def resnet152_features(images: Tensor, *, batch_size: int = 50) -> Array:
    """The 2,048 last features of torchvision's ResNet-152 with ImageNet weights.

    Args:
        images: In [−1, 1], shape (n, 1 or 3, h, w); they are resized to 224 × 224.
        batch_size: Images at a time.

    Raises:
        ConnectionError: If the weights are neither in torch's cache nor can be downloaded.
    """
    model = pretrained_resnet152().to(images.device)
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        parts = [model(imagenet_inputs(x)) for x in images.split(batch_size)]
    features: Array = torch.cat(parts).double().cpu().numpy()
    return features


def pretrained_resnet152() -> torch.nn.Module:
    """The ResNet-152 of torchvision with its first ImageNet weights, the paper's, in eval mode.

    Raises:
        ConnectionError: If the weights are neither in torch's cache nor can be downloaded.
    """
    torchvision = import_torchvision()
    weights = torchvision.models.ResNet152_Weights.IMAGENET1K_V1
    try:
        model: torch.nn.Module = torchvision.models.resnet152(weights=weights)
    except OSError as error:
        raise ConnectionError(
            f"no ResNet-152 weights: {error}; fetch {weights.url} into torch's cache "
            f"({torch.hub.get_dir()}/checkpoints)"
        ) from error
    return model.eval()


def imagenet_inputs(images: Tensor) -> Tensor:
    """Images in [−1, 1] as ImageNet networks want them: three channels, 224 × 224, standardised."""
    x = F.interpolate((images + 1) / 2, size=(224, 224), mode="bilinear", align_corners=False)
    x = x.expand(-1, 3, -1, -1)
    mean = x.new_tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    deviation = x.new_tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    return (x - mean) / deviation


def folder_images(path: str | Path, *, most: int = 50) -> dict[str, Tensor]:
    """A user's own photographs, one folder a class, as :func:`imagenet_inputs`.

    Args:
        path: Folder of the class folders.
        most: Images of each class, in the order of their names.

    Returns:
        By class, shape (images, 3, 224, 224).

    Raises:
        ValueError: If there is no class folder with an image.
    """
    torchvision = import_torchvision()
    try:
        found = torchvision.datasets.ImageFolder(str(path))
    except OSError as error:
        raise ValueError(f"{path} must hold a folder of images for each class: {error}") from error
    to_tensor = torchvision.transforms.functional.pil_to_tensor
    images: dict[str, list[Tensor]] = {name: [] for name in found.classes}
    for photograph, label in found:
        chosen = images[found.classes[label]]
        if len(chosen) < most:
            chosen.append(imagenet_inputs(to_tensor(photograph)[None] / 127.5 - 1)[0])
    return {name: torch.stack(chosen) for name, chosen in images.items()}


def at_size_28(images: Tensor) -> Tensor:
    """Smaller images stretched to 28 × 28, for the networks that are built for MNIST.

    Raises:
        ValueError: If the images are not grey, or larger.
    """
    if images.shape[1] != 1 or max(images.shape[2:]) > 28:
        raise ValueError(
            f"this network takes grey images of up to 28 × 28, not {tuple(images.shape[1:])}"
        )
    if images.shape[2:] == (28, 28):
        return images
    return F.interpolate(images, size=(28, 28), mode="bilinear", align_corners=False)
