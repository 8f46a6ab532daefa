"""Losses that think in another precision than the calculation: right, or said."""

import itertools
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lecore import LecoreError, Study, loss_kernel, output_gradient, prediction_change
from lecore.engine.rounding import RoundingWarning
from lecore.losses import cross_entropy, half_squared_error, squared_error
from lecore.training import train
from tests.oracle import exactly, seed

X, Y = torch.linspace(-1, 1, 12).double().sin().view(4, 3), torch.tensor([0, 2, 1, 2])
WEIGHT = torch.tensor([0.2, 1.0, 3.0])


class Critic(nn.Module):
    """A loss with a network and a temperature of its own."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(1.3))
        self.look = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 3))

    def forward(self, f, t):
        return F.cross_entropy(self.look(f) * self.temperature.exp(), t)


class Cast(nn.Sequential):
    def forward(self, f, t):
        return self[0](f.float(), t)


class ReadsByGru(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(1, 3, batch_first=True)

    def forward(self, f, t):
        return F.cross_entropy(self.gru(f[None, :, None])[0][0, -1], t)


LOSSES = {
    "a cast": lambda: lambda f, t: F.cross_entropy(f.float(), t),
    "a cast to a type": lambda: lambda f, t: F.cross_entropy(f.to(torch.float32) * 1.1, t),
    "made of classes": lambda: lambda f, t: -(F.one_hot(t, 3).float() / 7 * f.log_softmax(0)).sum(),
    "weights of a margin": lambda: nn.MultiMarginLoss(weight=WEIGHT),
    "a network": Critic,
    "a network of a cast": lambda: Cast(Critic()),
    "a recurrent network": ReadsByGru,
    "one that makes room": lambda: (
        lambda f, t: F.cross_entropy(
            torch.zeros(3).index_copy(0, torch.tensor([2, 0, 1]), f.float()), t
        )
    ),
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", LOSSES)
def test_float32_inside_a_loss_is_float64_in_a_calculation_of_float64(name):
    model = nn.Linear(3, 3)
    with seed(5):
        loss = LOSSES[name]()
    found = output_gradient(model, X, Y, loss=loss)
    right = loss.double() if isinstance(loss, nn.Module) else loss
    if name == "weights of a margin":
        right = nn.MultiMarginLoss(weight=WEIGHT.double())
    f = F.linear(X, model.weight.double(), model.bias.double()).detach().requires_grad_()
    with exactly():
        sum(right(*pair) for pair in zip(f, Y, strict=True)).backward()
    torch.testing.assert_close(found, f.grad, rtol=1e-12, atol=1e-14)


def test_a_loss_that_computes_in_16_bits_is_told():
    with pytest.warns(RoundingWarning, match="the loss computes in bfloat16 on the way"):
        output_gradient(nn.Linear(3, 3), X, Y, loss=lambda f, t: F.cross_entropy(f.bfloat16(), t))


def test_nothing_is_told_of_a_calculation_in_16_bits_that_was_asked_for():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output_gradient(nn.Linear(3, 3), X, Y, loss=nn.CrossEntropyLoss(), dtype=torch.bfloat16)


class Keeps:
    """Keeps a mean of predictions in float32."""

    def __init__(self, write):
        self.mean, self.write = torch.zeros(3), write

    def __call__(self, f, t):
        self.write(self.mean, f.detach().float())
        return F.cross_entropy(f - self.mean, t)


WRITES = {
    "in place": lambda mean, f: mean.mul_(0.9).add_(f),
    "by a view": lambda mean, f: mean.view(-1)[:2].add_(f[:2]),
    "past autograd": lambda mean, f: mean.data.add_(f),
    "to places": lambda mean, f: mean.__setitem__(0, f[0]),
    "by an operator": lambda mean, f: mean.__iadd__(f),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_a_loss_keeps_in_float32_is_seen(name):
    with pytest.raises(LecoreError, match="changes from call to call"):
        prediction_change(nn.Linear(3, 3), X, Y, learning_rate=0.1, loss=Keeps(WRITES[name]))


@pytest.mark.thorough
def test_a_loss_that_wants_float32_is_taken_as_it_is():
    def loss(f, t):
        assert f.float().dtype == torch.float32
        return F.cross_entropy(f, t)

    model = nn.Linear(3, 3)
    right = output_gradient(model, X, Y, loss=F.cross_entropy)
    torch.testing.assert_close(output_gradient(model, X, Y, loss=loss), right)


def test_of_our_own_losses_what_somebody_patched_is_tried_out(monkeypatch):
    plain, calls = F.cross_entropy, itertools.count(1)
    patched = lambda f, y, **rest: next(calls) * plain(f, y)  # noqa: E731
    monkeypatch.setattr(F, "cross_entropy", patched)
    with pytest.raises(LecoreError, match="draws random numbers"):
        loss_kernel(nn.Linear(3, 4), torch.randn(5, 3), torch.arange(5) % 4, loss=cross_entropy)


OF_NUMBERS = {
    "squared_error": squared_error, "half_squared_error": half_squared_error,
    "a module": nn.MSELoss(), "in a function": lambda f, t: 2 * F.l1_loss(f, t).sqrt(),
    "partial": partial(F.smooth_l1_loss, beta=0.1), "of counts": nn.PoissonNLLLoss(),
    "of signs": nn.BCEWithLogitsLoss(), "of labels": nn.MultiLabelSoftMarginLoss(),
    "by hand": lambda f, t: ((f - t) ** 2).mean(), "by hand, turned": lambda f, t: (t - f).norm(),
    "in place": lambda f, t: f.sub_(t).square().sum(),
    "of divergence": lambda f, t: F.kl_div(f.log_softmax(-1), t, reduction="batchmean"),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_the_number_of_a_class_is_no_target_of_a_loss_of_numbers(name):
    with pytest.raises(LecoreError, match=r"of 3 outputs is one whole number.*cross_entropy"):
        loss_kernel(nn.Linear(3, 3).double(), X, Y, loss=OF_NUMBERS[name])


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_targets_that_would_be_paired_with_each_output_are_refused(name):
    """With (outputs, 1) beside (outputs,) torch takes all pairs of outputs and targets."""
    with pytest.raises(LecoreError, match=r"a target has shape \(3, 1\)"):
        loss_kernel(nn.Linear(3, 3).double(), X, X[:, :, None].abs(), loss=OF_NUMBERS[name])


@pytest.mark.parametrize("targets", [Y, X[:, :, None]])
def test_networks_are_not_trained_on_what_is_not_measured(targets):
    with pytest.raises(LecoreError, match=r"a target has shape|one whole number"):
        train(nn.Linear(3, 3).double(), X, targets, loss=squared_error, learning_rate=0.1, epochs=1)


@pytest.mark.parametrize("reduction", ["batchmean", "sum"])
def test_a_mean_over_positions_is_one(reduction):
    """An example of four positions with three classes each, as in the distillation of tokens."""
    model = nn.Linear(3, 12).double()
    targets = X[:, :, None].expand(-1, 3, 4).reshape(-1, 4, 3).softmax(-1)

    def loss(f, t):
        told = F.kl_div(f.view(4, 3).log_softmax(-1), t, reduction=reduction)
        return told if reduction == "batchmean" else told / 4

    def by_hand(f, t):
        return (t * (t.log() - f.view(4, 3).log_softmax(-1))).sum() / 4

    found = loss_kernel(model, X, targets, loss=loss)
    torch.testing.assert_close(found, loss_kernel(model, X, targets, loss=by_hand))


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_a_cast_number_stands_for_all_outputs(name):
    model, loss = nn.Linear(3, 3).double(), OF_NUMBERS[name]
    shared = (Y == 1).double()
    one = loss_kernel(model, X, shared, loss=loss)
    each = loss_kernel(model, X, shared[:, None].expand(-1, 3).clone(), loss=loss)
    torch.testing.assert_close(one, each)


def test_whole_numbers_for_each_output_are_numbers():
    model, hot = nn.Linear(3, 3).double(), F.one_hot(Y, 3)
    change = prediction_change(model, X, hot, learning_rate=0.1, loss=nn.MSELoss())
    right = prediction_change(model, X, hot.double(), learning_rate=0.1, loss=nn.MSELoss())
    torch.testing.assert_close(change, right)


@pytest.mark.parametrize("loss", [cross_entropy, nn.CrossEntropyLoss()])
@pytest.mark.parametrize("targets", [Y * 0, (Y > 0).long(), (Y[:, None] > 0).double()])
def test_classes_of_one_output_are_refused(loss, targets):
    """Its softmax is 1, so that no step would move anything."""
    with pytest.raises(LecoreError, match=r"cross-entropy of one output is 0.*BCEWithLogitsLoss"):
        prediction_change(nn.Linear(3, 1).double(), X, targets, learning_rate=0.1, loss=loss)


class TruthFirst(nn.Module):
    def forward(self, target, prediction):
        return -(target * prediction.log()).sum()


def keras(y_true, y_pred):
    return -(y_true * y_pred.log()).sum()


@pytest.mark.parametrize("loss", [TruthFirst(), keras, partial(keras)])
def test_a_loss_that_takes_the_target_first_is_refused(loss):
    """It would give numbers, of targets that are probabilities."""
    model, soft = nn.Sequential(nn.Linear(3, 3), nn.Softmax(1)).double(), X.softmax(1)
    with pytest.raises(LecoreError, match=r"first, .*; give lambda f, y: loss\(y, f\)"):
        prediction_change(model, X, soft, learning_rate=0.1, loss=loss)
    found = output_gradient(model, X, soft, loss=lambda f, y: loss(y, f))
    torch.testing.assert_close(found, (-soft / model(X)).detach())


@pytest.mark.parametrize("loss", [cross_entropy, F.cross_entropy, nn.CrossEntropyLoss()])
def test_a_softmax_before_that_of_the_cross_entropy_is_told(loss):
    model = nn.Sequential(nn.Linear(3, 3), nn.Softmax(1)).double()
    with pytest.warns(UserWarning, match="takes the softmax of them once more"):
        found = output_gradient(model, X, Y, loss=loss)
    right = output_gradient(model, X, Y, loss=lambda f, y: F.cross_entropy(f, y))
    torch.testing.assert_close(found, right)


OF_PROBABILITIES = {
    "by hand": lambda f, y: -(y * f.log()).sum(),
    "of counts": nn.PoissonNLLLoss(log_input=False),
    "of classes": lambda f, y: -f.log()[y.argmax()] + f.square().sum(),
}


@pytest.mark.parametrize("name", OF_PROBABILITIES)
@pytest.mark.parametrize("row", [0, 2])
def test_a_loss_that_is_nan_is_refused(name, row):
    """Its gradient alone, such as that of log f, may look like any other number."""
    model, x = nn.Linear(3, 3, bias=False).double(), torch.eye(3).double()
    model.weight.data = torch.full_like(model.weight, 0.5)
    model.weight.data[:, row] *= -1
    with pytest.raises(LecoreError, match="finite"):
        prediction_change(model, x, x, learning_rate=0.1, loss=OF_PROBABILITIES[name])
    with pytest.raises(LecoreError, match="finite"):
        loss_kernel(model, x, x, loss=OF_PROBABILITIES[name])


def test_predictions_that_a_loss_does_not_take_are_told_in_one_line():
    model, targets = nn.Linear(1, 1, bias=False), torch.ones(2, 1)
    model.weight.data.fill_(0.5)
    study = Study(model, (torch.tensor([[1.0], [-1.0]]), targets), loss="binary_cross_entropy")
    with pytest.raises(LecoreError, match=r"the loss fails on some predictions .* between 0 and 1"):
        study.predicted()


@pytest.mark.parametrize("name", ["a mean of rows", "over their number", "classes"])
def test_networks_are_not_trained_with_a_loss_of_batches(name):
    loss, targets = OF_BATCHES[name]
    with pytest.raises(LecoreError, match="for batches"):
        train(nn.Linear(3, 3).double(), X, targets, loss=loss, learning_rate=0.1, epochs=1)


LOOK_AT_VALUES = {
    "labels that are missing": lambda f, t: (f - t)[~t.isnan()].square().mean(),
    "a likelihood of torch": lambda f, t: F.gaussian_nll_loss(f[0], X[0, 0], f[1].exp()),
}


@pytest.mark.parametrize("name", LOOK_AT_VALUES)
def test_networks_are_trained_with_a_loss_that_looks_at_values(name):
    loss, y = LOOK_AT_VALUES[name], X.clone()
    y[0, 1] = y[2, 0] = torch.nan
    ours, theirs = nn.Linear(3, 3).double(), nn.Linear(3, 3).double()
    theirs.load_state_dict(ours.state_dict())
    train(ours, X, y, loss=loss, learning_rate=0.1, epochs=1)
    sum(loss(f, t) / 4 for f, t in zip(theirs(X), y, strict=True)).backward()
    torch.optim.SGD(theirs.parameters(), lr=0.1).step()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize(
    ("outputs", "loss"),
    [(1, cross_entropy), (1, nn.CrossEntropyLoss()), (3, lambda f, y: (f - y).square().sum())],
)
def test_networks_are_not_trained_on_classes_that_are_none(outputs, loss):
    with pytest.raises(LecoreError, match=r"one output is 0|is one whole number"):
        train(nn.Linear(3, outputs), X.float(), Y * 0, loss=loss, learning_rate=0.1, epochs=1)


def test_classes_may_be_a_distance_apart():
    model, grid = nn.Linear(3, 3).double(), torch.arange(3)
    for loss in (
        lambda f, y: (f.softmax(-1) * (grid - y).abs()).sum(),
        lambda f, y: ((f.softmax(-1) * grid).sum() - y).square(),
    ):
        found = output_gradient(model, X, Y, loss=loss)
        f = model(X).detach().requires_grad_()
        sum(loss(*pair) for pair in zip(f, Y, strict=True)).backward()
        torch.testing.assert_close(found, f.grad)


def test_one_output_may_have_several_targets():
    model, loss = nn.Linear(3, 1).double(), lambda f, y: (f - y).square().mean()
    found = output_gradient(model, X, X, loss=loss)
    torch.testing.assert_close(found, 2 * (model(X).detach() - X.mean(1, keepdim=True)))


OF_BATCHES = {
    "a mean of rows": (lambda f, y: ((f - y) ** 2).mean(0).sum(), X + 1),
    "over their number": (lambda f, y: ((f - y) ** 2).sum() / len(f), X + 1),
    "over that of targets": (
        lambda f, y: F.mse_loss(f, y, reduction="sum") / y.shape[0], X + 1,
    ),
    "classes": (lambda f, y: F.cross_entropy(f, y, reduction="sum") / f.size(0), Y),
    "soft classes": (lambda f, y: -(y * f.log_softmax(-1)).mean(0).sum(), X.softmax(1)),
    "reshaped": (lambda f, y: ((f.view(len(y), -1) - y) ** 2).mean(), X + 1),
}  # fmt: skip
BY_COLUMN = {
    "a column": (lambda f, y: F.mse_loss(f[:, 0], y), X[:, 0]),
    "over classes": (lambda f, y: F.nll_loss(f.log_softmax(1), y), Y),
    "angles": (lambda f, y: 1 - F.cosine_similarity(f, y).mean(), X + 1),
}


@pytest.mark.parametrize("name", OF_BATCHES | BY_COLUMN)
def test_a_loss_of_batches_is_refused_with_how_it_is_one_of_one_prediction(name):
    loss, targets = (OF_BATCHES | BY_COLUMN)[name]
    model = nn.Linear(3, 3).double()
    with pytest.raises(LecoreError, match=r"for batches.*give lambda f, y: loss\(f\[None\], y\["):
        prediction_change(model, X, targets, learning_rate=0.1, loss=loss)
    found = output_gradient(model, X, targets, loss=lambda f, y: loss(f[None], y[None]))
    f = model(X).detach().requires_grad_()
    sum(loss(f[i : i + 1], targets[i : i + 1]) for i in range(4)).backward()
    torch.testing.assert_close(found, f.grad)


def test_a_loss_of_batches_is_seen_by_one_example():
    loss, targets = OF_BATCHES["over their number"]
    with pytest.raises(LecoreError, match="for batches"):
        prediction_change(nn.Linear(3, 3), X[:1], targets[:1], learning_rate=0.1, loss=loss)


OF_ONE = {
    "neighbouring outputs": lambda f, y: F.mse_loss(f, y) + (f[1:] - f[:-1]).abs().sum(),
    "in a circle": lambda f, y: F.mse_loss(f, y) + (f - f.roll(1, 0)).square().sum(),
    "sums so far": lambda f, y: (f.cumsum(0) - y.cumsum(0)).abs().sum(),
    "in order": lambda f, y: (f.sort(0).values - y.sort(0).values).square().sum(),
    "some outputs": lambda f, y: F.mse_loss(f[:2], y[:2]),
    "the first output": lambda f, y: (f[0] - y[0]).square() + 0.1 * f.square().sum(),
    "of probabilities": lambda f, y: -(y * f.log_softmax(0)).sum(),
    "centred": lambda f, y: ((f - f.mean(0)) * y).sum() + f.square().sum(),
}


@pytest.mark.parametrize("name", OF_ONE)
def test_a_loss_may_go_along_the_outputs(name):
    model = nn.Linear(3, 3).double()
    found = output_gradient(model, X, X + 1, loss=OF_ONE[name])
    f = model(X).detach().requires_grad_()
    sum(OF_ONE[name](*pair) for pair in zip(f, X + 1, strict=True)).backward()
    torch.testing.assert_close(found, f.grad)


SEVERAL = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0.2, 0.3, 0.5], [0, 0, 0]])


@pytest.mark.parametrize("loss", [cross_entropy, nn.CrossEntropyLoss(), F.cross_entropy])
def test_several_classes_of_an_example_are_no_probabilities(loss):
    with pytest.warns(UserWarning, match=r"targets of rows 0, 3 are no probabilities of classes"):
        output_gradient(nn.Linear(3, 3), X, SEVERAL, loss=loss)


def test_several_classes_of_an_example_are_fine_where_each_is_asked_about():
    output_gradient(nn.Linear(3, 3), X, SEVERAL, loss=nn.BCEWithLogitsLoss())
