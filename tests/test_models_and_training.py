"""Networks: shapes, parameters, seeds. Training: against plain torch, divergence, resuming."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lecore import models, seeded
from lecore.errors import DivergenceError, LecoreError
from lecore.losses import cross_entropy
from lecore.studies.he_su.autoencoder import autoencoder
from lecore.training import train


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_sizes_of_the_papers_networks():
    assert count(models.two_layer(784)) == 784 * 40960 + 40960 + 40960 + 1
    assert count(models.three_layer(3, 10)) == 3 * 10 + 10 + 10 * 10 + 10 + 10 + 1
    assert count(models.mnist_cnn()) == 20 * 26 + 50 * 501 + 800 * 500 + 500 + 501
    assert models.mnist_cnn()(torch.zeros(2, 1, 28, 28)).shape == (2, 1)
    resnet = models.resnet18(outputs=3).eval()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in resnet.modules())
    assert resnet(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    coder = autoencoder()
    assert coder.encoder(torch.zeros(2, 1, 28, 28)).shape == (2, 8, 2, 2)
    assert coder(torch.zeros(2, 1, 28, 28)).shape == (2, 1, 28, 28)


def test_the_small_cnn_fits_images_of_any_size():
    for shape in ((1, 8, 8), (3, 32, 32), (3, 17, 9)):
        assert models.image_cnn(shape, width=4, outputs=5)(torch.zeros(2, *shape)).shape == (2, 5)
    with pytest.raises(ValueError, match="need 8 × 8 or more"):
        models.image_cnn((1, 7, 8))


def test_skip_sum_and_sign_output():
    network = models.three_layer_resnet(3, 5)
    x = torch.randn(2, 3)
    h = torch.relu(network[1](x))
    expected = network[4](h + torch.relu(network[3].linear(h)))
    torch.testing.assert_close(network(x), expected)
    sign = models.sign_output(3, 50)
    assert set(sign[3].weight.flatten().tolist()) == {-1.0, 1.0}
    assert [p.requires_grad for p in sign.parameters()] == [True, True, False]


def test_probability_linear_and_ntk_parameterisation():
    p = models.two_layer(2, 8, probability=True)(torch.randn(9, 2))
    assert ((p > 0) & (p < 1)).all()
    linear = models.three_layer(2, 8, "linear").double()
    a, b = torch.randn(2, 2).double()
    middle = linear(((a + b) / 2)[None])
    torch.testing.assert_close(middle, (linear(a[None]) + linear(b[None])) / 2)
    ntk = models.two_layer(4, 1000, parameterization="ntk")
    assert ntk[1].weight.std().item() == pytest.approx(1, abs=0.05)
    x = torch.randn(3, 4)
    torch.testing.assert_close(ntk[1](x), x @ ntk[1].weight.T / 2 + ntk[1].bias)


def test_same_seed_same_weights_and_no_trace_in_the_global_state():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    a, b, c = (models.two_layer(2, 8, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(a[1].weight, b[1].weight)
    assert not torch.equal(a[1].weight, c[1].weight)
    state = np.random.get_state()[1].copy()
    with seeded(3) as rng:
        first = rng.random()
        np.random.rand()
    assert (np.random.get_state()[1] == state).all()
    with seeded(3) as rng:
        assert rng.random() == first
    with pytest.raises(LecoreError, match="whole number from 0"), seeded(-1):
        pass


def test_bad_networks():
    with pytest.raises(ValueError, match="no activation 'swoosh'"):
        models.two_layer(2, 8, "swoosh")
    with pytest.raises(ValueError, match="parameterization"):
        models.two_layer(2, 8, parameterization="mup")
    with pytest.raises(ValueError, match="whole number"):
        models.two_layer(2, 0)


X = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
Y = X[:, :1] * 0.5


def plain_torch(model, optimizer, orders):
    for rows in orders:
        optimizer.zero_grad()
        ((model(X[rows]) - Y[rows]) ** 2).mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_full_batch_training_is_plain_torch(name):
    ours, theirs = models.two_layer(2, 8), models.two_layer(2, 8)
    history = train(ours, X, Y, learning_rate=0.05, epochs=20, optimizer=name, weight_decay=0.01)
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name]
    plain_torch(theirs, make(theirs.parameters(), lr=0.05, weight_decay=0.01), [slice(None)] * 20)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    assert history.steps == 20
    assert history.losses[-1] < history.losses[0]


@pytest.mark.parametrize("shuffle", ["once", "each epoch"])
def test_batches_cover_every_example_in_one_order_or_a_new_one(shuffle):
    inputs = torch.arange(7.0)[:, None]
    model, seen = nn.Linear(1, 1), []
    model.register_forward_pre_hook(lambda _, args: seen.extend(args[0].flatten().tolist()))
    train(model, inputs, inputs, learning_rate=1e-9, epochs=2, batch_size=3, shuffle=shuffle)
    first, second = seen[:7], seen[7:]
    assert sorted(first) == sorted(second) == inputs.flatten().tolist()
    assert (first == second) == (shuffle == "once")


def test_callback_sees_every_step():
    steps = []
    train(
        models.two_layer(2, 8),
        X,
        Y,
        learning_rate=0.1,
        epochs=3,
        callback=lambda s, _: steps.append(s),
    )
    assert steps == [0, 1, 2, 3]


def test_divergence_is_named_early():
    with pytest.raises(DivergenceError, match="learning rate below 100"):
        train(models.two_layer(2, 8), X, Y, learning_rate=100.0, epochs=500)
    with pytest.raises(DivergenceError, match="at step 0"):
        train(models.two_layer(2, 8), X, Y + torch.nan, learning_rate=0.1, epochs=1)
    with pytest.raises(DivergenceError, match="at step 0"):
        train(models.two_layer(2, 8), X, Y, learning_rate=0.1, epochs=1, loss_limit=1e-9)


class Stop(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("shuffle", ["once", "each epoch"])
def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path, optimizer, shuffle):
    settings = {
        "learning_rate": 0.05,
        "epochs": 6,
        "batch_size": 4,
        "optimizer": optimizer,
        "shuffle": shuffle,
    }
    whole, resumed = models.two_layer(2, 8), models.two_layer(2, 8)
    complete = train(whole, X, Y, **settings)
    path = tmp_path / "run.pt"

    def stop(step, _):
        if step == 11:
            raise Stop

    with pytest.raises(Stop):
        train(resumed, X, Y, **settings, checkpoint=path, checkpoint_every=5, callback=stop)
    assert path.exists()
    fresh = models.two_layer(2, 8, seed=9)
    history = train(fresh, X, Y, **settings, checkpoint=path)
    torch.testing.assert_close(fresh.state_dict(), whole.state_dict())
    assert history.losses == pytest.approx(complete.losses)
    assert list(tmp_path.iterdir()) == []


def test_foreign_or_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "run.pt"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="delete it"):
        train(models.two_layer(2, 8), X, Y, learning_rate=0.1, epochs=1, checkpoint=path)
    model = models.two_layer(2, 8)
    state = {"settings": [], "model": model.state_dict(), "optimizer": {}, "losses": []}
    torch.save(state, path)
    with pytest.raises(LecoreError, match="is damaged, or no checkpoint; delete it"):
        train(model, X, Y, learning_rate=0.1, epochs=1, checkpoint=path)


class Scaled(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.layer, self.factor = nn.Linear(2, 1), factor

    def forward(self, x):
        return self.factor * self.layer(x)


@pytest.fixture
def interrupted(tmp_path):
    """Settings of a run, of which a checkpoint is left."""

    def stop(step, _):
        if step == 7:
            raise Stop

    settings = {
        "model": Scaled(), "inputs": X, "targets": Y, "learning_rate": 0.05, "epochs": 3,
        "batch_size": 4, "loss": lambda f, t: 2 * (f - t).square().sum(), "optimizer": "adam",
        "checkpoint": tmp_path / "run.pt",
    }  # fmt: skip
    with pytest.raises(Stop):
        train(**settings, checkpoint_every=1, callback=stop)
    return settings


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"model": Scaled(2.0)}, "other model attributes"),
        ({"model": Scaled().eval()}, "other model attributes"),
        ({"model": Scaled().double()}, "other parameters"),
        ({"model": models.two_layer(2, 8)}, "another model class"),
        ({"inputs": X + 1e-6}, "other data"),
        ({"targets": Y + 1e-6}, "other data"),
        ({"loss": lambda f, t: 3 * (f - t).square().sum()}, "another loss"),
        ({"learning_rate": 0.06}, "another learning rate"),
        ({"optimizer": "sgd"}, "another optimizer"),
        ({"weight_decay": 0.1}, "another weight decay"),
        ({"batch_size": 5}, "another batch size"),
        ({"drop_last": True}, "another drop last"),
        ({"shuffle": "each epoch"}, "another shuffle"),
        ({"seed": 1}, "another seed"),
        ({"key": "a"}, "another key"),
    ],
)
def test_the_checkpoint_of_any_other_run_is_refused_by_name(interrupted, changed, difference):
    with pytest.raises(LecoreError, match=f"run.pt holds the work of .*{difference}.*; delete it"):
        train(**interrupted | changed)
    assert train(**interrupted).steps == 9


def test_a_checkpoint_goes_on_for_more_epochs_and_not_for_fewer(interrupted):
    with pytest.raises(LecoreError, match="holds 6 steps, and only 3 are wanted; take at least"):
        train(**interrupted | {"epochs": 1})
    assert train(**interrupted | {"epochs": 5}).steps == 15


def test_progress_goes_to_standard_error(capsys):
    model = models.two_layer(2, 8)
    before = copy.deepcopy(model.state_dict())
    train(model, X, Y, learning_rate=0.1, epochs=3, progress=True)
    assert "step" in capsys.readouterr().err
    assert not torch.equal(before["1.weight"], model.state_dict()["1.weight"])


def test_classifiers_leave_the_accuracy_of_each_batch_and_may_drop_the_last(tmp_path):
    labels = torch.arange(len(X)) % 3
    settings = {"learning_rate": 0.05, "epochs": 4, "batch_size": 4, "optimizer": "adam"}
    settings |= {"loss": cross_entropy, "drop_last": True, "seed": 1}
    model, seen = models.two_layer(2, 8, outputs=3), []

    def look(step, network):
        if step == 6:
            raise Stop
        seen.append(copy.deepcopy(network))

    path = tmp_path / "run.pt"
    with pytest.raises(Stop):
        train(model, X, labels, **settings, callback=look, checkpoint=path, checkpoint_every=2)
    history = train(models.two_layer(2, 8, outputs=3), X, labels, **settings, checkpoint=path)
    assert history.steps == len(history.accuracies) == 4 * (len(X) // 4)
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(1))
    for step, rows in enumerate(order.split(4)[: len(X) // 4]):
        right = (seen[step](X[rows]).argmax(dim=1) == labels[rows]).float().mean()
        assert history.accuracies[step] == right
    assert train(models.two_layer(2, 8), X, Y, learning_rate=0.1, epochs=1).accuracies == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"optimizer": "lion"},
        {"shuffle": "never"},
        {"epochs": -1},
        {"batch_size": 0},
        {"targets": Y[:3]},
        {"batch_size": 1000, "drop_last": True},
    ],
)
def test_bad_training_arguments(wrong):
    arguments = {"inputs": X, "targets": Y, "learning_rate": 0.1, "epochs": 1} | wrong
    with pytest.raises(
        ValueError, match=r"must be|as many|a batch of 1000|no optimizer|no shuffle"
    ):
        train(models.two_layer(2, 8), **arguments)


def test_an_error_of_ours_in_a_loss_is_passed_on_as_it_is():
    def refuses(prediction, target):
        raise LecoreError("no loss today", "come again")

    with pytest.raises(LecoreError, match=r"^no loss today; come again$"):
        train(nn.Linear(2, 3), X, Y, learning_rate=0.1, epochs=1, loss=refuses)
