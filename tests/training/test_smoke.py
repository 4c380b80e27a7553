"""One batch shows whether a leaf config can be trained, and which knobs its code reads."""

import json

from rapidfire_cli.engine.messages import Smoke
from tests.training.sandbox import TrainingSandbox, leaf


def smoked(tmp_path, config, spec):
    return TrainingSandbox(tmp_path, spec, data_cache=0).executor.smoke(Smoke(json.dumps(config), 42))


def test_nothing_is_kept_of_a_batch(tmp_path):
    assert smoked(tmp_path, leaf(), "Blobs").findings == ()
    assert not list(tmp_path.iterdir())


def test_metrics_and_validation_are_tried_too(tmp_path):
    (finding,) = smoked(tmp_path, leaf(named_metrics=["mean_squared_error"]), "LossOnly").findings
    assert (finding.code, finding.path) == ("E431", ("named_metrics",))
    assert finding.found == "metrics need `logits`, but compute_forward did not return it"


def test_what_user_code_raises_is_a_finding_with_its_place(tmp_path):
    (finding,) = smoked(tmp_path, leaf(), "NoModel").findings
    assert finding.found == "create_model must return a torch.nn.Module; it returned an empty dict"


def test_a_metric_that_does_not_fit_is_to_blame_itself(tmp_path):
    (finding,) = smoked(
        tmp_path, leaf(named_metrics=["top1_accuracy", "mean_squared_error"]), "Blobs"
    ).findings
    assert (finding.code, finding.path, finding.at) == ("E431", ("named_metrics", "1"), None)
