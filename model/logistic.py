"""L2-penalised logistic regression by scipy, with scikit-learn's objective so that C means the same thing.

Fitting only: nothing that serves imports this. The intercept is not penalised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, minimize
from scipy.special import expit, logsumexp

Floats = npt.NDArray[np.float64]

_EXACT = {"maxiter": 5000, "maxfun": 50000, "ftol": 1e-14, "gtol": 1e-9}
_STEEPEST = 128
_CLASS_CURVATURE = 0.1
"""Of a softmax loss in one logit, roughly; it only sets the pace."""
_CLASSES_ENOUGH = {"maxiter": 400, "maxfun": 1000, "ftol": 1e-9, "gtol": 1e-5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A fitted linear predictor: `columns @ coefficients + intercept` is the logit."""

    coefficients: Floats
    intercept: float


def fit_logistic(
    columns: Floats, labels: Floats, *, penalty_c: float = np.inf, non_negative: bool = False, intercept: bool = True
) -> Line:
    """Minimise sum(log loss) + |coefficients|^2 / (2 C) over (n, k) columns and (n,) labels in {0, 1}.

    Raises:
        ValueError: the labels hold one class only.

    """
    if np.unique(labels).size != 2:  # noqa: PLR2004 - a binary fit
        msg = "a logistic fit needs both classes"
        raise ValueError(msg)
    k = columns.shape[1]
    design = np.column_stack([columns, np.ones(len(columns))])
    ridge = np.append(np.full(k, 1.0 / penalty_c), 0.0)
    lower = np.append(np.full(k, 0.0 if non_negative else -np.inf), -np.inf if intercept else 0.0)
    upper = np.append(np.full(k, np.inf), np.inf if intercept else 0.0)

    def objective(beta: Floats) -> tuple[float, Floats]:
        z = design @ beta
        loss = np.logaddexp(0.0, z).sum() - labels @ z + 0.5 * (ridge * beta) @ beta
        return float(loss), design.T @ (expit(z) - labels) + ridge * beta

    start = np.zeros(k + 1)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=Bounds(lower, upper), options=_EXACT)
    return Line(coefficients=np.asarray(found.x[:k]), intercept=float(found.x[k]))


def fit_multinomial(
    columns: Floats, classes: npt.NDArray[np.int64], count: int, *, penalty_c: float
) -> tuple[Floats, Floats]:
    """Weights (count, k) and intercepts (count,) of the softmax regression over `count` classes, same objective.

    `columns` (n, k) may be float32: the two products of every step are then taken in it, at half the time.
    """
    n, k = columns.shape
    if 2 * n < k:
        # The penalty keeps the weights in the span of the rows: the same optimum in n instead of k dimensions.
        span, _ = np.linalg.qr(columns.T)
        weights, bias = fit_multinomial(columns @ span, classes, count, penalty_c=penalty_c)
        return weights @ span.T, bias
    wanted = np.zeros((n, count))
    wanted[np.arange(n), classes] = 1.0
    evened = _evened(columns, penalty_c)

    def objective(flat: Floats) -> tuple[float, Floats]:
        weights, bias = evened(flat[: count * k].reshape(count, k)), flat[count * k :]
        z = columns @ weights.T.astype(columns.dtype) + bias
        log_p = z - logsumexp(z, axis=1, keepdims=True)
        slope = np.exp(log_p) - wanted
        loss = -float((log_p * wanted).sum()) + 0.5 / penalty_c * float((weights * weights).sum())
        gradient = (columns.T @ slope.astype(columns.dtype)).T + weights / penalty_c
        return loss, np.concatenate([evened(gradient).ravel(), slope.sum(0)])

    start = np.zeros(count * (k + 1))
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=_CLASSES_ENOUGH).x
    return evened(found[: count * k].reshape(count, k)), found[count * k :]


def _evened(columns: Floats, penalty_c: float) -> Callable[[Floats], Floats]:
    """Symmetric map of (rows, k) after which the loss is curved about alike in every direction.

    A few directions of correlated columns are thousands of times steeper than the rest and cost a descent hundreds of
    steps; the steepest are found by a randomised range finder (Halko et al., SIAM Review 2011) and flattened.
    """
    k = columns.shape[1]
    drawn = np.random.default_rng(0).normal(size=(k, min(_STEEPEST, k))).astype(columns.dtype)
    for _ in range(2):
        drawn, _ = np.linalg.qr(columns.T @ (columns @ drawn))
    _, sizes, turned = np.linalg.svd(columns @ drawn, full_matrices=False)
    directions = (drawn @ turned.T).astype(np.float64)
    curvature = np.sqrt(_CLASS_CURVATURE * sizes.astype(np.float64) ** 2 + 1.0 / penalty_c)
    shrink = curvature.min() / curvature - 1.0
    return lambda rows: rows + ((rows @ directions) * shrink) @ directions.T
