"""What `status` and `best` print for machines: one shape, whatever the notation."""

from collections.abc import Mapping, Sequence

from rapidfire_cli.manifest.codec import spelt
from rapidfire_cli.store.queries import Overview, RunRow
from rapidfire_cli.store.ranking import Ranked
from rapidfire_cli.terms import TRAIN, VALIDATION, Objective, Plain, spoken


def experiment_document(overview: Overview, rows: Sequence[RunRow]) -> dict[str, Plain]:
    """The whole of what `status` prints as JSON."""
    return {
        "experiment": overview.about.experiment,
        "state": str(overview.state),
        "runs": [run_document(row) for row in rows],
    }


def ranking_document(overview: Overview, ranked: Sequence[Ranked], objective: Objective) -> dict[str, Plain]:
    """The whole of what `best` prints as JSON: every run, best first, and the leaf configs."""
    rows = [row for place in ranked for row in place.rows]
    return {
        **experiment_document(overview, rows),
        "objective": {"metric": objective.metric, "direction": objective.direction},
        "leaf_configs": [_leaf_config(place) for place in ranked],
    }


def _leaf_config(place: Ranked) -> dict[str, Plain]:
    value = place.value
    return {
        "rank": place.rank,
        "runs": [row.number for row in place.rows],
        "mean": spoken(value.mean) if value else None,
        "std": spoken(value.deviation) if value else None,
        "count": value.count if value else 0,
    }


def run_document(row: RunRow) -> dict[str, Plain]:
    """One run of it."""
    splits = [TRAIN, VALIDATION, *(split for split in row.metrics if split not in (TRAIN, VALIDATION))]
    return {
        "number": row.number,
        "id": row.id,
        "group": row.group,
        "state": str(row.state),
        "epoch": row.epoch,
        "epochs": row.epochs,
        "step": row.step,
        "metrics": {split: _spoken(row.metrics.get(split, {})) for split in splits},
        "so_far": _spoken(row.so_far),
        "error": row.error or None,
        **({"replicate": row.replicate} if row.replicate else {}),
        **({"origin": spelt(row.origin)} if row.origin else {}),
        "config": dict(row.config),
    }


def _spoken(named: Mapping[str, float]) -> dict[str, Plain]:
    return {name: spoken(value) for name, value in named.items()}
