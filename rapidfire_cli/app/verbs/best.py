"""`best`: the leaf configs of an experiment, ranked."""

from rapidfire_cli.app.overview import open_overview
from rapidfire_cli.app.results import print_ranking
from rapidfire_cli.engine.directions import usual_direction
from rapidfire_cli.store.ranking import direction_of, ranking
from rapidfire_cli.terms import Direction, Epoch, Objective
from rapidfire_cli.view.documents import ranking_document
from rapidfire_cli.view.formats import Output


def best(
    experiment: str | None,
    parent: str | None,
    metric: str | None,
    direction: Direction | None,
    at: Epoch | None,
    top: int | None,
    output: Output,
) -> int:
    """Print the leaf configs best first."""
    seen = open_overview(experiment, parent, choose=lambda usual: _chosen(usual, metric, direction, at))
    if metric and metric != seen.metadata.objective.metric and not direction:
        direction_of(metric, seen.rows)  # refuses where a name does not say it
    ranked = ranking(seen.rows, seen.objective)[:top]
    print_ranking(seen, ranked, output, lambda: ranking_document(seen, ranked))
    return 0


def _chosen(usual: Objective, metric: str | None, direction: Direction | None, at: Epoch | None) -> Objective:
    """The experiment's objective, or the metric named instead in its usual direction; at the epoch named."""
    if metric is None or metric == usual.metric:
        return Objective(usual.metric, direction or usual.direction, at or usual.at)
    return Objective(metric, direction or usual_direction(metric) or "max", at or usual.at)
