"""The part of the multi-task classifiers that predicts sets of labels."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._typing import MatrixLike, NDArray
from .._validation import check_coverage
from ..guard.prediction_sets import check_set_thresholds
from ..task_models import sets_from_scores

__all__ = ["PredictionSetsMixin"]


class PredictionSetsMixin:
    """Prediction sets from thresholds per task, which the models of tasks are given, too."""

    _rows_to_predict: Any
    _scores_and_codes: Any
    _are_strange: Any
    _strangers: Any
    _set_thresholds: Any = None  # of models that were pickled before there were any

    def predict_set(self, X: MatrixLike, coverage: float = 0.9, *, task: object = None) -> NDArray:
        r"""Return the prediction sets of rows, which contain the fraction `coverage` of new labels.

        The set of a row consists of the labels with a probability of at least :math:`1 - q_t`,
        and of the most probable one. The threshold :math:`q_t` of the task is a quantile of one
        minus the out-of-fold probabilities of the labels in `fit`. The distribution of a task with
        few rows is mainly that of all tasks, to the extent that tasks do not differ. An unseen task
        has that of tasks that were left out.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows to predict.
        coverage : float, default=0.9
            Fraction of new labels in the sets. It refers to rows with the weights of `fit`, those
            of `class_weight` included.
        task : label or array-like of shape (n_samples,), default=None
            Task labels, as in `predict`.

        Returns
        -------
        bool ndarray of shape (n_samples, n_classes)
            Whether a label is in the set, in the order of ``classes_``. A set is never empty, and
            contains the label that `predict` returns.

        Raises
        ------
        ValueError
            For the same reasons as in `predict`, for a coverage that is not between 0 and 1, and
            if ``cv=None``.

        References
        ----------
        Sadinle, M., Lei, J. and Wasserman, L. (2019). Least ambiguous set-valued classifiers with
        bounded error levels. Journal of the American Statistical Association 114(525).
        :doi:`10.1080/01621459.2017.1395341`

        Dunn, R., Wasserman, L. and Ramdas, A. (2023). Distribution-free prediction sets for
        two-layer hierarchical models. Journal of the American Statistical Association 118(544).
        :doi:`10.1080/01621459.2022.2060112` (unseen tasks)

        Examples
        --------
        >>> import numpy as np
        >>> from skmtl import MultiTaskClassifier
        >>> rng = np.random.default_rng(0)
        >>> X, shop = rng.normal(size=(600, 2)), np.repeat(np.arange(20), 30)
        >>> bought = 2 * X[:, 0] + rng.normal(size=20)[shop] + rng.logistic(size=600) > 0
        >>> model = MultiTaskClassifier("partial_pooling").fit(X, bought, task=shop)
        >>> sets = model.predict_set(X, coverage=0.8, task=shop)
        >>> sets.shape
        (600, 2)
        >>> bool(sets[np.arange(600), bought.astype(int)].mean() > 0.75)
        True
        """
        check_is_fitted(self)
        coverage = check_coverage(coverage)
        thresholds = check_set_thresholds(self._set_thresholds)
        rows = self._rows_to_predict(X, task)
        scores, codes = self._scores_and_codes(X, rows)
        found, strange = thresholds.at(coverage, codes), self._are_strange(rows)
        if strange is not None and self._strangers.set_thresholds is not None:
            others = self._strangers.set_thresholds.at(coverage, np.full(len(found), -1))
            found = np.where(strange, np.maximum(found, others), found)
        return sets_from_scores(scores, found)

    def _errors_of_task(self, t):
        """Return the thresholds of a known task."""
        thresholds = self._set_thresholds
        return None if thresholds is None else thresholds.take(np.array([t]))

    def _errors_of_new_task(self, scale, std, X, y, weight):
        """Return the thresholds of a new task."""
        thresholds = self._set_thresholds
        return None if thresholds is None else thresholds.of_new_task()
