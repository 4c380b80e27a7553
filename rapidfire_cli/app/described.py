"""What the journal records of an experiment, apart from its runs."""

from rapidfire_cli.app.brackets import first_rule
from rapidfire_cli.manifest.representatives import Representatives
from rapidfire_cli.manifest.varied import varied
from rapidfire_cli.search.proposing import searches
from rapidfire_cli.store.metadata import Metadata
from rapidfire_cli.store.ranking import usual_objective
from rapidfire_cli.syntax.ast import ExperimentFile
from rapidfire_cli.terms import Objective


def metadata_of(file: ExperimentFile, outline: Representatives) -> Metadata:
    """The experiment, apart from its runs."""
    execution = file.execution
    return Metadata(
        *(file.name, objective_of(file, outline), varied(file), execution.chunks), keep=execution.keep
    )


def objective_of(file: ExperimentFile, outline: Representatives) -> Objective:
    """The file's objective, else the metric of a search or an early-stopping rule, else the default."""
    if found := next(searches(file), None):
        return file.objective or Objective(found.search.metric, found.search.direction)
    if rule := first_rule(file):
        return file.objective or Objective(rule.metric, rule.direction)
    metrics = (run.leaf.get("named_metrics", ()) for run in outline.kinds)
    named = dict.fromkeys(name for names in metrics for name in names)
    return file.objective or usual_objective(list(named))
