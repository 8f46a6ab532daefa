"""Items without a part, losses that do not fit and sides of another width: told, or refused."""

import functools
import warnings

import pytest
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lecore import LecoreError, Study
from lecore.study.examples import examples
from tests.test_study_attacked import GIVEN, N, X, Y


class Items(Dataset):
    """A list as a data set."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


WHOLE, NO_LABEL, NO_INPUT = {"input": X[0], "label": 1}, {"input": X[1]}, {"label": 2}
FORMS = {
    "item": (list, Items, lambda items: DataLoader(Items(items), 2)),
    "batch": (lambda items: DataLoader(Items(items), 1),),
}
LACKS = {
    "targets": ([WHOLE, NO_LABEL], "{0} 1 lacks 'label', which {0} 0 has"),
    "inputs": ([WHOLE, NO_INPUT], "{0} 1 lacks 'input', which {0} 0 has"),
    "one more": ([NO_LABEL, WHOLE], "{0} 0 lacks 'label', which {0} 1 has"),
    "part of a tuple": ([(X[0], 1), (X[1],)], "{0} 1 lacks part 1, which {0} 0 has"),
    "part inside": ([({"a": X[0]}, 1), ({"b": X[1]}, 1)], "{0} 1 lacks 'a', which {0} 0 has"),
    "names": ([WHOLE, (X[1], 1)], "{0} 1 is a tuple, and {0} 0 a dict"),
}


@pytest.mark.parametrize("what", FORMS)
@pytest.mark.parametrize("name", LACKS)
def test_what_one_lacks_is_named(name, what):
    items, words = LACKS[name]
    for form in FORMS[what]:
        with pytest.raises(LecoreError, match=f"^{words.format(what)}; give"):
            examples(form(items))


def test_an_item_is_numbered_among_all():
    with pytest.raises(LecoreError, match=r"^item 5 lacks 'label', which item 4 has"):
        examples(DataLoader(Items([*[WHOLE] * 5, NO_LABEL]), 2))


SETS = {"test": Items([WHOLE]), "train": TensorDataset(X, Y)}


@pytest.mark.parametrize(
    "sets", [SETS, {k: DataLoader(SETS[k], 2) for k in SETS}, {"test": [], "train": SETS["train"]}]
)
def test_of_several_data_sets_one_is_wanted(sets):
    with pytest.raises(LecoreError, match=r"mapping of data sets .*; .* dataset\['train'\]$"):
        Study(nn.Linear(4, 3), sets, **GIVEN)


class Ends(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(x).sigmoid().squeeze(-1).clamp(1e-6, 1 - 1e-6)


LOGITS = (
    nn.BCEWithLogitsLoss(),
    F.binary_cross_entropy_with_logits,
    functools.partial(F.binary_cross_entropy_with_logits, reduction="sum"),
)


@pytest.mark.parametrize("loss", LOGITS)
@pytest.mark.parametrize("model", [Ends(), nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())])
def test_a_second_sigmoid_is_told_once(model, loss):
    with pytest.warns(UserWarning, match="takes the sigmoid of them once more") as told:
        Study(model, (X, Y.clamp(max=1)[:, None].float()), loss=loss)
    assert [one.filename for one in told] == [__file__]


class Small(nn.Linear):
    """Gives logits between 0 and 1."""

    def forward(self, x):
        return super().forward(x).abs() / 100


@pytest.mark.parametrize(
    ("model", "loss"),
    [(Small(4, 1), LOGITS[0]), (Ends(), "binary_cross_entropy"), (Ends(), "squared_error")],
)
def test_one_sigmoid_or_none_is_not_told(model, loss):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Study(model, (X, Y.clamp(max=1).float()), loss=loss)


@pytest.mark.parametrize("targets", [Y.float(), Y.double()[:, None]])
def test_class_numbers_of_any_type_want_a_loss(targets):
    with pytest.raises(
        LecoreError, match=r"whole numbers from 0 to 2, .*, want a loss; for classes"
    ):
        Study(nn.Linear(4, 3), (X, targets), learning_rate=0.1)


NUMBERS = {
    "beyond the classes": (nn.Linear(4, 3), Y + 1.0, None),
    "between them": (nn.Linear(4, 3), Y + 0.5, None),
    "of one output": (nn.Linear(4, 1), Y.float(), None),
    "an output each": (nn.Linear(4, 3), F.one_hot(Y).float(), None),
    "of a named loss": (nn.Linear(4, 3), Y.float(), "squared_error"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_other_numbers_do_not(name):
    model, targets, loss = NUMBERS[name]
    assert len(Study(model, (X, targets), loss=loss, learning_rate=0.1).train) == N


def test_a_test_side_of_another_width_is_refused():
    with pytest.raises(LecoreError, match=r"^test: the model does not take .* shape \(n, 3\)"):
        Study(nn.Linear(4, 3), (X, Y), (X[:, :3], Y), **GIVEN)
