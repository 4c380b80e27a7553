"""Named metrics: beside `train` in the normal form; also accepted inside it."""

from rapidfire_cli.problems import position
from rapidfire_cli.syntax.diagnostics import Diagnostics
from rapidfire_cli.syntax.nodes import Mapping

NAMED_METRICS = "named_metrics"


def lift(config: Mapping, diagnostics: Diagnostics) -> Mapping:
    """Move `named_metrics` from inside `train` to beside it."""
    train = config.get("train")
    if train is None or not isinstance(train.node, Mapping):
        return config
    inner, outer = train.node.get(NAMED_METRICS), config.get(NAMED_METRICS)
    if inner is None:
        return config
    kept = tuple(entry for entry in train.node.entries if entry is not inner)
    lifted = train._replace(node=train.node._replace(entries=kept))
    entries = tuple(lifted if entry is train else entry for entry in config.entries)
    if outer is None:
        return config._replace(entries=(*entries, inner))
    hint = f"keep one of the two; the other is at {position(outer.at)}"
    diagnostics.error(
        "E209", "`named_metrics` is given both inside `train` and beside it", inner.at, hint=hint
    )
    return config._replace(entries=entries)
