"""Features that are clustered for comparison."""

import numpy as np
import pytest
import torch
from PIL import Image

from lecore.data.photographs import folder_images, imagenet_inputs
from lecore.data.torchvision_import import import_torchvision
from lecore.models import pretrained_resnet152
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


def test_imagenet_inputs_are_standardised_and_have_three_channels():
    x = imagenet_inputs(torch.ones(2, 1, 8, 8))  # white
    assert x.shape == (2, 3, 224, 224)
    white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(x[0, :, 0, 0], white)


@pytest.fixture
def tiny_resnet(monkeypatch):
    models = import_torchvision().models
    monkeypatch.setattr(models, "resnet152", lambda weights: models.resnet18(weights=None))


def test_pretrained_features_come_from_before_the_last_layer(tiny_resnet):
    found = features.resnet152_features(torch.zeros(3, 1, 8, 8), batch_size=2)
    assert found.shape == (3, 512)
    assert not pretrained_resnet152().training


def test_missing_weights_are_said_in_one_line(monkeypatch):
    def offline(weights):
        raise OSError("no network")

    monkeypatch.setattr(import_torchvision().models, "resnet152", offline)
    with pytest.raises(ConnectionError, match=r"fetch https://.*resnet152.*into torch's cache"):
        pretrained_resnet152()


def test_a_folder_of_photographs_is_read_class_by_class(tmp_path):
    for name, value in (("cat", 0), ("plane", 255)):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (9, 7), (value,) * 3).save(tmp_path / name / f"{i}.png")
    found = folder_images(tmp_path, most=2)
    assert {name: x.shape for name, x in found.items()} == dict.fromkeys(
        ("cat", "plane"), (2, 3, 224, 224)
    )
    assert found["cat"].max() < 0 < found["plane"].min()
    for bad in (tmp_path / "cat", tmp_path / "none"):
        with pytest.raises(ValueError, match="folder of images for each class"):
            folder_images(bad)
