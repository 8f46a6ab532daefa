"""A language model read from a file, and what steps on its tokens do to others."""

import copy
import itertools
import struct

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lecore import LecoreError, Study
from lecore.studies.own import languages, squeezing
from lecore.studies.own import three_factors as three
from lecore.studies.own import whose_sentence as whose
from lecore.studies.own.llama import Llama, Shape, read_llama
from lecore.studies.own.story_tokens import BEGIN, FIRST_BYTE, StoryTokens

SHAPE = Shape(dim=8, hidden=6, layers=2, heads=4, shared=2, words=11, length=7)
TOKENS = torch.randint(0, 11, (5, 7), generator=torch.Generator().manual_seed(0))
RATE = 0.05


def numbers(seed=0):
    """All weights in the order of the file, and what llama2.c writes behind them."""
    rng = np.random.default_rng(seed)
    d, h, n, kv = SHAPE.dim, SHAPE.hidden, SHAPE.layers, SHAPE.shared * SHAPE.dim // SHAPE.heads
    sizes = {
        "words": (SHAPE.words, d), "norm1": (n, d), "q": (n, d, d), "k": (n, kv, d),
        "v": (n, kv, d), "o": (n, d, d), "norm2": (n, d), "w1": (n, h, d), "w2": (n, d, h),
        "w3": (n, h, d), "norm": (d,), "turns": (SHAPE.length * d // SHAPE.heads,),
    }  # fmt: skip
    return {name: rng.normal(size=size).astype("<f4") for name, size in sizes.items()}


def written(path, header=SHAPE, arrays=None, cut=0):
    arrays = numbers() if arrays is None else arrays
    raw = struct.pack("<7i", *header) + b"".join(a.tobytes() for a in arrays.values())
    path.write_bytes(raw[: len(raw) - cut])
    return path


def slow_logits(tokens, w):
    """The formulas, place by place and head by head."""
    size, share = SHAPE.dim // SHAPE.heads, SHAPE.heads // SHAPE.shared

    def norm(x, scale):
        return x / np.sqrt((x**2).mean() + 1e-5) * scale

    def turned(x, place):
        x = x.copy()
        for i in range(0, len(x), 2):
            angle = place / 10000 ** ((i % size) / size)
            pair = complex(x[i], x[i + 1]) * np.exp(1j * angle)
            x[i], x[i + 1] = pair.real, pair.imag
        return x

    w = {name: array.astype(float) for name, array in w.items()}
    hidden = [w["words"][t] for t in tokens]
    for b in range(SHAPE.layers):
        read = [norm(x, w["norm1"][b]) for x in hidden]
        q = [turned(w["q"][b] @ x, t) for t, x in enumerate(read)]
        k = [turned(w["k"][b] @ x, t) for t, x in enumerate(read)]
        v = [w["v"][b] @ x for x in read]
        for t in range(len(tokens)):
            mixed = []
            for head in range(SHAPE.heads):
                mine = slice(head * size, (head + 1) * size)
                theirs = slice(head // share * size, (head // share + 1) * size)
                like = np.array([q[t][mine] @ k[s][theirs] for s in range(t + 1)]) / size**0.5
                weights = np.exp(like) / np.exp(like).sum()
                mixed.append(sum(a * v[s][theirs] for s, a in enumerate(weights)))
            x = hidden[t] + w["o"][b] @ np.concatenate(mixed)
            seen = norm(x, w["norm2"][b])
            gate = w["w1"][b] @ seen
            hidden[t] = x + w["w2"][b] @ (gate / (1 + np.exp(-gate)) * (w["w3"][b] @ seen))
    return np.stack([w["words"] @ norm(x, w["norm"]) for x in hidden])


def test_a_file_gives_the_logits_of_the_formulas(tmp_path):
    model = read_llama(written(tmp_path / "m.bin")).double()
    with torch.no_grad():
        found = model(TOKENS)
    right = np.stack([slow_logits(row.tolist(), numbers()) for row in TOKENS])
    np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-9)


UNFIT = {
    "missing": (lambda path: path, "no such file.*LECORE_DATA"),
    "short": (lambda path: written(path, cut=10**3), "bytes, but its header wants"),
    "cut": (lambda path: written(path, cut=4), "bytes, but its header wants"),
    "header": (lambda path: written(path, SHAPE._replace(words=-11)), "header says the sizes"),
    "huge": (lambda path: written(path, SHAPE._replace(words=60000)), "header wants"),
    "heads": (lambda path: written(path, SHAPE._replace(heads=3)), "cannot have the sizes"),
    "numbers": (
        lambda path: written(path, arrays=numbers() | {"norm": np.full(8, np.nan, "<f4")}),
        "not finite",
    ),
    "nothing": (lambda path: written(path, cut=10**6), "too short for a header"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_an_unfit_file_is_refused_in_a_line(tmp_path, name):
    made, words = UNFIT[name]
    with pytest.raises(LecoreError, match=words) as caught:
        read_llama(made(tmp_path / "m.bin"))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


PIECES = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256))]
MERGED = {b" ": -9.0, b"a": -9.0, b"b": -9.0, b"ab": -2.0, b" a": -1.0, b"bab": -3.0, b"bb": -4.0}


def tokenizer(path, cut=0, **settings):
    scored = [*((piece, 0.0) for piece in PIECES), *MERGED.items()]
    raw = struct.pack("<i", 9)
    raw += b"".join(struct.pack("<fi", score, len(piece)) + piece for piece, score in scored)
    path.write_bytes(raw[: len(raw) - cut])
    return StoryTokens(path, **({"words": len(scored)} | settings))


def test_the_best_pair_is_merged_first(tmp_path):
    tokens = tokenizer(tmp_path / "t.bin")
    number = {piece: len(PIECES) + k for k, piece in enumerate(MERGED)}
    # " a" is better than "ab", and then "ab" than "bb"; "bab" needs an "ab" that is left
    assert tokens.encode("abbab") == [BEGIN, number[b" a"], number[b"b"], number[b"bab"]]


def test_text_comes_back_from_its_tokens(tmp_path):
    tokens = tokenizer(tmp_path / "t.bin")
    for text in ("ab ba", "é$\n", " a", ""):
        assert tokens.decode(tokens.encode(text)) == text
    assert tokens.encode("é")[-2:] == [byte + FIRST_BYTE for byte in "é".encode()]


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"words": 300}, "266 pieces, but the model knows 300"), ({"cut": 1}, "ends within a piece"),
     ({"cut": 7}, "ends within a piece")],
)  # fmt: skip
def test_another_tokenizer_is_refused(tmp_path, settings, words):
    with pytest.raises(LecoreError, match=words):
        tokenizer(tmp_path / "t.bin", **settings)


@pytest.fixture
def model(tmp_path):
    return read_llama(written(tmp_path / "m.bin"))


def test_a_step_on_a_sentence_moves_tokens_as_a_real_one_does(model):
    study = Study(model, TOKENS[:2], TOKENS[2:], loss="next token", learning_rate=RATE)
    before = model.double()
    for i, row in enumerate(study.change()):
        moved = copy.deepcopy(before)
        F.cross_entropy(moved(TOKENS[[i]])[0, :-1], TOKENS[i, 1:]).backward()
        torch.optim.SGD(moved.parameters(), RATE).step()
        with torch.no_grad():
            right = [
                (m(TOKENS[2:])[:, :-1].log_softmax(-1)).gather(-1, TOKENS[2:, 1:, None])[..., 0]
                for m in (before, moved)
            ]
        torch.testing.assert_close(row, right[1] - right[0], rtol=0, atol=1e-10)


LEARNT = three.places(TOKENS, torch.tensor([0, 1]), torch.tensor([3, 5]))
SEEN = three.places(TOKENS, torch.tensor([2, 3, 4]), torch.tensor([1, 6, 4]))


def log_p(model, sentence, at):
    """Of all tokens at a place."""
    return model(TOKENS[[sentence]])[0, at - 1].log_softmax(-1)


def test_steps_on_a_token_are_real_ones(model):
    found = three.stepped(model, LEARNT, SEEN, RATE)
    before = model.double()
    for u, (i, s) in enumerate([(0, 3), (1, 5)]):
        moved = copy.deepcopy(before)
        (-log_p(moved, i, s)[TOKENS[i, s]]).backward()
        torch.optim.SGD(moved.parameters(), RATE).step()
        for o, (j, t) in enumerate([(2, 1), (3, 6), (4, 4)]):
            with torch.no_grad():
                right = log_p(moved, j, t) - log_p(before, j, t)
            torch.testing.assert_close(found[u, o], right, rtol=0, atol=1e-10)


def test_the_three_factors_are_those_of_autograd(model):
    found = three.factors(model, LEARNT, SEEN)
    model = model.double()

    def slopes(value):
        grads = torch.autograd.grad(value, list(model.parameters()), retain_graph=True)
        return torch.cat([grad.flatten() for grad in grads])

    def jacobian(i, t):
        return torch.stack([slopes(z) for z in model(TOKENS[[i]])[0, t - 1]])

    for u, (i, s) in enumerate([(0, 3), (1, 5)]):
        logits = model(TOKENS[[i]])[0, s - 1].detach().requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(logits, TOKENS[i, s]), logits)
        torch.testing.assert_close(found.slope[u], slope, rtol=1e-9, atol=1e-12)
        for o, (j, t) in enumerate([(2, 1), (3, 6), (4, 4)]):
            kernel = jacobian(j, t) @ jacobian(i, s).T
            torch.testing.assert_close(found.kernel[u, o], kernel, rtol=1e-9, atol=1e-9)
            here = model(TOKENS[[j]])[0, t - 1].detach()
            softmax = torch.func.jacrev(lambda z: z.log_softmax(-1))(here)
            torch.testing.assert_close(found.softmax[o], softmax, rtol=1e-9, atol=1e-12)
            right = -RATE * softmax @ kernel @ slope
            torch.testing.assert_close(found.change(RATE)[u, o], right, rtol=1e-9, atol=1e-9)


def test_their_product_is_what_small_steps_do(model):
    parts = three.factors(model, LEARNT, SEEN)
    errors = [
        three.off(parts.change(rate), three.stepped(model, LEARNT, SEEN, rate))
        for rate in (1e-5, 1e-6)
    ]
    assert errors[1].max() < 1e-4
    np.testing.assert_allclose(errors[0] / errors[1], 10, rtol=0.1)


def test_the_best_number_comes_nearest(model):
    parts = three.factors(model, LEARNT, SEEN)
    best = parts.best_number()
    for factor in (0.9, 1.1):
        other = best._replace(kernel=factor * best.kernel)
        right = parts.change(1.0)
        errors = [((one.change(1.0) - right) ** 2).sum(-1) for one in (best, other)]
        assert (errors[0] < errors[1]).all()
    again = best.best_number()
    torch.testing.assert_close(again.kernel, best.kernel)


class Pairs(nn.Module):
    """The next token depends on the last one alone: a table of logits, whose kernel is 1."""

    def __init__(self, words=11):
        super().__init__()
        self.table = nn.Embedding(words, words)

    def forward(self, input_ids, attention_mask=None):
        return self.table(input_ids)


def pairs():
    torch.manual_seed(1)
    return Pairs()


def test_where_the_kernel_is_one_the_network_does_what_its_softmax_does():
    found = squeezing.squeezed(pairs(), SEEN, rank=5, fall=1.5)
    for table in found:
        assert table["one step"].tolist() == pytest.approx(table["softmax alone"].tolist())
    assert (found.top["one step"] > found.top["in proportion"]).all()
    assert (found.falling["in proportion"] == 0).all()


def test_mass_that_is_gained_is_what_a_real_step_gives():
    model, at = pairs().double(), three.places(TOKENS, torch.tensor([2]), torch.tensor([4]))
    found = squeezing.squeezed(model, at, rank=3, fall=0.7).top["one step"][0]
    before = log_p(model, 2, 4).detach()
    token = int(before.argsort(descending=True)[2])
    slope = before.exp() - F.one_hot(torch.tensor(token), 11)
    rate = 0.0
    while (after := (before + rate * slope).log_softmax(-1))[token] > before[token] - 0.7:
        rate += 1e-4
    gained = (after.exp() - before.exp()).clamp(min=0)
    assert found == pytest.approx(float(gained[before.argmax()] / gained.sum()), rel=1e-3)


@pytest.mark.thorough
def test_small_steps_lower_as_far_as_one_and_are_equally_long(model, monkeypatch):
    up = squeezing._Up(model.double(), SEEN.rows[0], token=4)
    heights = []
    monkeypatch.setattr(up, "slope", lambda: heights.append(height()) or squeezing._Up.slope(up))

    def height():
        return float(up.logits(0.0).log_softmax(-1)[4])

    before = height()
    up.small(fall=0.5, steps=40)
    assert before - height() == pytest.approx(0.5, rel=0.02)
    np.testing.assert_allclose(-np.diff([before, *heights]), 0.5 / 40, rtol=0.2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"rank": 1}, "rank must lie from 2 to 10, not 1"), ({"rank": 11}, "rank must lie from"),
     ({"fall": 1e12}, "no step lowers token")],
)  # fmt: skip
def test_what_cannot_be_lowered_is_refused(settings, words):
    with pytest.raises(LecoreError, match=words):
        squeezing.squeezed(pairs(), SEEN, **({"rank": 3, "fall": 1.0} | settings))


def spoken(rows):
    tokens = torch.tensor(rows)
    return languages.Language(pairs().eval(), str, tokens, torch.ones_like(tokens))


def test_a_table_of_pairs_moves_what_follows_the_same_token_alone():
    rows = [
        [0, *order] for order in itertools.islice(itertools.permutations(range(1, 6)), 0, 90, 9)
    ]
    found = whose.related(spoken(rows), sentences=6, each=5, probes=4, context=1, skip=0, seed=0)
    assert found.moved == {"token": 0.5, "context": 1.0, "both": 1.0}
    assert found.rises | {"context": 0.0} == {
        "token": 0.0, "context": 0.0, "both": 1.0, "neither": 0.0
    }  # fmt: skip
    assert all(abs(value - 0.5) < 0.2 for value in found.shuffled.values())
    assert sum(found.pairs.values()) == 6 * 5 * 4 * 5


def test_what_places_have_in_common_is_what_loops_find():
    rows = np.random.default_rng(0).integers(0, 3, (6, 8))
    learnt, seen, context = np.array([[0, 1, 2, 2], [1, 4, 7, 2]]), rows[3:], 2
    found = whose._in_common(rows, learnt, seen, context)
    for u, (row, at) in enumerate(learnt.T):
        for j, sentence in enumerate(seen):
            for t in range(1, 8):
                token = rows[row, at] == sentence[t]
                before = (
                    min(at, t) >= context
                    and (rows[row, at - context : at] == sentence[t - context : t]).all()
                )
                kind = {(1, 0): "token", (0, 1): "context", (1, 1): "both", (0, 0): "neither"}
                here = [name for name, mask in found.items() if mask[u, j, t - 1]]
                assert here == [kind[int(token), int(before)]]


def test_more_sentences_than_there_are_are_refused():
    with pytest.raises(LecoreError, match="there are only 3 sentences"):
        whose.related(
            spoken([[0, 1, 2]] * 3), sentences=2, each=1, probes=2, context=1, skip=0, seed=0
        )


def test_sentences_are_coloured_by_their_changes():
    words = spoken([[0, 1, 2, 3], [0, 2, 1, 3]])
    study = Study(words.model, words.some([0]), words.some([0, 1]), loss="next token",
                  learning_rate=RATE)  # fmt: skip
    change = study.change()
    found = whose.coloured(study, change, {"other": 1}, lambda ids: "".join(map(str, ids)))
    assert found == {"other": list(zip("0213", [None, *change[0, 1].tolist()], strict=True))}


def test_sentences_are_cut_and_filled():
    tokens, mask = languages.padded([[1, 2, 3, 4], [5, 6]], 3)
    assert tokens.tolist() == [[1, 2, 3], [5, 6, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]


def test_plain_sentences_are_found_once():
    text = "An odd\n one, here. No end\n\nAn odd one, here. <b>No.</b> lower. Yes; two."
    assert languages.sentences_of(text) == ["An odd one, here.", "Yes; two."]


def test_python_gives_a_model_and_sentences_of_its_own():
    words = languages.language("python", 0, length=12, dim=8, epochs=0)
    again = languages.language("python", 0, length=12, dim=8, epochs=0)
    assert torch.equal(words.tokens, again.tokens)
    assert torch.equal(words.model.words.weight, again.model.words.weight)
    assert words.read(words.tokens[0].tolist())[0].isupper()
    assert not torch.equal(words.tokens, languages.language(
        "python", 1, length=12, dim=8, epochs=0
    ).tokens)  # fmt: skip


def test_an_unknown_text_is_refused():
    with pytest.raises(LecoreError, match="python"):
        languages.language("novels", 0, length=12)


def test_stories_that_are_not_at_hand_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LECORE_DATA", str(tmp_path))
    with pytest.raises(LecoreError, match=r"stories260K.bin: .*set LECORE_DATA"):
        languages.language("stories", 0, length=12)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(LecoreError, match="cannot have the sizes"):
        Llama(SHAPE._replace(shared=3))
