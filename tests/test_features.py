"""Features that are clustered for comparison."""

import numpy as np
import pytest
import torch
from PIL import Image

from lecore.data.photographs import folder_images
from lecore.studies.he_su import features


def test_principal_features_keep_distances_when_they_keep_all_components():
    images = torch.randn(12, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    pixels, principal = features.pixel_features(images), features.principal_features(images)
    assert pixels.shape == (12, 6)
    distance = np.linalg.norm(pixels[:, None] - pixels, axis=2)
    np.testing.assert_allclose(np.linalg.norm(principal[:, None] - principal, axis=2), distance)
    assert features.principal_features(images, 2).shape == (12, 2)


def test_the_autoencoder_learns_from_both_sets():
    images = torch.zeros(5, 1, 28, 28)
    codes = features.autoencoder_features(images, torch.ones(3, 1, 28, 28), epochs=1)
    assert codes.shape == (5, 32)
    other = features.autoencoder_features(images, -torch.ones(3, 1, 28, 28), epochs=1)
    assert not np.allclose(codes, other)


def test_images_are_stretched_to_28_or_refused():
    constant = torch.full((2, 1, 8, 8), 0.3)
    torch.testing.assert_close(features.at_size_28(constant), torch.full((2, 1, 28, 28), 0.3))
    exact = torch.randn(1, 1, 28, 28)
    assert features.at_size_28(exact) is exact
    for shape in ((1, 3, 28, 28), (1, 1, 32, 32)):
        with pytest.raises(ValueError, match="grey images of up to 28"):
            features.at_size_28(torch.zeros(shape))


def test_pretrained_features_come_from_before_the_last_layer(monkeypatch):
    linear = torch.nn.Linear(64, 3)
    network = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Flatten(), linear)
    monkeypatch.setattr(features, "pretrained", {"efficientnet-lite0": network}.get)
    images = torch.rand(3, 1, 8, 8)
    found = features.pretrained_features(images, "efficientnet-lite0")
    np.testing.assert_allclose(found, images.flatten(1))


def test_a_folder_of_photographs_is_read_class_by_class(tmp_path):
    for name, value in (("cat", 0), ("plane", 255)):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (9, 7), (value,) * 3).save(tmp_path / name / f"{i}.png")
    found = folder_images(tmp_path, most=2)
    for name, value in (("cat", -1.0), ("plane", 1.0)):
        torch.testing.assert_close(found[name], torch.full((2, 3, 300, 300), value))
    for bad in (tmp_path / "cat", tmp_path / "none"):
        with pytest.raises(ValueError, match="folder of images for each class"):
            folder_images(bad)


def test_the_middle_of_a_photograph_is_what_counts(tmp_path):
    """Of 16 × 32 pixels the 14 × 14 in the middle: rows 1 to 14, columns 9 to 22."""
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[1:15, 9:23] = np.arange(14)[:, None] + 100
    (tmp_path / "class").mkdir()
    Image.fromarray(pixels).save(tmp_path / "class" / "one.png")
    found = folder_images(tmp_path, size=14)["class"][0]
    expected = torch.tensor(pixels[1:15, 9:23]).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(found, expected)
