"""The report of a study: what it says is what the study gives, and nothing in it runs."""

import copy
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lecore import LecoreError, Study
from lecore.engine.kernel_matrix import StructuredRoute
from lecore.study import findings, report
from lecore.study.class_pairs import class_pairs
from lecore.study.examples import Examples
from lecore.study.likeness import Likeness
from lecore.study.made_by import code_of
from lecore.study.one_format import one_format
from lecore.study.pictures import as_images, data_uri
from lecore.study.predictions import Predicted

N, M = 12, 5
SENTENCES = [f"sentence {i} <script>alert({i})</script> & more" for i in range(N + M)]


class Tags(HTMLParser):
    """Names of all tags, and the addresses they load."""

    def __init__(self, html):
        super().__init__()
        self.names, self.addresses, self.alts = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.names.append(tag)
        given = dict(attributes)
        self.addresses += [given[k] for k in ("src", "href", "xlink:href") if k in given]
        self.alts += [given.get("alt")] if tag == "img" else []


def study(shape=(1, 6, 6), **settings):
    torch.manual_seed(0)
    x, y = torch.randn(N + M, *shape), torch.arange(N + M) % 3
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 5), nn.Tanh(), nn.Linear(5, 3))
    settings = {"loss": "cross_entropy", "learning_rate": 0.01} | settings
    return Study(model, (x[:N], y[:N]), (x[N:], y[N:]), **settings)


def written(tmp_path, one, **given):
    one.report(tmp_path / "report.html", **given)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def texts():
    return SENTENCES[:N], SENTENCES[N:]


def test_it_runs_nothing_and_loads_nothing(tmp_path, texts):
    names = ["<b>cat</b>", "dog & co", "</table>"]
    html = written(tmp_path, study(), texts=texts, class_names=names)
    tags = Tags(html)
    assert not {"script", "b>cat", "iframe", "link", "object"} & set(tags.names)
    assert all(re.match("#|data:image/png;base64,", address) for address in tags.addresses)
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;cat&lt;/b&gt;" in html
    assert not re.search(r"\son\w+=", html)
    assert set(re.findall(r"https?://[^\"'\s<]+", html)) <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink",
    }  # fmt: skip


def test_pictures_say_what_they_show(tmp_path):
    tags = Tags(written(tmp_path, study()))
    assert len(tags.alts) > 20
    assert all(re.fullmatch(r"(training|test) example \d+, labelled \d", alt) for alt in tags.alts)


def test_its_influences_are_those_of_the_study(tmp_path):
    one = study()
    html = written(tmp_path, one, top=2, shown=1)
    row = int(one.predicted()[1].losses.argmax())
    found = one.influence(top=2)
    values = found[found.test == row].influence
    section = html[html.index('<section class="pair">') : html.index("<h3>strangest")]
    shown = re.findall(r"<b>([+−][\d.e+−-]+)</b>", section)
    right = [f"{v:+.2g}".replace("-", "−") for v in values]
    assert sorted(shown) == sorted(right)


def test_means_of_classes_are_those_of_the_whole_matrix(tmp_path):
    one = study()
    blocks = list(one.influences())
    whole = torch.cat([block for _, block in blocks])
    rows, columns = one.train.targets, one.test.targets
    html = written(tmp_path, one)
    means = [float(whole[rows == a][:, columns == b].mean()) for a in range(3) for b in range(3)]
    digits = one_format(means)
    assert f"Influence between classes, {digits.unit}</caption>" in html
    assert all(f">{digits(mean)}</td>" in html for mean in means)


def test_similarities_of_classes_are_those_of_all_pairs(tmp_path):
    one = study()
    html = written(tmp_path, one)
    alone = Study(one.model, (one.train.tables[0], one.train.targets), loss="cross_entropy",
                  learning_rate=1.0).similarity("linear").fill_diagonal_(torch.nan)  # fmt: skip
    targets = one.train.targets
    for a in range(3):
        for b in range(3):
            block = alone[targets == a][:, targets == b]
            median = float(np.nanmedian(block.numpy()))
            assert f'<a href="#classes-{a}-{b}">{median:.2f}</a>' in html
            _, strongest = html.split(f'id="classes-{a}-{b}"')
            largest = block.masked_fill(block.isnan(), -1).max()
            assert (
                f"<b>{largest:.2g}</b> times as far as its own" in strongest.split("</section>")[0]
            )


def test_a_class_without_two_examples_has_no_similarity():
    x, y = torch.randn(3, 4), torch.tensor([0, 0, 1])
    one = Study(nn.Linear(4, 3), (x, y), loss="cross_entropy", learning_rate=0.1)
    found = class_pairs(one, ["a", "b", "c"])
    assert found.medians.isna().to_numpy().tolist() == [
        [False, False, True], [False, True, True], [True, True, True],
    ]  # fmt: skip
    assert set(found.strongest) == {(0, 0), (0, 1), (1, 0)}


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::lecore.engine.rounding.RoundingWarning")
def test_of_saturated_predictions_no_similarity_is_told(tmp_path):
    one = study()
    with torch.no_grad():
        one.model[3].weight.zero_()
        one.model[3].bias.copy_(torch.tensor([900.0, 0.0, 0.0]))
    one.train.targets.zero_()
    assert class_pairs(one, ["a", "b", "c"]) is None
    assert "Similarity of classes" not in written(tmp_path, one)


def test_influences_are_held_against_the_loss_after_real_steps():
    one = study(learning_rate=0.3)
    pairs = one.influence(top=1)
    off = []
    for line in pairs.itertuples():
        x, y = one.train.tables[0], one.train.targets
        stepped = copy.deepcopy(one.model).double()
        loss = nn.functional.cross_entropy(stepped(x[[line.train]].double()), y[[line.train]])
        loss.backward()
        torch.optim.SGD(stepped.parameters(), lr=0.3).step()
        z, w = one.test.tables[0][[line.test]].double(), one.test.targets[[line.test]]
        before, after = (
            nn.functional.cross_entropy(net(z), w).item()
            for net in (copy.deepcopy(one.model).double(), stepped)
        )
        off.append(abs(before - after - line.influence) / abs(before - after))
    found = findings.held(one, pairs)
    assert found.pairs == len(off)
    assert found.largest == pytest.approx(max(off))
    assert found.median == pytest.approx(np.median(off))
    assert findings.held(study(learning_rate=None), pairs) is None


def test_an_error_beyond_all_numbers_is_not_left_out():
    one = study()
    strongest = one.influence(top=1)
    strongest.loc[strongest.index[0], "influence"] = np.inf
    found = findings.held(one, strongest)
    assert found.pairs == len(strongest)
    assert np.isnan([found.median, found.largest]).all()


@pytest.mark.thorough
def test_it_is_said_that_a_step_goes_beyond_all_numbers(tmp_path, monkeypatch):
    nothing = findings.Held(3, float("nan"), float("nan"))
    monkeypatch.setattr(findings, "held", lambda *given: nothing)
    html = written(tmp_path, study())
    assert "A step moved some beyond all numbers" in html
    assert "nan %" not in html


def test_the_strangest_is_the_least_alike_of_the_strongest(tmp_path):
    one = study()
    html = written(tmp_path, one, top=1, shown=1)
    row = int(one.predicted()[1].losses.argmax())
    x, z = one.train.tables[0].flatten(1).double(), one.test.tables[0][row].flatten().double()
    mean = x.mean(0)
    likeness = torch.cosine_similarity(x - mean, z - mean, dim=1)  # all twelve are among the twenty
    section = html[html.index("<h3>strangest") :]
    assert f"no. {int(likeness.argmin())}<" in section[: section.index("</figure>")]
    told = f"likeness {float(likeness.min()):+.2g}".replace("-", "−")
    assert told in section[: section.index("</figure>")]


def test_tokens_are_alike_that_are_shared():
    words = torch.tensor([[1, 2, 3, 3], [4, 5, 6, 7]])
    mask = torch.ones_like(words)
    sides = [Examples(({"mask": mask, "words": words},), None) for _ in range(2)]
    likeness = Likeness(*sides)
    assert likeness.known
    assert likeness(0, 0) == 1
    assert likeness(0, 1) == 0
    longer = Examples(({"mask": torch.ones(1, 5), "words": torch.arange(5)[None]},), None)
    assert Likeness(sides[0], Examples((torch.arange(5)[None],), None))(0, 0) == 3 / 5
    assert not Likeness(sides[0], longer).known


def test_a_stopped_report_goes_on_with_its_store(tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    computed, block = [], StructuredRoute.block
    monkeypatch.setattr(StructuredRoute, "block", lambda *tile: computed.append(1) or block(*tile))
    whole = study()
    right = written(tmp_path, whole)
    from_nothing = len(computed)
    with monkeypatch.context() as patch:
        patch.setattr(report, "_chart", lambda scores: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            whole.report(tmp_path / "stopped.html", store=tmp_path / "store")
    computed.clear()
    again = written(tmp_path, whole, store=tmp_path / "store")
    assert len(computed) == from_nothing - 1, "all pairs are one block"
    until = '<h2 id="code">'
    assert again.split(until)[0] == right.split(until)[0]


def test_a_store_of_another_study_is_refused(tmp_path):
    pytest.importorskip("zarr")
    study().report(tmp_path / "report.html", store=tmp_path / "store")
    other = study(loss=lambda prediction, target: prediction.square().sum() / 7)
    with pytest.raises(LecoreError, match="holds the work of another loss"):
        other.report(tmp_path / "report.html", store=tmp_path / "store")


def test_without_a_step_it_says_so(tmp_path):
    assert "No step was given" in written(tmp_path, study(learning_rate=None))


def test_a_step_too_large_for_its_slope_is_said(tmp_path):
    assert "That is a lot" in written(tmp_path, study(learning_rate=5.0))
    assert "That is a lot" not in written(tmp_path, study(learning_rate=1e-4))


def test_numbers_have_no_classes(tmp_path):
    torch.manual_seed(0)
    x, y = torch.randn(9, 4), torch.randn(9, 1)
    html = written(tmp_path, Study(nn.Linear(4, 1), (x, y), learning_rate=0.1))
    assert "by margin" not in html
    assert "Influence between classes" not in html


def test_a_report_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(LecoreError):
        study().report(path, class_names=["one"])
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


BAD = {
    "names": ({"class_names": ["a", "b"]}, "2 class_names for 3 outputs"),
    "texts": ({"texts": (["a"], ["b"])}, "1 texts for 12 examples"),
    "pictures": ({"thumbnails": (torch.zeros(N, 4), torch.zeros(M, 4))}, "are no images"),
    "number of pictures": ({"thumbnails": (torch.zeros(3, 4, 4),) * 2}, "3 thumbnails for 12"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_the_data_is_refused(tmp_path, name):
    given, words = BAD[name]
    with pytest.raises(LecoreError, match=words):
        study().report(tmp_path / "report.html", **given)


def test_the_first_order_of_a_linear_network_is_exact():
    torch.manual_seed(0)
    x, y = torch.randn(20, 4), torch.randn(20, 1)
    found = Study(nn.Linear(4, 1), (x, y), learning_rate=0.1).trust()
    assert found.rows == found.columns == findings.SAMPLE
    assert found.largest < 1e-10


def test_shares_of_layers_are_those_of_their_gradients():
    one = study()
    whole = one.self_influence()[findings.spread(N, findings.SAMPLE).numpy()].sum()
    alone = Study(
        one.model, (one.train.tables[0], one.train.targets), loss="cross_entropy",
        parameters="1.*",
    ).self_influence().sum()  # fmt: skip
    shares = one.layer_shares()
    assert shares.sum() == pytest.approx(1)
    assert shares["1"] == pytest.approx(alone / whole)


def test_a_margin_is_to_the_best_other_class():
    seen = Predicted(torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]]), torch.tensor([0.1, 2.0]))
    scores = findings.doubtful(seen, torch.tensor([0, 2]), pd.Series([1.0, 2.0]), classes=True)
    assert scores.margin.tolist() == [-1.0, 4.0]
    assert findings.overlap(scores, 1).loc["loss", "margin"] == 1


@pytest.mark.parametrize("form", ["channels first", "channels last", "bytes", "grey", "numpy"])
def test_images_of_any_form_are_the_same(form):
    picture = torch.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3) % 250
    numbers = picture.double() / 255
    grey = numbers[..., 0]
    given, right = {
        "channels first": (numbers.permute(0, 3, 1, 2), as_images(numbers, 2)),
        "channels last": (numbers, as_images(numbers.numpy(), 2)),
        "bytes": (picture.to(torch.uint8), picture.numpy()),
        "grey": (grey[:, None], as_images(grey, 2)),
        "numpy": (grey.numpy(), as_images(grey, 2)),
    }[form]
    np.testing.assert_array_equal(as_images(given, 2), right)


def test_a_small_picture_is_enlarged_and_a_large_one_cut_down():
    from base64 import b64decode
    from io import BytesIO

    from PIL import Image

    for side, shown in ((8, 56), (50, 100), (300, 112)):
        uri = data_uri(np.zeros((side, side), dtype=np.uint8))
        assert Image.open(BytesIO(b64decode(uri.split(",")[1]))).size == (shown, shown)


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    report._template.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(LecoreError, match=r'needs jinja2.*"lecore\[report\]"'):
        study().report(tmp_path / "report.html")


@pytest.mark.thorough
def test_a_count_of_weights_is_of_those_that_were_asked_for(tmp_path):
    assert "18 trained weights" in written(tmp_path, study(parameters="3.*"))


@pytest.mark.filterwarnings("ignore::lecore.engine.rounding.RoundingWarning")
@pytest.mark.parametrize("rate", [1e-300, 1e300])
def test_a_step_that_cannot_be_compared_gives_no_number(tmp_path, rate):
    html = re.sub(r'base64,[^"]*', "", written(tmp_path, study(learning_rate=rate)))
    assert "nothing can be said of its slope" in html
    assert "nan" not in html


@pytest.mark.thorough
def test_of_an_optimizer_it_says_whose_influences_these_are(tmp_path):
    one = study(learning_rate=None)
    one.optimizer = torch.optim.Adam(one.model.parameters())
    html = written(tmp_path, one)
    assert "the next one of Adam; influences are for plain SGD at a rate of 1" in html
    assert "of plain SGD at a rate of 1, not along the optimizer" in html


def test_a_median_of_two_is_between_them():
    two, one = study(learning_rate=0.3), study(learning_rate=0.3)
    pairs = two.influence(top=1).head(2)
    each = [findings.held(one, pairs.iloc[[k]]).largest for k in range(2)]
    assert findings.held(two, pairs).median == pytest.approx(np.mean(each))


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_reported(tmp_path, dtype):
    assert "Doubtful labels" in written(tmp_path, study(dtype=dtype))


@pytest.mark.thorough
def test_no_more_examples_stand_out_than_there_are(tmp_path):
    html = written(tmp_path, study(), top=9)
    assert f"The {N} training examples that stand out most" in html
    assert f"strangest of the {N} strongest" in html


def test_the_lines_that_make_it_run(tmp_path):
    one = study(parameters="3.*", outputs=[1], dtype=torch.float32, learning_rate=0.0123456789)
    lines = code_of(one, 'a"\\b.html', {}).split("\n")
    assert lines[-1] == r'study.report("a\"\\b.html")'
    assert lines[0] == "import torch"
    made = eval(lines[3].removeprefix("study = "), {
        "Study": Study, "torch": torch, "model": one.model,
        "train": (one.train.tables[0], one.train.targets),
        "test": (one.test.tables[0], one.test.targets),
    })  # fmt: skip
    for name in ("loss", "learning_rate", "patterns", "outputs", "dtype"):
        assert getattr(made, name) == getattr(one, name)
    assert "loss=loss" in code_of(study(loss=nn.CrossEntropyLoss()), "it", {})
    words = torch.arange(6).reshape(2, 3)
    speaker = Study(nn.Embedding(6, 6), words, loss="next token")
    assert 'Study(model, train, loss="next token")' in code_of(speaker, "it", {})


def test_the_lines_that_make_it_name_all_that_was_given(tmp_path, texts):
    pytest.importorskip("zarr")
    given = {"top": 4, "shown": 2, "thumbnails": PICTURES, "texts": texts, "store": tmp_path / "s"}
    html = written(tmp_path, study(), class_names=["a", "b", "c"], **given)
    code = html[html.index('<h2 id="code">') :].replace("&#34;", '"')
    assert (
        "top=4, shown=2, thumbnails=thumbnails, texts=texts, class_names=class_names, "
        f'store="{tmp_path / "s"}")'
    ) in code


def test_the_lines_that_make_it_name_the_targets():
    x, y = torch.randn(6, 4), torch.arange(6) % 3
    one = Study(nn.Linear(4, 3), {"input": x, "class": y}, target="class", loss="cross_entropy")
    assert "train, target='class', loss" in code_of(one, "it", {"tokenizer": print})
    assert code_of(one, "it", {"tokenizer": print}).endswith('"it", tokenizer=tokenizer)')


@pytest.mark.parametrize(
    ("values", "unit", "shown"),
    [
        ([3.8e-6, -2.6e-4, 0.018], "×\u00a010⁻²", ["0.00", "−0.03", "1.80"]),
        ([0.5, -12.0, float("nan")], "", ["0.50", "−12.00", "—"]),
        ([4e7, 1e6], "×\u00a010⁷", ["4.00", "0.10"]),
        ([0.0, float("inf")], "", ["0.00", "inf"]),
        ([5e-324], "×\u00a010⁻³²⁴", ["4.94"]),
        ([1.5e308], "×\u00a010³⁰⁸", ["1.50"]),
    ],
)
def test_numbers_of_a_table_have_one_format(values, unit, shown):
    digits = one_format(values)
    assert digits.unit == unit
    assert [digits(value) for value in values] == shown


def test_a_page_says_whether_the_strangest_helps(tmp_path):
    html = written(tmp_path, study(), top=1)
    found = re.findall(
        r"<h3>strangest, a (helper|harmer)</h3>.*?<br><b>([+−])[\d.e+−]+</b><br>likeness",
        html,
        re.S,
    )
    assert len(found) == M
    assert all(sign == {"helper": "+", "harmer": "−"}[word] for word, sign in found)


def test_a_page_says_what_a_margin_is(tmp_path):
    html = written(tmp_path, study())
    assert html.index("The margin is how far") < html.index("by margin")


@pytest.mark.thorough
def test_half_a_character_is_shown_as_unknown(tmp_path):
    path = tmp_path / "a\udc80.html"
    study().report(path, class_names=["\udcff", "b", "c"])
    assert '<th scope="col">?</th>' in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "place", [None, 3, b"it.html", "", ".", "file/it.html", "n" * 300, "n" * 250, "a\0b"]
)
def test_a_place_that_cannot_be_written_is_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LecoreError):
        study().report(place)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_store_that_is_no_folder_is_refused(tmp_path):
    pytest.importorskip("zarr")
    (tmp_path / "file").write_text("mine")
    for store, words in ((tmp_path / "file", "is no folder"), (5, "store is of type int")):
        with pytest.raises(LecoreError, match=words):
            study().report(tmp_path / "it.html", store=store)
    assert (tmp_path / "file").read_text() == "mine"


WORDS = ["w"] * N, ["v"] * M
PICTURES = torch.rand(N, 4, 4), torch.rand(M, 4, 4)
NOT_IN_ORDER = {
    "names in a dict": ({"class_names": {2: "a", 1: "b", 0: "c"}}, "are of type dict"),
    "names in a set": ({"class_names": {"a", "b", "c"}}, "are of type set"),
    "a word of names": ({"class_names": "abc"}, "are of type str"),
    "no names": ({"class_names": 3}, "are of type int"),
    "texts of one side": ({"texts": WORDS[0]}, "texts are no pair"),
    "texts of three": ({"texts": (*WORDS, [])}, "texts are no pair"),
    "no texts": ({"texts": 5}, "texts are no pair"),
    "texts in a set": ({"texts": ({*range(N)}, WORDS[1])}, "are of type set"),
    "pictures of one side": ({"thumbnails": PICTURES[0]}, "thumbnails are no pair"),
    "pictures in words": ({"thumbnails": WORDS}, "are no numbers"),
    "ragged pictures": ({"thumbnails": ([[1], [2, 3]], PICTURES[1])}, "are no numbers"),
    "pictures of nothing": ({"thumbnails": (torch.rand(N, 0, 4), PICTURES[1])}, "are no images"),
    "unknown pictures": ({"thumbnails": (torch.full((N, 4, 4), torch.nan), PICTURES[1])}, "finite"),
    "complex pictures": ({"thumbnails": (PICTURES[0] + 0j, PICTURES[1])}, "are no images"),
}


@pytest.mark.parametrize("name", NOT_IN_ORDER)
def test_what_cannot_be_shown_is_refused(tmp_path, name):
    given, words = NOT_IN_ORDER[name]
    with pytest.raises(LecoreError, match=words) as caught:
        study().report(tmp_path / "report.html", **given)
    assert "\n" not in str(caught.value)


@pytest.mark.thorough
def test_texts_of_any_row_of_words_and_pictures_of_one_side_are_shown(tmp_path):
    texts = pd.Series(WORDS[0], index=range(100, 100 + N)), (str(k) for k in range(M))
    html = written(tmp_path, study(), texts=texts, thumbnails=(None, PICTURES[1]))
    assert '<blockquote dir="auto">w</blockquote>' in html
    assert all(alt.startswith("test example") for alt in Tags(html).alts)


class Largest(TorchDispatchMode):
    """Numbers in the largest tensor of doubles that is made inside."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **kwargs or {})
        if isinstance(found, torch.Tensor) and found.dtype == torch.float64:
            self.count = max(self.count, found.numel())
        return found


@pytest.mark.parametrize("kind", [torch.float32, torch.int16])
def test_many_pictures_are_scaled_some_at_a_time(kind):
    images = (100 * torch.randn(1000, 3, 5, 4)).to(kind)
    with Largest() as made:
        found = as_images(images, 1000)
    assert made.count <= 256 * 60
    numbers = images.double().permute(0, 2, 3, 1).numpy()
    low, high = numbers.min((0, 1, 2)), numbers.max((0, 1, 2))
    assert np.abs(found - 255 * (numbers - low) / (high - low)).max() <= 0.5 + 1e-9


def test_a_narrow_picture_stays_small():
    from base64 import b64decode
    from io import BytesIO

    from PIL import Image

    for shape in ((1, 3000), (3000, 1), (50, 6000)):
        uri = data_uri(np.zeros(shape, dtype=np.uint8))
        assert max(Image.open(BytesIO(b64decode(uri.split(",")[1]))).size) <= 224


@pytest.mark.thorough
def test_complex_inputs_are_no_pictures(tmp_path):
    class Size(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            return self.head(x.abs().flatten(1).to(self.head.weight.dtype))

    x = torch.randn(6, 1, 2, 2, dtype=torch.complex64)
    one = Study(Size(), (x, torch.arange(6) % 3), loss="cross_entropy", learning_rate=0.1)
    assert not Tags(written(tmp_path, one)).alts


def test_likeness_is_of_columns_of_one_name():
    a, b = torch.randn(4, 3), torch.randn(4, 3)
    sides = [Examples((table,), None) for table in ({"a": a, "b": b}, {"b": b, "a": a})]
    assert Likeness(*sides)(2, 2) == pytest.approx(1)
    other = Examples(({"a": a, "c": b},), None)
    assert not Likeness(sides[0], other).known


def test_likeness_of_tokens_is_not_that_of_their_places():
    words = torch.tensor([[0, 1, 1, 0], [2, 3, 2, 3]])
    table = {"attention_mask": torch.ones(2, 4).long(), "input_ids": words,
             "position_ids": torch.arange(4).expand(2, 4)}  # fmt: skip
    assert Likeness(*[Examples((table,), None)] * 2)(0, 1) == 0


def test_numbers_of_users_and_items_are_no_tokens():
    table = {"user": torch.arange(4), "item": torch.tensor([7, 7, 9, 9])}
    assert not Likeness(*[Examples((table,), None)] * 2).known


@pytest.mark.thorough
@pytest.mark.parametrize("loss", [None, torch.nn.BCEWithLogitsLoss()])
def test_a_number_that_is_wanted_is_shown_beside_the_one_that_is_given(tmp_path, loss):
    x, y = torch.randn(5, 3), torch.tensor([0.25, 0.0, 1.0, 0.5, 0.125])
    one = Study(nn.Linear(3, 1), (x, y), loss=loss, learning_rate=0.1)
    html = written(tmp_path, one)
    for target, output in zip(y.tolist(), one.predicted()[0].predictions[:, 0], strict=True):
        assert f"target {target:.3g}, output {output:.3g}<".replace("-", "−") in html


@pytest.mark.parametrize("count", [2**24 + 4, 2**25 + 3])
def test_the_last_of_many_is_chosen(count):
    assert findings.spread(count, 3).tolist()[-1] == count - 1


@pytest.mark.parametrize("fails", [lambda tokens: "a"[len(tokens) - 1], lambda t: "a" * (t < [9])])
def test_a_tokenizer_that_fails_on_the_way_is_told(tmp_path, fails):
    words = {"input_ids": torch.arange(6).reshape(2, 3) % 5}

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(5, 5)

        def forward(self, input_ids):
            return self.words(input_ids)

    def read(tokens):
        return fails(tokens) if len(tokens) < 3 else None

    one = Study(Model(), words, loss="next token", learning_rate=0.1)
    with pytest.raises(LecoreError, match="the tokenizer"):
        one.report(tmp_path / "it.html", tokenizer=read)


@pytest.mark.thorough
@pytest.mark.every(2)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.int16])
def test_classes_may_be_kept_as_any_numbers(tmp_path, kind):
    one = study()
    data = [(side.tables[0], side.targets) for side in (one.train, one.test)]
    same = Study(one.model, *((x, y.to(kind)) for x, y in data), loss="cross_entropy")
    assert '<th scope="col">cat</th>' in written(tmp_path, same, class_names=["cat", "b", "c"])


@pytest.mark.parametrize("loss", ["squared_error", "half_squared_error"])
def test_numbers_of_a_loss_for_numbers_are_no_classes(tmp_path, loss):
    one = study()
    data = [(side.tables[0], side.targets.double()) for side in (one.train, one.test)]
    one = Study(one.model, *data, loss=loss, learning_rate=0.01)
    html = written(tmp_path, one)
    assert 'id="classes"' not in html
    assert ", predicted" not in html
    with pytest.raises(LecoreError, match="no classes for this loss and network of 3 outputs"):
        one.report(tmp_path / "it.html", class_names=["a", "b", "c"])


def test_one_training_example_has_no_similarity(tmp_path):
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3), torch.randn(3, 4)
    one = Study(model, (x[:1], torch.tensor([1])), (x[1:], torch.tensor([0, 2])),
                loss="cross_entropy", learning_rate=0.01)  # fmt: skip
    assert 'id="similarity"' not in written(tmp_path, one)


@pytest.mark.thorough
def test_an_error_of_any_size_is_a_short_number(tmp_path, monkeypatch):
    far = findings.Trust(3, 3, 0.0123, 1.2e250)
    monkeypatch.setattr(findings, "trust", lambda *points, **step: far)
    html = written(tmp_path, study())
    assert "off by <b>1.2 %</b> in the median, by 1.2e+252 % at" in html


def test_outputs_that_are_none_are_refused(tmp_path):
    for outputs in ([7], [], 1):
        with pytest.raises(LecoreError, match="outputs is"):
            study(outputs=outputs).report(tmp_path / "it.html")


def test_a_file_that_is_locked_stays(tmp_path, monkeypatch):
    path = tmp_path / "it.html"
    path.write_text("mine")
    monkeypatch.setattr(report.os, "access", lambda place, mode: place != path)
    with pytest.raises(LecoreError, match="is not to be written; choose another, or unlock it"):
        study().report(path)
    assert path.read_text() == "mine"
