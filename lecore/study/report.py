"""A study as one page that opens from disk: who moves whom, and which labels look wrong."""

import datetime
import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from lecore.arguments.settings import file_of, path_of, whole
from lecore.engine.points import kept
from lecore.engine.tiling.tiles import Tiles
from lecore.errors import LecoreError, extra, in_short
from lecore.files import whole_file
from lecore.study import findings
from lecore.study.cards import Shelf, first_ones, influence_lines, names_of, pictures, with_tokens
from lecore.study.checkpoints import Checkpoints
from lecore.study.class_pairs import class_pairs
from lecore.study.examples import Examples
from lecore.study.likeness import Likeness
from lecore.study.made_by import code_of
from lecore.study.one_format import one_format
from lecore.study.over_time import SAMPLE, over_checkpoints
from lecore.study.pictures import both, shown_texts
from lecore.study.strongest import Strongest
from lecore.study.tokens import reader, sentence
from lecore.version import __version__

if TYPE_CHECKING:
    from lecore.study.study import Study

CLASSES, PICTURED = 30, 12
"""Classes up to which tables of all pairs are shown, and with examples of each pair."""

WIDE = 10
"""Of so many times the influences that are shown, the strangest is chosen."""

POINTS = 1000
"""Training examples that the chart of scores shows, at most."""


def write_report(
    study: "Study",
    path: str | os.PathLike[str],
    *,
    top: int = 5,
    shown: int = 12,
    thumbnails: tuple[Any, Any] | None = None,
    texts: tuple[Sequence[str], Sequence[str]] | None = None,
    class_names: Sequence[str] | None = None,
    tokenizer: Any = None,
    checkpoints: Checkpoints | None = None,
    store: str | os.PathLike[str] | None = None,
) -> None:
    """Write :meth:`lecore.study.study.Study.report`, whose arguments these are."""
    given = {
        "top": top, "shown": shown, "thumbnails": thumbnails, "texts": texts,
        "class_names": class_names, "tokenizer": tokenizer, "checkpoints": checkpoints,
        "store": store,
    }  # fmt: skip
    template = _template()
    top, shown = whole("top", top), whole("shown", shown)
    path = file_of("path", path)
    if store is not None:
        store = path_of("store", store)
    began = time.perf_counter()
    read = None if tokenizer is None else reader(study, tokenizer)
    shelves = _shelves(study, thumbnails, texts, class_names, read)
    past = None
    if checkpoints is not None:
        past = over_checkpoints(study, study.follow(checkpoints), shelves[0].names is not None)
    sections = (
        _influences(study, shelves, top, shown, read, store)
        | _similarities(study, shelves[0])
        | _labels(study, shelves[0], min(2 * top, len(study.train)))
    )
    html = template.render(
        name=type(study.model).__name__, settings=_settings(study), names=shelves[0].names,
        pictured=any(shelf.images is not None for shelf in shelves), trust=study.trust(),
        plain=study.optimizer is not None, one_format=one_format,
        layers=study.layer_shares().head(12), past=past, sample=SAMPLE, **sections,
        version=__version__, date=datetime.date.today().isoformat(),
        seconds=time.perf_counter() - began, code=code_of(study, path, given),
    )  # fmt: skip
    try:
        with whole_file(path) as stream:
            stream.write(html.encode("utf-8", "replace"))  # words may hold half a character
    except OSError as error:
        raise LecoreError(
            f"{path} cannot be written ({in_short(error)})", "choose another place"
        ) from error


@cache
def _template() -> Any:
    """The page, compiled."""
    with extra("report"):
        import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(
        files(__package__).joinpath("report.html.jinja").read_text(encoding="utf-8")
    )


def _shelves(
    study: "Study",
    thumbnails: tuple[Any, Any] | None,
    texts: tuple[Sequence[str], Sequence[str]] | None,
    class_names: Sequence[str] | None,
    read: Callable[[list[int]], str] | None,
) -> tuple[Shelf, Shelf]:
    """Training and test examples, with all that a page shows of them."""
    sides, seen = (study.train, study.test), study.predicted()
    kept(study.outputs, seen[0].predictions.shape[1])  # are refused, though a page shows all
    names = names_of(study.loss, *sides, seen, class_names)
    words: Sequence[Sequence[str] | None] = [
        None if text is None else shown_texts(side.of_whole("texts", text), len(side))
        for side, text in zip(sides, both("texts", texts), strict=True)
    ]
    if read is not None and texts is None:
        words = [["".join(sentence(side, row, read)) for row in range(len(side))] for side in sides]
    return tuple(  # type: ignore[return-value]
        Shelf(side, said, images, text, names)
        for side, said, images, text in zip(
            sides, seen, pictures(*sides, thumbnails), words, strict=True
        )
    )


def _influences(
    study: "Study",
    shelves: tuple[Shelf, Shelf],
    top: int,
    shown: int,
    read: Callable[[list[int]], str] | None,
    store: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """Who does most to the test examples with the largest losses, and means over classes."""
    tiles = Tiles() if store is None else Tiles(store=Path(store, "influence"), progress=True)
    strongest, blocks = _one_pass(study, WIDE * top, shelves[0].names, tiles)
    worst = shelves[1].seen.losses.topk(min(shown, len(study.test))).indices.tolist()
    likeness = Likeness(study.train, study.test)
    lines = influence_lines(strongest, shelves, worst, top, likeness)
    if read is not None:
        lines = with_tokens(study, lines, read)
    held = findings.held(study, first_ones(lines))
    return {
        "blocks": blocks, "lines": lines, "held": held, "likeness": likeness,
        "wide": min(2 * WIDE * top, len(study.train)),
    }  # fmt: skip


def _similarities(study: "Study", shelf: Shelf) -> dict[str, Any]:
    """S_rel between classes if there are few, and the pairs behind it if there are very few."""
    names = shelf.names
    if names is None or len(names) > CLASSES:
        return {"alike": None, "by_class": {}}
    alike, by_class = class_pairs(study, names), {}
    if alike is not None and len(names) <= PICTURED:
        by_class = {
            pair: (shelf.card(i), shelf.card(j), value)
            for pair, (i, j, value) in alike.strongest.items()
        }
    return {"alike": alike, "by_class": by_class}


def _labels(study: "Study", shelf: Shelf, chosen: int) -> dict[str, Any]:
    """The training examples that stand out most, by each score."""
    targets, influence = study._targets(study.train), study.self_influence()
    scores = findings.doubtful(shelf.seen, targets, influence, shelf.names is not None)
    worst = {
        name: [(shelf.card(int(i)), float(v)) for i, v in column.nlargest(chosen).items()]
        for name, column in scores.items()
    }
    return {
        "worst": worst, "overlap": findings.overlap(scores, chosen), "chosen": chosen,
        "chart": _chart(scores), "points": POINTS,
    }  # fmt: skip


def _one_pass(
    study: "Study", top: int, names: Sequence[str] | None, tiles: Tiles
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The strongest influences, and means over pairs of classes if there are few."""
    strongest = Strongest(len(study.test), top)
    if names is None or len(names) > CLASSES:
        for start, block in study.influences(tiles):
            strongest.add(block, start)
        return strongest.frame(), None
    rows, columns = (study._targets(side).cpu() for side in (study.train, study.test))
    sums = torch.zeros(len(names), len(names), dtype=torch.float64)
    for start, block in study.influences(tiles):
        strongest.add(block, start)
        by_row = sums.new_zeros(len(names), block.shape[1])
        by_row.index_add_(0, rows[start : start + len(block)], block)
        sums.index_add_(1, columns, by_row)
    left, right = (side.bincount(minlength=len(names)) for side in (rows, columns))
    return strongest.frame(), pd.DataFrame((sums / left[:, None] / right).numpy(), names, names)


def _chart(scores: pd.DataFrame) -> str:
    """Loss against self-influence as SVG, in the colours of the page's text."""
    with extra("report"):
        import altair as alt
        import vl_convert

    some = scores.iloc[findings.spread(len(scores), POINTS).numpy()].reset_index()
    some = some[(some["self-influence"] > 0) & (some["loss"] > 0)]
    if some.empty:
        return ""
    chart = alt.Chart(some, width=440, height=280).mark_circle(opacity=0.7)
    chart = chart.encode(
        x=alt.X("self-influence:Q", scale=alt.Scale(type="log"), title="self-influence"),
        y=alt.Y("loss:Q", scale=alt.Scale(type="log"), title="loss"),
    )
    text = {"labelColor": "currentColor", "titleColor": "currentColor"}
    chart = chart.configure(background="transparent").configure_view(stroke=None)
    chart = chart.configure_axis(
        **text, labelFontSize=14, titleFontSize=15, grid=False, domainColor="currentColor",
        tickColor="currentColor",
    )  # fmt: skip
    svg: str = vl_convert.vegalite_to_svg(chart.to_dict())
    return svg


def _settings(study: "Study") -> dict[str, str]:
    """What was measured, in words."""
    model = study.model
    with study._trained():
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    step = "none was given: influences are for a rate of 1"
    if study.learning_rate is not None:
        step = f"plain SGD, learning rate {study.learning_rate:g}"
    elif study.optimizer is not None:
        step = f"the next one of {type(study.optimizer).__name__}; influences are for plain SGD"
        step += " at a rate of 1"
    loss = (
        getattr(study.loss, "__name__", type(study.loss).__name__)
        if study.loss
        else "squared_error"
    )
    return {
        "network": f"{type(model).__name__}, {trained:,} trained weights",
        "training examples": _count(study.train),
        "test examples": _count(study.test),
        "loss": loss.replace("_", " "),
        "step": step,
        "precision": str(study.dtype or torch.float64).removeprefix("torch."),
    }


def _count(side: Examples) -> str:
    sample = f"{len(side):,} of {side.total:,}, evenly spread"
    return f"{side.total:,}" if side.whole is None else sample
