"""Predictions of rows by models that were fitted without them."""

from dataclasses import dataclass, replace

import numpy as np

from ..tasks.stack import rowwise

__all__ = ["HeldOut"]


@dataclass
class HeldOut:
    """Predictions of the rows of a table by a blend whose weights are those of the final fit.

    Attributes
    ----------
    nested : ndarray of shape (n_splits, n_rows)
        For every split of the first scheme: the held-out rows under the model of the training
        rows, and every training row under a model without the training rows of its own block. So
        none of the predictions of a split depends on the labels of its held-out rows. NaN for
        rows that are not in the split.
    location, scale : ndarray of shape (n_tasks + 1,)
        Location and scale of every task's target in the fit, and of an unseen task's.
    left : ndarray of shape (n_left_out,)
        Tasks of the rows that `unseen` predicts.
    unseen : ndarray of shape (1 + n_features,)
        Intercept and slopes that an unseen task is given by a fit without these tasks.
    """

    nested: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    left: np.ndarray
    unseen: np.ndarray

    @classmethod
    def of(cls, problem, member, shares, left):
        """Predict the rows of a `Problem` by a `LeastSquares` member with these `Shares`.

        `left` are the `LeftOut` models of the candidates.
        """
        blocks, partition = problem.schemes[0]
        table, codes, known = problem.table, problem.table.codes, {}

        def predict(chosen, rows):
            key = chosen.tobytes()
            if key not in known:
                known[key] = _model(problem, member, shares, blocks.merge(chosen))
            coef, intercept = known[key]
            part = codes[rows]
            return rowwise(table.X[table.rows[rows]], coef, part) + intercept[part]

        nested = np.full((len(partition.train), len(partition.block)), np.nan)
        for s, (train, test) in enumerate(zip(partition.train, partition.test, strict=True)):
            rows = np.flatnonzero(test[partition.block])
            nested[s, rows] = predict(train, rows)
            for b in np.flatnonzero(train):
                others = train.copy()
                others[b] = False
                rows = np.flatnonzero(partition.block == b)
                nested[s, rows] = predict(others if others.any() else train, rows)
        tasks = left.tasks[left.group == 0]
        unseen = np.full(1 + problem.n_features, np.nan)
        if len(tasks):
            model = shares.unseen @ left.unseen[0]
            if problem.units is not None:
                problem.units.convert_unseen(model)
            coef, intercept = problem.in_caller_units(model[1:], model[0])
            unseen = np.append(intercept, coef)
        return cls(nested, *_target_units(problem), tasks, unseen)

    def in_features(self, basis, centre):
        """Return the predictions with the model of an unseen task in other features.

        These are ``(X - centre) @ basis``, with a basis of shape ``(n_features, rank)``.
        """
        slopes = basis @ self.unseen[1:]
        return replace(self, unseen=np.append(self.unseen[0] - slopes @ centre, slopes))


def _model(problem, member, shares, data):
    """Return slopes and intercepts of the tasks, fitted on some moments, in the caller's units."""

    def models_of(moments):
        blend = member.blend(moments, shares)
        return blend.coef[:, None], blend.intercept[:, None]

    slopes, intercepts = problem.models_in_units(data, models_of)
    slopes, intercepts = slopes[:, 0], intercepts[:, 0]
    if problem.units is not None:
        problem.units.convert_models(slopes, intercepts)
    return problem.in_caller_units(slopes, intercepts)


def _target_units(problem):
    """Return locations and scales of the tasks' targets, and of an unseen task's."""
    scale, unit, units = np.r_[problem.target_units], 1.0 / problem.scale[-1], problem.units
    location = np.full(len(scale), problem.centre[-1])
    if units is not None:
        location += unit * np.append(units.location, units.unseen[0])
    return location, scale
