"""A study of language models: the change of each next token's log-probability is a real one."""

import copy
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lecore import LecoreError
from lecore.study.study import Study

N, M, T, WORDS, RATE = 4, 3, 6, 11, 0.1
IDS = torch.randint(0, WORDS, (N + M, T), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(T) < torch.tensor([6, 4, 5, 6, 3, 6, 5])[:, None]).long()


class Said(NamedTuple):
    logits: torch.Tensor
    past: object


class Speaker(nn.Module):
    """A causal transformer with tied words, as small as can be."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, 8), nn.Embedding(T, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, input_ids, attention_mask=None):
        length = input_ids.shape[1]
        hidden = self.words(input_ids) + self.places.weight[:length]
        ahead = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
        padding = None if attention_mask is None else attention_mask == 0
        hidden = self.block(hidden, src_mask=ahead, src_key_padding_mask=padding)
        return Said(self.head(hidden), None)


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def speaker():
    torch.manual_seed(3)
    return Speaker().eval()


def log_p(model, i, masked):
    """One sentence, token by token."""
    given = {"attention_mask": MASK[i : i + 1]} if masked else {}
    logits = model(IDS[i : i + 1], **given).logits[0]
    found = [logits[t].log_softmax(0)[IDS[i, t + 1]] for t in range(T - 1)]
    return torch.stack(found) * (MASK[i, 1:] if masked else 1)


def counted(i, masked, labels=None):
    counts = MASK[i, 1:] if masked else torch.ones(T - 1)
    return counts if labels is None else counts * (labels[i, 1:] != -100)


CASES = {
    "tokens": (lambda rows: IDS[rows], False, None),
    "masked": (lambda rows: {"input_ids": IDS[rows], "attention_mask": MASK[rows]}, True, None),
    "labelled": (
        lambda rows: {
            "input_ids": IDS[rows], "attention_mask": MASK[rows], "labels": LABELS[rows]
        },
        True, "labels",
    ),
}  # fmt: skip
LABELS = torch.where(torch.arange(T) < 2, -100, IDS)


@pytest.mark.parametrize("name", CASES)
def test_a_step_on_a_sentence_moves_each_token_as_a_real_one_does(name):
    data, masked, labels = CASES[name]
    labels = LABELS if labels else None
    settings = {"loss": "next token", "learning_rate": RATE}
    one = Study(speaker(), data(slice(0, N)), data(slice(N, N + M)), **settings)
    before, rows = speaker().double(), []
    for i in range(N):
        model, counts = copy.deepcopy(before), counted(i, masked, labels)
        (-(log_p(model, i, masked) * counts).sum() / counts.sum()).backward()
        torch.optim.SGD(model.parameters(), RATE).step()
        with torch.no_grad():
            moved = [log_p(model, j, masked) - log_p(before, j, masked) for j in range(N, N + M)]
        rows.append(torch.stack(moved))
    right = torch.stack(rows)
    assert right.shape == (N, M, T - 1)
    torch.testing.assert_close(one.change(), right, rtol=0, atol=1e-10 * float(right.abs().max()))


def test_influence_is_the_product_of_the_slopes():
    one = Study(speaker(), IDS[:N], IDS[N:], loss="next token")
    model, slopes = speaker().double(), []
    for i in range(N + M):
        logits = model(IDS[i : i + 1]).logits[0]
        loss = F.cross_entropy(logits[:-1], IDS[i, 1:])
        slopes.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
        )
    slopes = torch.stack(slopes)
    ((_, block),) = one.influences()
    torch.testing.assert_close(block, slopes[:N] @ slopes[N:].T, rtol=1e-9, atol=1e-12)


BAD = {
    "lengths": ([{"input_ids": IDS[:1, :4]}, {"input_ids": IDS[1:2]}], "pad them to one"),
    "numbers": (torch.randn(3, 4), "the data hold no tokens"),
    "nothing counts": (
        {"input_ids": IDS[:2], "labels": torch.full((2, T), -100)}, "sentence 0 has no token",
    ),
    "labels of sentences": (
        {"input_ids": IDS[:T], "labels": torch.zeros(T)}, r"labels has shape .*; give one a token",
    ),
    "one label": ({"input_ids": IDS[:3], "labels": torch.zeros(3, 1)}, r"shape \(3, 1\)"),
    "labels without names": ((IDS, LABELS), "give a mapping with input_ids and labels"),
    "a mask of sentences": (
        {"input_ids": IDS[:2], "attention_mask": torch.ones(2)}, r"attention_mask has shape \(2,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_text_is_refused(name):
    data, words = BAD[name]
    if isinstance(data, list):
        data = torch.utils.data.DataLoader(data, batch_size=1, collate_fn=lambda items: items[0])
    with pytest.raises(LecoreError, match=words):
        Study(speaker(), data, loss="next token")


@pytest.mark.parametrize(
    "more", [{"output": lambda said: said.logits / 2}, {"target": "input_ids"}]
)
def test_what_would_not_count_is_refused(more):
    with pytest.raises(LecoreError, match="leave output= and target= out"):
        Study(speaker(), {"input_ids": IDS}, loss="next token", **more)


def test_what_is_no_language_model_is_refused():
    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.head = nn.EmbeddingBag(WORDS, 4), nn.Linear(4, 2)

        def forward(self, ids):
            return self.head(self.words(ids))

    one = Study(Classifier(), IDS[:N], loss="next token", learning_rate=RATE)
    with pytest.raises(LecoreError, match=r"no logits of shape .*give a language model"):
        one.change()
