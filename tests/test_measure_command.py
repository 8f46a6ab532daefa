"""``lecore measure`` as a user types it."""

import re
import signal
import sys

import pytest

from lecore.__main__ import main

MODULE = """
import torch
from torch import nn
from lecore import Study

torch.manual_seed(0)
x, y = torch.randn(6, 3), torch.randn(6, 1)
net = nn.Linear(3, 1)
study = Study(net, (x, y), learning_rate=0.1)
number = 7

def make():
    return study

def broken():
    import no_such_package

def stopped():
    import os, signal
    os.kill(os.getpid(), signal.SIGTERM)
    return study
"""


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    (tmp_path / "somebodys_project.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lecore", "measure", *arguments])
        try:
            main()
            status = 0
        except SystemExit as stopped:
            status = stopped.code
        finally:
            sys.modules.pop("somebodys_project", None)
        return status, capsys.readouterr()

    return run


@pytest.mark.parametrize("name", ["study", "make"])
def test_a_report_is_written_where_it_is_asked_for(typed, tmp_path, name):
    before = list(sys.path)
    status, said = typed(f"somebodys_project:{name}", "--out", "here/it.html", "--top", "2")
    assert status == 0
    assert (tmp_path / "here" / "it.html").as_uri() in said.out
    assert "<h1>What moves what in Linear</h1>" in (tmp_path / "here" / "it.html").read_text()
    assert sys.path == before


def test_one_that_is_terminated_ends_as_after_ctrl_c(typed, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    try:
        status, said = typed("somebodys_project:stopped", "--out", "it.html")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert status == 130
    assert said.err == "lecore: stopped; with --store the same command goes on\n"
    assert not (tmp_path / "it.html").exists()


def test_one_that_is_stopped_before_it_begins_leaves_no_traceback(monkeypatch):
    def stopped(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("lecore.errors.extra", stopped)
    monkeypatch.setattr(sys, "argv", ["lecore", "chapters"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130


def test_some_examples_are_enough(typed, tmp_path):
    status, _ = typed("somebodys_project:study", "--out", "it.html", "--points", "3")
    assert status == 0
    assert "3 of 6, evenly spread" in (tmp_path / "it.html").read_text()
    status, said = typed("somebodys_project:study", "--points", "0")
    assert status == 2
    assert "points must be a whole number above 0" in said.err


@pytest.mark.thorough
def test_influences_are_kept_where_they_are_asked_for(typed, tmp_path):
    pytest.importorskip("zarr")
    for _ in range(2):
        status, _ = typed("somebodys_project:study", "--out", "it.html", "--store", "runs/1")
        assert status == 0
    assert (tmp_path / "runs" / "1" / "influence" / "zarr.json").exists()


CLASSES = """
import torch
from torch import nn
from lecore import Study

torch.manual_seed(0)
y = torch.tensor([0, 1, 2, 0, 1, 2])
study = Study(nn.Linear(3, 3), (torch.randn(6, 3), y), loss="cross_entropy", learning_rate=0.1)
names = ["<cat>", "dog", "frog"]
texts = [f"first {i}" for i in range(6)], [f"second {i}" for i in range(6)]
pictures = torch.rand(6, 4, 4), torch.rand(6, 4, 4)
"""

LANGUAGE = """
import torch
from torch import nn
from lecore import Study

torch.manual_seed(0)
class Bigrams(nn.Embedding):
    def forward(self, input_ids):
        return super().forward(input_ids)

rows = {"input_ids": torch.arange(12).reshape(3, 4) % 5}
study = Study(Bigrams(5, 5), rows, loss="next token", learning_rate=0.1)

def spelled(ids):
    return " ".join(f"word{i}" for i in ids)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("points", [(), ("--points", "3")])
def test_what_else_is_shown_is_named_by_its_place(typed, tmp_path, points):
    (tmp_path / "somebodys_project.py").write_text(CLASSES)
    also = [
        part
        for option, name in {
            "class-names": "names",
            "texts": "texts",
            "thumbnails": "pictures",
        }.items()
        for part in (f"--{option}", f"somebodys_project:{name}")
    ]
    status, said = typed("somebodys_project:study", "--out", "it.html", *also, *points)
    assert status == 0, said.err
    page = (tmp_path / "it.html").read_text()
    assert "&lt;cat&gt;" in page
    shown = {int(number) for number in re.findall(r"first (\d)", page)}
    assert shown == ({0, 2, 5} if points else set(range(6)))
    assert "data:image/png" in page


def test_the_tokens_of_a_sentence_are_read_by_the_named_tokenizer(typed, tmp_path):
    (tmp_path / "somebodys_project.py").write_text(LANGUAGE)
    given = "--tokenizer", "somebodys_project:spelled"
    status, said = typed("somebodys_project:study", "--out", "it.html", *given)
    assert status == 0, said.err
    assert "word3" in (tmp_path / "it.html").read_text()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--class-names somebodys_project:other", "somebodys_project:other is nothing; give the"),
        ("--class-names names", "'names' names no object; give module:object"),
        ("--class-names somebodys_project:texts", "there are 2 class_names for 3 outputs"),
        ("--texts somebodys_project:names", "texts are no pair"),
        ("--thumbnails somebodys_project:study", "thumbnails are no pair"),
        ("--tokenizer somebodys_project:names", "tokenizer"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(typed, tmp_path, option, words):
    (tmp_path / "somebodys_project.py").write_text(CLASSES)
    status, said = typed("somebodys_project:study", *option.split())
    assert status == 2
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("somebodys_project", "names no object; give module:object"),
        ("nobodys_project:study", "no module 'nobodys_project'; run this in the folder"),
        ("somebodys_project:other", "is nothing; give the name of a lecore.Study"),
        ("somebodys_project:number", "is of type int; give the name"),
        ("somebodys_project:net", "is of type Linear; give the name"),
        ("somebodys_project.py:study", "run this in its folder, as somebodys_project:study"),
        ("./somebodys_project:study", "run this in its folder, as somebodys_project:study"),
        (".somebodys_project:study", "run this in its folder, as somebodys_project:study"),
        ("deep/in/model.py:study", "names a file, no module; run this in its folder, as model:"),
    ],
)
def test_what_is_no_study_is_refused_in_one_line(typed, tmp_path, place, words):
    status, said = typed(place)
    assert status == 2
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_help_is_there(typed):
    status, said = typed("--help")
    assert status == 0
    assert "module:object" in said.out


@pytest.mark.parametrize(
    "line", ["raise SystemExit(0)", "def study(): raise SystemExit(3)", "import somebodys_"]
)
def test_a_module_that_ends_the_program_is_told(typed, tmp_path, line):
    (tmp_path / "somebodys_project.py").write_text(line)
    status, said = typed("somebodys_project:study")
    assert status == 2
    assert "somebodys_project:study does not run" in said.err
    assert said.err.count("\n") == 1


def test_a_command_that_is_stopped_says_so(typed, tmp_path):
    (tmp_path / "somebodys_project.py").write_text("def study(): raise KeyboardInterrupt")
    status, said = typed("somebodys_project:study")
    assert status == 130
    assert said.err.startswith("lecore: stopped; ")
    assert said.err.count("\n") == 1


def test_a_place_that_cannot_be_written_is_refused_before_the_module_runs(typed, tmp_path):
    (tmp_path / "somebodys_project.py").write_text("raise RuntimeError('ran for hours')")
    (tmp_path / "folder").mkdir()
    status, said = typed("somebodys_project:study", "--out", "folder")
    assert status == 2
    assert "'folder' is a folder; give the name of a file in it" in said.err


def test_a_script_reads_no_arguments_of_the_command(typed, tmp_path):
    parse = "import argparse\nargparse.ArgumentParser().parse_args()\n"
    (tmp_path / "somebodys_project.py").write_text(parse + MODULE)
    status, _ = typed("somebodys_project:study", "--top", "2")
    assert status == 0
    assert sys.argv[1] == "measure"


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["study", "elsewhere"])
def test_a_module_that_goes_elsewhere_takes_nothing_with_it(typed, tmp_path, name):
    (tmp_path / "other").mkdir()
    leaves = "import os\nos.chdir('other')\n" if name == "study" else "import os\n"
    makes = "\ndef elsewhere():\n    os.chdir('other')\n    return study\n"
    (tmp_path / "somebodys_project.py").write_text(leaves + MODULE + makes)
    status, _ = typed(f"somebodys_project:{name}", "--out", "it.html")
    assert status == 0
    assert (tmp_path / "it.html").exists()


@pytest.mark.parametrize("kind", ["lecore.LecoreError", "OSError", "ValueError"])
def test_a_message_of_several_lines_is_told_in_one(typed, tmp_path, kind):
    text = f"import lecore\nraise {kind}('first\\nsecond')\n"
    (tmp_path / "somebodys_project.py").write_text(text)
    status, said = typed("somebodys_project:study", "--out", "report.html")
    assert status == 2
    assert len(said.err.splitlines()) == 1
    assert "first" in said.err
