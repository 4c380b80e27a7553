"""Every named metric a second time: by scikit-learn or SciPy, or by hand, of all rows at once.

`z` are logits and `y` labels that all count, as NumPy arrays in float64: (N,), or (N, C) for several columns.
"""

import numpy as np
import scipy.stats
import sklearn.metrics as sk
from scipy.special import expit, log_softmax, softmax, xlogy


def calibration(confidence, right):
    bins = np.digitize(confidence, np.linspace(0, 1, 16))
    gaps = [abs(right[bins == one].sum() - confidence[bins == one].sum()) for one in np.unique(bins)]
    return sum(gaps) / len(confidence)


def eer(y, z):
    fpr, tpr, _ = sk.roc_curve(y, z, drop_intermediate=False)
    at = np.argmin(np.abs(fpr - (1 - tpr)))
    return (fpr[at] + 1 - tpr[at]) / 2


def log_auc(y, z):
    fpr, tpr, _ = sk.roc_curve(y, z, drop_intermediate=False)
    inside = (fpr > 0.001) & (fpr <= 0.1)
    x = np.concatenate([[0.001], fpr[inside], [0.1]])
    heights = np.concatenate([[np.interp(0.001, fpr, tpr)], tpr[inside], [np.interp(0.1, fpr, tpr)]])
    return np.trapezoid(heights, np.log10(x)) / 2


def negative_predictive_value(y, predicted):
    return sk.precision_score(1 - y, 1 - predicted, zero_division=0)


def specificity(y, predicted):
    return sk.recall_score(1 - y, 1 - predicted, zero_division=0)


def present(y, predicted):
    """Classes that occur; the others are left out of an average."""
    return np.union1d(y, predicted)


def one_against_others(score, decided=False):
    """The mean over classes of a binary score of each."""

    def mean(z, y):
        classes = present(y, z.argmax(1)) if decided else range(z.shape[1])
        found = []
        for one in classes:
            positive = (y == one).astype(int)
            if decided:
                found.append(score(positive, (z.argmax(1) == one).astype(int)))
            elif 0 < positive.sum() < len(y):
                others = np.logaddexp.reduce(np.delete(z, one, 1), axis=1)
                found.append(score(positive, z[:, one] - others))
        return np.mean(found)

    return mean


def each_label(score, decided=False):
    """The mean over labels of a binary score of each."""

    def mean(z, y):
        found = []
        for logits, labels in zip(z.T, y.T, strict=True):
            kept = labels != -100
            one, other = labels[kept].astype(int), logits[kept]
            if decided:
                found.append(score(one, (other > 0).astype(int)))
            elif 0 < one.sum() < len(one):
                found.append(score(one, other))
        return np.mean(found)

    return mean


def over_labels(score):
    """A score of all labels together."""
    return lambda z, y: score(y[y != -100].astype(int), (z[y != -100] > 0).astype(int))


def over_rows(score):
    """The mean over rows of a score of the row's labels."""

    def mean(z, y):
        rows = [(labels[labels != -100], logits[labels != -100]) for labels, logits in zip(y, z, strict=True)]
        return np.mean([score(labels, logits) for labels, logits in rows if len(labels)])

    return mean


def one_row(score, alone):
    """scikit-learn's score of one row, which it refuses where that has one label."""
    return lambda y, z: score(y[None], z[None]) if len(y) > 1 else alone(y)


def zero(score):
    return lambda y, predicted, **options: score(y, predicted, zero_division=0, **options)


DECIDED = {
    "f1_score": zero(sk.f1_score),
    "jaccard_index": zero(sk.jaccard_score),
    "negative_predictive_value": negative_predictive_value,
    "precision": zero(sk.precision_score),
    "recall": zero(sk.recall_score),
    "specificity": specificity,
}
SCORED = {
    "auroc": sk.roc_auc_score,
    "average_precision": sk.average_precision_score,
    "eer": eer,
    "log_auc": log_auc,
}
BINARY = {
    **{name: lambda z, y, of=of: of(y, (z > 0).astype(int)) for name, of in DECIDED.items()},
    **{name: lambda z, y, of=of: of(y, z) for name, of in SCORED.items()},
    **dict.fromkeys(("accuracy", "top1_accuracy", "exact_match"), lambda z, y: sk.accuracy_score(y, z > 0)),
    "top2_accuracy": lambda z, y: 1.0,
    "calibration_error": lambda z, y: calibration(expit(z), y),
    "cohen_kappa": lambda z, y: sk.cohen_kappa_score(y, z > 0),
    "hamming_distance": lambda z, y: sk.hamming_loss(y, z > 0),
    "hinge_loss": lambda z, y: sk.hinge_loss(y, z),
    "matthews_corr_coef": lambda z, y: sk.matthews_corrcoef(y, z > 0),
}
ALL_RIGHT = ("accuracy", "top1_accuracy", "exact_match")
MULTICLASS = {
    **{name: one_against_others(of, decided=True) for name, of in DECIDED.items()},
    **{name: one_against_others(of) for name, of in SCORED.items()},
    **dict.fromkeys(ALL_RIGHT, lambda z, y: sk.accuracy_score(y, z.argmax(1))),
    "token_accuracy": lambda z, y: sk.accuracy_score(y, z.argmax(1)),
    "perplexity": lambda z, y: np.exp(-log_softmax(z, 1)[np.arange(len(y)), y.astype(int)].mean()),
    "top2_accuracy": lambda z, y: sk.top_k_accuracy_score(y, z, k=2, labels=range(z.shape[1])),
    "calibration_error": lambda z, y: calibration(softmax(z, 1).max(1), z.argmax(1) == y),
    "cohen_kappa": lambda z, y: sk.cohen_kappa_score(y, z.argmax(1)),
    "hamming_distance": lambda z, y: 1 - one_against_others(zero(sk.recall_score), decided=True)(z, y),
    "hinge_loss": lambda z, y: sk.hinge_loss(y, z, labels=range(z.shape[1])),
    "matthews_corr_coef": lambda z, y: sk.matthews_corrcoef(y, z.argmax(1)),
}
MULTILABEL = {
    **{name: each_label(of, decided=True) for name, of in DECIDED.items()},
    **{name: each_label(of) for name, of in SCORED.items()},
    "accuracy": over_labels(sk.accuracy_score),
    "exact_match": over_rows(lambda y, z: np.all(y == (z > 0))),
    "hamming_distance": each_label(sk.hamming_loss, decided=True),
    "matthews_corr_coef": over_labels(sk.matthews_corrcoef),
    "coverage_error": over_rows(one_row(sk.coverage_error, lambda y: y[0])),
    "ranking_average_precision": over_rows(one_row(sk.label_ranking_average_precision_score, lambda y: 1)),
    "ranking_loss": over_rows(one_row(sk.label_ranking_loss, lambda y: 0)),
}


def concordance(z, y):
    apart = z.mean() - y.mean()
    return 2 * np.cov(z, y)[0, 1] / (z.var(ddof=1) + y.var(ddof=1) + apart**2)


def each_output(score):
    """The mean over outputs of a score of each."""
    return lambda z, y: np.mean([score(*pair) for pair in zip(z.T, y.T, strict=True)])


CORRELATED = {
    "concordance_corr_coef": concordance,
    "kendall_rank_corr_coef": lambda z, y: scipy.stats.kendalltau(z, y).statistic,
    "normalized_root_mean_squared_error": lambda z, y: np.sqrt(np.mean((z - y) ** 2)) / abs(y.mean()),
    "pearson_corr_coef": lambda z, y: scipy.stats.pearsonr(z, y).statistic,
    "relative_squared_error": lambda z, y: np.sum((z - y) ** 2) / np.sum((y - y.mean()) ** 2),
    "spearman_corr_coef": lambda z, y: scipy.stats.spearmanr(z, y).statistic,
}
AVERAGED = {
    "explained_variance": lambda z, y: sk.explained_variance_score(y, z),
    "log_cosh_error": lambda z, y: np.mean(np.logaddexp(z - y, y - z) - np.log(2)),
    "mean_absolute_error": lambda z, y: sk.mean_absolute_error(y, z),
    "mean_absolute_percentage_error": lambda z, y: np.mean(abs(z - y) / np.maximum(abs(y), 1.17e-6)),
    "mean_squared_error": lambda z, y: sk.mean_squared_error(y, z),
    "mean_squared_log_error": lambda z, y: np.mean((np.log1p(z) - np.log1p(y)) ** 2),
    "r2_score": lambda z, y: sk.r2_score(y, z),
    "symmetric_mean_absolute_percentage_error": lambda z, y: np.mean(2 * abs(z - y) / (abs(z) + abs(y))),
    "tweedie_deviance_score": lambda z, y: sk.mean_tweedie_deviance(y.ravel(), z.ravel()),
    "weighted_mean_absolute_percentage_error": lambda z, y: abs(z - y).sum() / abs(y).sum(),
}
VALUES = {**CORRELATED, **AVERAGED}
OUTPUTS = {
    **{name: each_output(of) for name, of in CORRELATED.items()},
    **AVERAGED,
    "cosine_similarity": lambda z, y: np.mean(np.diag(sk.pairwise.cosine_similarity(z, y))),
}


def divergence(p, log_q):
    return np.sum(xlogy(p, p) - p * log_q, axis=1).mean()


def jensen_shannon(z, y):
    q = softmax(z, 1)
    middle = np.log((q + y) / 2)
    return (divergence(y, middle) + divergence(q, middle)) / 2


DISTRIBUTIONS = {
    "kl_divergence": lambda z, y: divergence(y, log_softmax(z, 1)),
    "jensen_shannon_divergence": jensen_shannon,
}


def crps(z, y):
    spread = np.abs(z[:, :, None] - z[:, None, :]).mean((1, 2))
    return np.mean(np.abs(z - y[:, None]).mean(1) - spread / 2)


ENSEMBLES = {"continuous_ranked_probability_score": crps}
