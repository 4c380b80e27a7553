"""What `check --smoke` estimates is near the memory that each spec's runs need, prepared rows aside."""

import pytest

from rapidfire_cli.engine.messages import Assignment
from rapidfire_cli.terms import canonical
from rapidfire_cli.training.estimating import estimate
from rapidfire_cli.training.measuring import HostMeter, measure
from tests.scenarios.conftest import ROOT
from tests.shares import share
from tests.templates.project import Project

FACTOR = (
    2  # between the estimate and what is measured: a run also keeps copies of small states, which add up here
)
RUNS = {"digits.yaml": 1, "imagenet.yaml": 3, "imdb.yaml": 4, "causal_lm.yaml": 4, "tabular.yaml": 1}


def test_every_spec_is_tried():
    specs = {path.stem for path in (ROOT / "specs").glob("*.py")}
    assert {name.removesuffix(".yaml") for name in RUNS} == specs


@pytest.mark.parametrize("name", share(RUNS, 3))
def test_the_estimate_of_a_spec_is_near_what_is_measured(project, tmp_path, name):
    asked = Project(ROOT / "configs" / name)
    config = asked.leaves[RUNS[name] - 1]
    shared = asked.sandbox(tmp_path, data_cache=0).executor._shared
    run = Assignment(1, canonical(config), 7, "")
    measure(run, shared, HostMeter())  # with what loading takes
    real = measure(run, shared, HostMeter())

    assert not real.failed
    assert real.size / FACTOR <= estimate(config, 7, shared) <= real.size * FACTOR
