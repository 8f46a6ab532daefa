"""Both similarities of Dan et al. for one prediction, written out term by term."""

import math

import pytest

from lecore.studies.dan.two_ratios import UPDATE, two_ratios


def kl(after, before):
    return sum(a * math.log(a / b) for a, b in zip(after, before, strict=True))


def as_coded(after, before):
    return sum(b * (math.log(b) - a) for a, b in zip(after, before, strict=True)) / 3


@pytest.mark.parametrize("after", [(0.2, 0.5, 0.3), (0.3, 0.4, 0.3), (0.9, 0.05, 0.05)])
def test_ratios_are_those_of_sums(after):
    before = (0.3, 0.4, 0.3)
    own, own_after = UPDATE
    found = two_ratios(before, after)
    assert found.divergence == pytest.approx(kl(after, before), abs=1e-12)
    assert found.described == pytest.approx(kl(after, before) / kl(own_after, own), abs=1e-12)
    assert found.coded == pytest.approx(as_coded(after, before))
    below = as_coded(own_after, own) + 1e-8
    assert found.coded_ratio == pytest.approx(as_coded(after, before) / below)
