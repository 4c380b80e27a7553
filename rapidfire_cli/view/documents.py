"""The documents that `status` and `best` print for programs, the same in every format."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rapidfire_cli.durable.publication import Damaged, claimed
from rapidfire_cli.engine.checkpoints import BEST, FINAL, newest_first, weights_in
from rapidfire_cli.manifest.codec import spelt
from rapidfire_cli.store.queries import Best, Overview, RunRow
from rapidfire_cli.store.ranking import Ranked
from rapidfire_cli.store.series import Point
from rapidfire_cli.terms import TRAIN, VALIDATION, Objective, Plain, Split, spoken


def experiment_document(overview: Overview, rows: Sequence[RunRow]) -> dict[str, Plain]:
    """The whole of what `status` prints as JSON; best epochs are those by the objective."""
    objective = overview.objective
    return {
        "experiment": overview.metadata.experiment,
        "directory": str(overview.home.path),
        "state": str(overview.state),
        "keep": overview.metadata.keep,
        **_packing(overview),
        "objective": {"metric": objective.metric, "direction": objective.direction, "at": objective.at},
        "runs": [run_document(row, overview) for row in rows],
    }


def _packing(overview: Overview) -> dict[str, Plain]:
    """How many runs share each GPU, and what they gave each other, if that was decided."""
    if (packing := overview.metadata.packing) is None:
        return {}
    given: list[Plain] = [{"run": each.run, "slots": [*each.slots]} for each in overview.given]
    return {"packing": {"runs": packing.runs, "why": packing.why, "given": given}}


def ranking_document(overview: Overview, ranked: Sequence[Ranked]) -> dict[str, Plain]:
    """The whole of what `best` prints as JSON: every run, best first, and the leaf configs."""
    rows = [row for place in ranked for row in place.rows]
    return {
        **experiment_document(overview, rows),
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


def run_document(row: RunRow, overview: Overview) -> dict[str, Plain]:
    """One run of it."""
    directory = overview.home.run(row)
    splits = [TRAIN, VALIDATION, *(split for split in row.metrics if split not in (TRAIN, VALIDATION))]
    return {
        "number": row.number,
        "id": row.id,
        "group": row.group,
        "state": str(row.state),
        **({"host": row.host} if row.host else {}),
        "epoch": row.epoch,
        "epochs": row.epochs,
        "step": row.step,
        "metrics": {split: _spoken(row.metrics.get(split, {})) for split in splits},
        "best": _best(row.best, splits),
        "partial_metrics": _spoken(row.partial_metrics),
        "error": row.error or None,
        "listed": row.listed,
        "seed": row.seed,
        "replicate": row.replicate,
        "directory": str(directory),
        "weights": {
            "final": _spelled(weights_in(directory, FINAL)),
            "best": _best_weights(directory, row.best, overview.objective),
        },
        **({"origin": spelt(row.origin)} if row.origin else {}),
        "config": dict(row.config),
    }


def point_document(point: Point) -> dict[str, Plain]:
    """A value of a curve, as `history` prints it."""
    return {
        "run": point.run,
        "epoch": point.epoch,
        "step": point.step,
        "split": point.split,
        "metric": point.name,
        "value": spoken(point.value),
        "ended": point.ended,
    }


def _best(best: Best | None, splits: Iterable[Split]) -> Plain:
    """The run's best epoch by the objective."""
    if best is None:
        return None
    metrics: dict[str, Plain] = {split: _spoken(best.metrics.get(split, {})) for split in splits}
    return {"epoch": best.epoch, "value": spoken(best.value), "metrics": metrics}


def _best_weights(directory: Path, best: Best | None, objective: Objective) -> str | None:
    """The weights of the run's best epoch; those of one that was chosen by a former objective are not."""
    if best is None or (found := weights_in(directory, BEST)) is None:
        return None
    try:
        facts = [claimed(path).facts for path in newest_first(directory)[:1]]
    except Damaged:
        return None
    told = {"metric": objective.metric, "direction": objective.direction, "epoch": best.epoch}
    kept = next((fact for each in facts if isinstance(fact := each.get("best"), dict)), {})
    return str(found) if told.items() <= kept.items() else None


def _spelled(path: Path | None) -> str | None:
    return str(path) if path else None


def _spoken(named: Mapping[str, float]) -> dict[str, Plain]:
    return {name: spoken(value) for name, value in named.items()}
