"""Named metrics: beside `train` in the normal form, inside it as the reference also shows them."""

from rapidfire_cli.problems import position
from rapidfire_cli.syntax.diagnostics import Diagnostics
from rapidfire_cli.syntax.nodes import Mapping

NAMED_METRICS = "named_metrics"


def lift(config: Mapping, diagnostics: Diagnostics) -> Mapping:
    """The config with `named_metrics` beside `train`, where the reference also shows it inside."""
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
