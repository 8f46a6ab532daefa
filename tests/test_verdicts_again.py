"""Verdicts of all claims by a second program, which shares no code with the first."""

import json
from pathlib import Path

import pytest
import yaml

from lecore.companion import claims

ROOT = Path(__file__).parents[1]
CLAIMS = {c["id"]: c for c in yaml.safe_load((ROOT / "book/claims.yml").read_text())}


@pytest.fixture(scope="module")
def found():
    return claims.reference_results(ROOT)


def runs_of(claim):
    """Reference runs that the claim is about."""
    main = ROOT / "book/results" / (claim["chapter"] + ".json")
    files = [main, *main.with_suffix("").glob("*.json")] if "sets" in claim else [main]
    runs = [json.loads(file.read_text()) for file in files if file.exists()]
    return [run for run in runs if "sets" not in claim or run["data"] in claim["sets"]]


def met(criterion, number):
    """1, 0, or 0.5 for what cannot be told."""
    least = criterion.get("at_least", float("-inf"))
    most = criterion.get("at_most", float("inf"))
    alone = criterion.get("of_these_runs", False) and number.get("n", 9) > 2
    if "low" not in number and "n" in number and not alone:
        return 0.5
    ends = sorted([number.get("low", number["value"]), number.get("high", number["value"])])
    if ends[0] >= least and ends[1] <= most:
        return 1
    return 0 if ends[1] < least or ends[0] > most else 0.5


def verdict(claim):
    found = []
    for run in runs_of(claim):
        for criterion in claim["criteria"]:
            if criterion["record"] not in run["records"]:
                return "not run"
            found.append(met(criterion, run["records"][criterion["record"]]))
    if 0 in found and 1 in found:
        return "partly"
    if 0.5 in found:
        return "undecided"
    return "reproduced" if 1 in found else "not reproduced"


@pytest.mark.parametrize("name", CLAIMS)
def test_both_programs_agree(found, name):
    assert found[name].outcome == verdict(CLAIMS[name])


def test_each_claim_has_a_verdict(found):
    assert found.keys() == CLAIMS.keys()


def test_no_interval_of_a_reference_run_is_from_fewer_than_three():
    for path in (ROOT / "book/results").rglob("*.json"):
        records = json.loads(path.read_text())
        for name, entry in records["records"].items() if "records" in records else ():
            assert "low" not in entry or entry.get("n", 3) >= 3, (path.name, name)
