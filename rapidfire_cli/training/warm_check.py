"""Whether a model takes the weights of another run, found out before a clone is admitted.

The model is made on fake tensors, which have shapes but no data, and without the splits. Where user code
needs more, a small model is made for real. Where that fails as well, nothing is said; the clone fails itself.
"""

from collections.abc import Iterator
from pathlib import Path

from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from rapidfire_cli.engine.messages import Assignment, Beginning, Finding
from rapidfire_cli.training import rng
from rapidfire_cli.training.opening import Shared, sourced
from rapidfire_cli.training.trained import NO_DATA
from rapidfire_cli.training.warm_start import HINT, architecture_change

SMALL = 2**30  # bytes of weights of a model that is made for real (assumed)


def beginning_findings(beginning: Beginning, shared: Shared) -> Iterator[Finding]:
    """Yield a finding with the tensors that differ, if the model does not take all the weights."""
    file = Path(beginning.weights)
    for is_fake in (True, False) if file.stat().st_size < SMALL else (True,):
        try:
            found = architecture_change(file, _model(beginning, shared, is_fake))
        except Exception:  # of user code, in which fake tensors or missing data can cause anything
            continue
        if found:
            yield Finding(0, (), "E517", found, hint=HINT)
        return


def _model(beginning: Beginning, shared: Shared, is_fake: bool) -> nn.Module:
    """Create the model of the leaf config on the CPU. Raises what user code raises."""
    assignment = Assignment(0, beginning.config, beginning.seed, "")
    source = sourced(assignment, NO_DATA, {}, shared, "fit")
    rng.reseed(beginning.seed, "create_model")
    if not is_fake:
        return source.spec.create_model(source.cfg)
    with FakeTensorMode(allow_non_fake_inputs=True):
        return source.spec.create_model(source.cfg)
