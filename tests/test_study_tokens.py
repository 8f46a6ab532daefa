"""Tokens in a report: what a sentence says, and what moved each of its tokens."""

import re

import pytest
import torch
from test_study_language import IDS, MASK, RATE, N, speaker

from lecore import LecoreError
from lecore.study.study import Study
from lecore.study.tokens import moved, reader, sentence

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
LETTERS = "abcdefghijk"


class Spelling:
    """Puts a space between tokens and none in front, as tokenizers of subwords do."""

    def decode(self, ids):
        return " ".join(LETTERS[i] for i in ids)


def study(mask=MASK, **settings):
    rows = {"input_ids": IDS, "attention_mask": mask}
    sides = [{k: v[part] for k, v in rows.items()} for part in (slice(N), slice(N, None))]
    return Study(speaker(), *sides, loss="next token", **settings)


def test_a_sentence_is_the_sum_of_its_pieces():
    one = study()
    pieces = sentence(one.train, 1, Spelling().decode)
    assert "".join(pieces) == Spelling().decode(IDS[1, : MASK[1].sum()].tolist())
    assert len(pieces) == MASK[1].sum()
    assert pieces[1].startswith(" ")


@pytest.mark.parametrize("left", [False, True])
def test_the_mean_move_of_its_tokens_is_the_influence(left):
    one = study(MASK.flip(1) if left else MASK, learning_rate=RATE)
    pairs = [(0, 1), (2, 0)]
    found = moved(one, pairs, Spelling().decode)
    influence = one.influence(top=N).set_index(["train", "test"]).influence
    for pair in pairs:
        changes = [value for _, value in found[pair] if value is not None]
        assert sum(changes) / len(changes) == pytest.approx(influence[pair], rel=1e-9)
        assert [piece for piece, _ in found[pair]] == sentence(one.test, pair[1], Spelling().decode)


@pytest.mark.thorough
def test_a_report_colours_them(tmp_path):
    one = study(learning_rate=RATE)
    one.report(tmp_path / "words.html", tokenizer=Spelling())
    page = (tmp_path / "words.html").read_text(encoding="utf-8")
    (first, *_) = re.findall(r'<p class="tokens">(.*?)</p>', page)
    titles = [float(t.replace("−", "-")) for t in re.findall(r'title="([^"]*)"', first)]
    row = one.predicted()[1].losses.argmax().item()
    strongest = one.influence(top=1).query("test == @row").iloc[0]
    found = moved(one, [(int(strongest.train), row)], Spelling().decode)
    wanted = [value for _, value in found[int(strongest.train), row] if value is not None]
    torch.testing.assert_close(titles, wanted, rtol=0.06, atol=1e-12)
    assert Spelling().decode(IDS[N + row, : MASK[N + row].sum()].tolist()) in page


def test_what_tokens_say_is_escaped(tmp_path):
    study().report(tmp_path / "words.html", tokenizer=lambda ids: "<script>" * len(ids))
    assert "<script>" not in (tmp_path / "words.html").read_text(encoding="utf-8")


def broken(ids):
    raise KeyError(ids[0])


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [(3, "no tokenizer"), (broken, "cannot read"), (lambda ids: ids, "gives a list")],
)
def test_what_is_no_tokenizer_is_refused(tokenizer, said):
    with pytest.raises(LecoreError, match=said):
        reader(study(), tokenizer)


class Fewer(Spelling):
    def __len__(self):
        return int(IDS.max())


class WithGaps(Spelling):
    """Has fewer tokens than their largest number."""

    def __len__(self):
        return 2

    def get_vocab(self):
        return {"a": 0, "z": int(IDS.max())}


def test_tokens_that_a_tokenizer_cannot_know_are_told():
    words = f"the data hold token {IDS.max()}, and the tokenizer has {IDS.max()}; give the one that"
    with pytest.raises(LecoreError, match=words):
        reader(study(torch.ones_like(MASK)), Fewer())


def test_a_vocabulary_may_have_gaps():
    assert reader(study(), WithGaps())([0, 1]) == "a b"


def test_a_tokenizer_that_reads_nothing_is_told(tmp_path):
    with pytest.raises(LecoreError, match="reads nothing in any sentence"):
        study().report(tmp_path / "words.html", tokenizer=lambda ids: " " * len(ids))
    assert not list(tmp_path.iterdir())


def test_only_language_models_have_tokens():
    one = Study(
        torch.nn.Linear(2, 3), (torch.ones(4, 2), torch.arange(4) % 3), loss="cross_entropy"
    )
    with pytest.raises(LecoreError, match="no language model"):
        reader(one, Spelling())
