"""Sentences of packages and of files, and what a step on one of them moves."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from lecore import LecoreError, empirical_ntk
from lecore.data.docstrings import PACKAGES, WORDS, sentences, words_of
from lecore.studies.own import same_words


@pytest.fixture(scope="module")
def given():
    return same_words.problem("docstrings", 0, each=40, tests=20)


@pytest.mark.thorough
def test_sentences_are_of_plain_words_and_of_one_topic_alone():
    found = sentences("docstrings", 50)
    assert found.names == tuple(PACKAGES)
    assert np.bincount(found.topics).tolist() == [50] * 4
    assert len(set(found.texts)) == 200
    assert all(WORDS[0] <= len(words_of(text)) <= WORDS[1] for text in found.texts)
    assert all(text.endswith(".") and "`" not in text for text in found.texts)
    assert not any(text.endswith(("i.e.", "e.g.")) for text in sentences("docstrings", 300).texts)
    assert found.texts == sentences("docstrings", 50).texts


def test_a_file_has_sentences_of_ones_own(tmp_path):
    place = tmp_path / "mine.tsv"
    place.write_text("sea\tFish swim.\nland\tCats walk.\nsea\tWhales dive deep.\nland\tDogs run.\n")
    found = sentences(str(place), 2)
    assert found.names == ("sea", "land")
    assert found.texts == ["Fish swim.", "Whales dive deep.", "Cats walk.", "Dogs run."]
    assert found.topics.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sea\tFish swim.\nland Cats walk.\n", "line 2 of .* is no sentence; write a topic"),
        ("sea\tFish swim.\nsea\tWhales dive.\n", "has 1 topics; give sentences of two or more"),
        ("sea\tFish swim.\nland\tCats walk.\n", "1 sentences on sea, not 2; take 1 of each"),
        ("", "has 0 topics"),
        (b"\xff\xfe\tx", "there are no sentences in"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, text, words):
    place = tmp_path / "mine.tsv"
    place.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LecoreError, match=words):
        sentences(str(place), 2)


def test_a_missing_file_is_refused():
    with pytest.raises(LecoreError, match="give docstrings, or a file"):
        sentences("nowhere.tsv", 2)


def test_words_are_known_that_two_training_sentences_have(given):
    counts: dict[str, int] = {}
    for text in given.train.texts:
        for word in set(words_of(text)):
            counts[word] = counts.get(word, 0) + 1
    known = sorted(word for word, count in counts.items() if count > 1)
    assert given.known == len(known)
    for side in (given.train, given.test):
        for text, line in zip(side.texts, side.words.tolist(), strict=True):
            read = [known.index(w) + 1 if w in known else 0 for w in words_of(text)]
            assert line == read + [0] * (len(line) - len(read))


def test_a_split_has_each_sentence_once(given):
    assert not set(given.train.texts) & set(given.test.texts)
    assert given.train.topics.bincount().tolist() == [40] * 4
    assert given.test.topics.bincount().tolist() == [20] * 4


def test_the_kernel_of_a_bag_of_words_counts_them(given):
    network = same_words.network("bag of words", given, 0, width=4, epochs=1)
    x, z = given.train.words[:7], given.test.words[:5]
    right = torch.zeros(7, 5, dtype=torch.float64)
    for i, left in enumerate(x.tolist()):
        for j, other in enumerate(z.tolist()):
            counts = [sum(w == v for w in left) * other.count(v) for v in set(other) - {0}]
            lengths = sum(w > 0 for w in left) * sum(w > 0 for w in other)
            right[i, j] = sum(counts) / max(1, lengths)
    kernel = empirical_ntk(network, x, z)
    torch.testing.assert_close(kernel, right[..., None, None] * torch.eye(4).double())


def test_without_a_word_in_common_a_bag_of_words_moves_nothing(given):
    network = same_words.network("bag of words", given, 0, width=4, epochs=1)
    found = same_words.measured(network, given, 20)
    assert found["the topic"] == found["neither"] == 0
    assert found["chance"] == 0.5
    assert found["a word"] > 0


def test_common_words_by_sets(given):
    x, z = given.train.words[:9], given.test.words[:8]
    found = same_words.share_a_word(x, z)
    right = [[bool(set(a) & set(b) - {0}) for b in z.tolist()] for a in x.tolist()]
    assert found.tolist() == right
    assert not same_words.share_a_word(torch.zeros(1, 3).long(), torch.zeros(1, 3).long()).any()


def test_numbers_by_kind_and_chance_by_loops():
    rng = np.random.default_rng(0)
    s = rng.uniform(size=(6, 7))
    words, topics = rng.uniform(size=(2, 6, 7)) < 0.5
    medians = same_words.by_kind(s, words, topics)
    for kind, (word, topic) in same_words.KINDS.items():
        here = [s[i, j] for i in range(6) for j in range(7)
                if words[i, j] == word and topics[i, j] == topic]  # fmt: skip
        assert medians[kind] == np.median(here)
    rows = [roc_auc_score(topics[i][~words[i]], s[i][~words[i]]) for i in range(6)
            if len(set(topics[i][~words[i]])) == 2]  # fmt: skip
    assert 1 < len(rows) < 6
    assert same_words.topic_chance(s, words, topics) == pytest.approx(np.mean(rows))


def test_too_few_sentences_are_told():
    every = np.ones((2, 2), dtype=bool)
    with pytest.raises(LecoreError, match="no two sentences share a word; take more"):
        same_words.by_kind(np.ones((2, 2)), every, every)
    with pytest.raises(LecoreError, match="no step has sentences of both kinds"):
        same_words.topic_chance(np.ones((2, 2)), every, every)


def test_topics_are_dealt_out_to_the_training_sentences_alone(given):
    dealt = same_words.dealt_out(given, 0)
    assert dealt.train.topics.bincount().tolist() == [40] * 4
    assert not torch.equal(dealt.train.topics, given.train.topics)
    assert dealt.test is given.test
    assert dealt.train.texts is given.train.texts


def test_only_what_says_so_is_untrained(given):
    settings = {"width": 4, "epochs": 1}
    start = same_words.network("hidden layer, untrained", given, 3, **settings).state_dict()
    for kind in ("hidden layer, trained", "hidden layer, topics dealt out"):
        weights = same_words.network(kind, given, 3, **settings).state_dict()
        assert all(not torch.equal(start[name], weights[name]) for name in start)
    with pytest.raises(LecoreError, match="no network 'transformer'; choose from bag of words"):
        same_words.network("transformer", given, 0, **settings)


def test_strongest_sentences_are_those_of_the_study(given):
    network = same_words.network("hidden layer, trained", given, 0, width=8, epochs=3)
    study = same_words.study_of(network, given, 0.1)
    found = same_words.strongest_sentences(study, given, [0, 25])
    influence = study.influence(top=1)
    for test in (0, 25):
        lines = found[found.test == given.test.texts[test]]
        right = influence[influence.test == test]
        assert lines.training.tolist() == [given.train.texts[row] for row in right.train]
        assert lines.influence.tolist() == right.influence.tolist()
        assert set(lines.topic) == {given.names[int(given.test.topics[test])]}
