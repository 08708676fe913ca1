"""Predictions of rows by models that were fitted without them."""

from dataclasses import dataclass, replace

import numpy as np

from ..tasks.stack import linear_scores

__all__ = ["HeldOut"]


@dataclass
class HeldOut:
    """Predictions of the rows of a table by a blend whose weights are those of the final fit.

    Attributes
    ----------
    nested : ndarray of shape (n_splits, n_rows, n_scores)
        Scores: predictions, log-odds, or scores of more than two classes. For every split of the
        first scheme: the held-out rows under the model of the training rows, and every training row
        under a model without the training rows of its own block. So none of the predictions of a
        split depends on the labels of its held-out rows. NaN for rows that are not in the split,
        and for the training rows of all but the first splits if only these are asked for.
    location, scale : ndarray of shape (n_tasks + 1,)
        Location and scale of every task's target in the fit, and of an unseen task's.
    left : ndarray of shape (n_left_out,)
        Tasks of the rows that `unseen` predicts.
    unseen : ndarray of shape (n_scores, 1 + n_features)
        Intercepts and slopes that an unseen task is given by a fit without these tasks.
    offsets : ndarray of shape (n_rows,) or None
        Sums of the rows' effects in grouping columns, which `unseen` does not contain.
    """

    nested: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    left: np.ndarray
    unseen: np.ndarray
    offsets: np.ndarray | None = None

    @classmethod
    def of(cls, problem, member, shares, left):
        """Predict the rows of a problem by a `PoolingMember` with these `Shares`.

        `left` are the `LeftOut` models of the candidates.
        """
        partition, table, known = problem.partition, problem.table, {}

        def predict(chosen, rows, split):
            offsets = problem.offsets(split)
            # Without offsets, splits with the same training blocks have the same models.
            key = chosen.tobytes(), None if offsets is None else split
            if key not in known:
                known[key] = problem.models_of_blocks(member, shares, chosen, split)
            found = linear_scores(table.X[table.rows[rows]], *known[key], table.codes[rows])
            return found if offsets is None else found + offsets[rows, None]

        nested = np.full((len(partition.train), len(partition.block), problem.n_scores), np.nan)
        for s, (train, test) in enumerate(zip(partition.train, partition.test, strict=True)):
            rows = np.flatnonzero(test[partition.block])
            nested[s, rows] = predict(train, rows, s)
            for b in np.flatnonzero(train if s < problem.nested_splits else []):
                others = train.copy()
                others[b] = False
                rows = np.flatnonzero(partition.block == b)
                nested[s, rows] = predict(others if others.any() else train, rows, s)
        tasks = left.tasks[left.group == 0]
        unseen = np.full((problem.n_scores, 1 + problem.n_features), np.nan)
        if len(tasks):
            model = np.tensordot(shares.unseen, left.unseen[0], 1)
            if problem.units is not None:
                problem.units.convert_unseen(model)
            coef, intercept = problem.in_caller_units(model[..., 1:], model[..., 0])
            unseen[:] = np.concatenate([np.asarray(intercept)[..., None], coef], axis=-1)
        return cls(nested, *problem.target_locations(), tasks, unseen, problem.offset_of_new)

    def in_features(self, basis, centre):
        """Return the predictions with the model of an unseen task in other features.

        These are ``(X - centre) @ basis``, with a basis of shape ``(n_features, rank)``.
        """
        slopes = self.unseen[:, 1:] @ basis.T
        intercept = self.unseen[:, :1] - slopes @ centre[:, None]
        return replace(self, unseen=np.hstack([intercept, slopes]))
