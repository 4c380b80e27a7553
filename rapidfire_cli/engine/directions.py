"""Whether lower or higher is better for a metric, without loading torch.

The named metrics are listed. Those of which torchmetrics says `higher_is_better` have it from there, and a
test holds the two equal; the others have it from their definitions. Other names say it by how they end.
"""

import re

from rapidfire_cli.terms import LOSS, Direction

LESS = frozenset(
    {
        *("calibration_error", "continuous_ranked_probability_score", "coverage_error", "eer"),
        *("hamming_distance", "hinge_loss", "jensen_shannon_divergence", "kl_divergence", "log_cosh_error"),
        *("mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error"),
        *("mean_squared_log_error", "normalized_root_mean_squared_error", "perplexity", "ranking_loss"),
        *("relative_squared_error", "symmetric_mean_absolute_percentage_error", "tweedie_deviance_score"),
        *("weighted_mean_absolute_percentage_error",),
    }
)
MORE = frozenset(
    {
        *("accuracy", "auroc", "average_precision", "cohen_kappa", "concordance_corr_coef"),
        *("cosine_similarity", "exact_match", "explained_variance", "f1_score", "jaccard_index"),
        *("kendall_rank_corr_coef", "log_auc", "matthews_corr_coef", "negative_predictive_value"),
        *("pearson_corr_coef", "precision", "r2_score", "ranking_average_precision", "recall"),
        *("spearman_corr_coef", "specificity", "token_accuracy"),
    }
)
LESS_ENDINGS = (LOSS, "error", "distance", "divergence", "deviance", "deviance_score", "perplexity")
LESS_WORDS = frozenset({"mse", "rmse", "mae", "nll", "wer", "cer"})  # common abbreviations of metrics
MORE_WORDS = frozenset({"acc", "f1", "auc", "iou", "dice", "bleu"})

_WORDS = re.compile(r"[._/-]")


def usual_direction(metric: str) -> Direction | None:
    """Which direction is better, by the name (`train.loss`, `head.f1_score`); None if unknown."""
    words = _WORDS.split(metric)
    endings = ["_".join(words[begin:]) for begin in range(len(words))]
    if metric.endswith(LESS_ENDINGS) or any(ending in LESS | LESS_WORDS for ending in endings):
        return "min"
    return "max" if any(ending in MORE | MORE_WORDS for ending in endings) else None
