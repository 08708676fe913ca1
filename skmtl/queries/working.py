r"""Working moments of tasks at the scores of their models: one query per step of Newton's method.

With the score :math:`s` of a row, the negative slope :math:`g` and the curvature :math:`v` of its
loss, the working response is :math:`z = s + g / v`, and the loss is about
:math:`\tfrac12 v (z - s')^2` at a score :math:`s'` nearby, up to a constant. The models are joined
with the rows. Scores are linear in the features, so that the sums of the products of the features
with :math:`v` and with :math:`g` give the moments of the features and :math:`z`.
"""

from dataclasses import dataclass

import numpy as np

from ..tasks.moments import TaskMoments
from .formulas import LOSSES, row_formulas
from .frames import beside, collect, engine_of
from .moments import number_column, queries_of_sums
from .partitions import working_sums_of_partitions

__all__ = ["LOSSES", "ModelQueries", "Working"]

# Most coefficients that are joined with the rows in one query of losses.
_MOST_COLUMNS = 1000


@dataclass(frozen=True)
class Working:
    """What a query at the scores of models returns, in the units of the caller.

    Attributes
    ----------
    moments : TaskMoments of shape (n_tasks, n_folds)
        Of the features and the working response, with curvatures as weights.
    loss, least : ndarray of shape (n_tasks, n_folds)
        Weighted sums of the losses of the rows, up to a constant, and of their least values.
    square : ndarray of shape (n_tasks, n_folds)
        Weighted sums of the squares of slopes, divided by the curvature.
    pearson : ndarray of shape (n_tasks, n_folds)
        Pearson's statistic; zero for the log-loss.
    """

    moments: TaskMoments
    loss: np.ndarray
    least: np.ndarray
    square: np.ndarray
    pearson: np.ndarray


class _QueryMath:
    """Arithmetic on expressions of queries, for `row_formulas`."""

    @staticmethod
    def exp(expression):
        return expression.exp()

    @staticmethod
    def log(expression):
        return expression.log()

    @staticmethod
    def where(condition, yes, no):
        import narwhals as nw

        return nw.when(condition).then(yes).otherwise(no)

    @staticmethod
    def larger(expression, number):
        import narwhals as nw

        return nw.max_horizontal(expression, nw.lit(number))

    @staticmethod
    def smaller(expression, number):
        import narwhals as nw

        return nw.min_horizontal(expression, nw.lit(number))


@dataclass
class ModelQueries:
    """Queries of the rows of a fit, joined with a model per task and fold.

    Attributes
    ----------
    table : LazyTable
    sums : BlockSums
    centre : ndarray of shape (n_features,)
        Means of the features.
    loss : Loss
        One of `LOSSES`.
    n_folds : int
    progress : callable
    n_passes : int
        Number of queries so far.
    """

    table: object
    sums: object
    centre: np.ndarray
    loss: object
    n_folds: int
    progress: object
    n_passes: int = 0

    def __post_init__(self):
        p = self.table.n_features
        self.unit = self.sums.unit[:p]
        self.shape = len(self.sums.sizes), self.n_folds
        origin = self.sums.origin
        self.origin = np.zeros((self.shape[0], p)) if origin is None else origin[:, :p]

    def working(self, coef, intercept):
        """Return the `Working` moments at the scores of each of several models.

        Parameters
        ----------
        coef : ndarray of shape (n_models, n_tasks, n_folds, n_features)
        intercept : ndarray of shape (n_models, n_tasks, n_folds)
            For models that are the same in all folds, `n_folds` may be 1.

        Returns
        -------
        list of Working

        Raises
        ------
        QueryError
            If the engine fails.
        """
        self._say("working moments at the scores of the models")
        slopes, levels = self._centred(coef, intercept)
        found = self._run(slopes, levels, np.arange(self.shape[0]), has_products=True)
        return [
            self._working_of(found, m, b, a)
            for m, (b, a) in enumerate(zip(slopes, levels, strict=True))
        ]

    def _working_of(self, found, m, b, level):
        """Return the `Working` moments of model m with these slopes and intercepts."""
        p, (n_tasks, n_folds) = self.table.n_features, self.shape
        weight, first = found[f"curvature{m}"], _stacked(found, f"first{m}_", p)
        slope, cross = found[f"slope{m}"], _stacked(found, f"slope{m}_", p)
        products = np.empty((n_tasks, n_folds, p, p))
        for i in range(p):
            for j in range(i + 1):
                value = found[f"product{m}_{i * p + j}"]
                products[..., i, j] = products[..., j, i] = value
        safe = np.where(weight > 0.0, weight, 1.0)
        mean, shift = first / safe[..., None], slope / safe
        varies = self.sums.varies[..., :p]
        scatter = products - first[..., :, None] * mean[..., None, :]
        scatter *= varies[..., :, None] & varies[..., None, :]
        # Of z, the part that is linear in the features, and the rest.
        rest = (cross - slope[..., None] * mean) * varies
        linear = np.einsum("tkij,tkj->tki", scatter, b)
        out = TaskMoments.empty((n_tasks, n_folds), p)
        out.weight[...] = weight
        out.mean[..., :p] = mean + self.origin[:, None]
        out.mean[..., p] = level + np.einsum("tkj,tkj->tk", mean, b) + shift
        out.scatter[..., :p, :p] = scatter
        out.scatter[..., :p, p] = out.scatter[..., p, :p] = linear + rest
        square = np.einsum("tkj,tkj->tk", b, linear + 2.0 * rest)
        square += found[f"square{m}"] - slope * shift
        out.scatter[..., p, p] = np.maximum(square, 0.0)
        out.rescale(np.append(-self.centre * self.unit, 0.0), np.append(1.0 / self.unit, 1.0))
        return Working(
            out, found[f"loss{m}"], found["least"], found[f"square{m}"], found[f"pearson{m}"]
        )

    def losses(self, coef, intercept, tasks=None):
        """Return the losses of several models, less the least values of the loss.

        Parameters
        ----------
        coef : ndarray of shape (n_models, n_chosen, n_folds, n_features)
        intercept : ndarray of shape (n_models, n_chosen, n_folds)
            For models that are the same in all folds, `n_folds` may be 1.
        tasks : ndarray of int, shape (n_chosen,), optional
            Tasks whose rows are read; None for all of them.

        Returns
        -------
        ndarray of shape (n_models, n_chosen, n_folds)
            Weighted sums.
        """
        tasks = np.arange(self.shape[0]) if tasks is None else tasks
        step, out = max(1, _MOST_COLUMNS // (1 + self.table.n_features)), []
        for start in range(0, len(coef), step):
            part = slice(start, start + step)
            self._say("losses of models on rows that these were not fitted to")
            slopes, levels = self._centred(coef[part], intercept[part], tasks)
            found = self._run(slopes, levels, tasks, has_products=False)
            sums = [found[f"loss{m}"] - found["least"] for m in range(len(levels))]
            out += [one[tasks] for one in sums]
        return np.array(out)

    def _say(self, what):
        self.n_passes += 1
        self.progress(f"query {self.n_passes} of the {what}")

    def _centred(self, coef, intercept, tasks=slice(None)):
        """Return slopes and intercepts for deviations from the origins, of every task and fold."""
        slopes, origin = coef / self.unit, self.origin[tasks, None]
        levels = intercept + coef @ self.centre + (slopes * origin).sum(axis=-1)
        shape = (*coef.shape[:2], self.n_folds)
        return (
            np.broadcast_to(slopes, (*shape, slopes.shape[-1])),
            np.broadcast_to(levels, shape),
        )

    def _run(self, slopes, levels, tasks, has_products):
        """Return sums ``(n_tasks, n_folds)`` over the rows by name."""
        table, p, n_models = self.table, self.table.n_features, len(levels)
        models = self._models(slopes, levels, tasks)
        on = [*table.keys, "fold"]
        names = table.columns[:p], [f"m{j}" for j in range(p)] if self._is_far else None
        out = {}
        native = table.frame
        if engine_of(native) == "dask":
            queries = [
                lambda: working_sums_of_partitions(
                    self._rows().to_native(), models, on, *names, self.table.has_weights, n_models,
                    self.loss, has_products,
                )
            ]  # fmt: skip
        else:
            queries = self._queries(models, on, n_models, has_products)
        for query in queries:
            found = collect(query, "sums at the scores of models")
            at = np.array(found["group"].to_list(), dtype=np.int64)
            for name in [c for c in found.columns if c != "group"]:
                sums = np.zeros(self.shape[0] * self.n_folds)
                sums[at] = number_column(found, name)
                out[name] = sums.reshape(self.shape)
        return out

    @property
    def _is_far(self):
        return self.sums.origin is not None

    def _models(self, slopes, levels, tasks):
        """Return the columns of a table of models of some tasks, one row per task and fold."""
        place, fold = np.nonzero(self.sums.moments.weight[tasks] > 0.0)
        task = tasks[place]
        out = self.sums.labels_of(task, self.table.keys)
        out |= {"fold_": fold.astype(np.int64), "group": task * self.n_folds + fold}
        for m, (b, a) in enumerate(zip(slopes, levels, strict=True)):
            out[f"a{m}"] = a[place, fold].astype(np.float64)
            out |= {f"b{m}_{j}": b[place, fold, j].copy() for j in range(b.shape[-1])}
        if self._is_far:
            out |= {f"m{j}": self.origin[task, j] for j in range(self.origin.shape[1])}
        return out

    def _rows(self):
        """Return the query of the rows, with the deviations of the features from their means."""
        import narwhals as nw

        table = self.table
        kept = [*table.keys, "fold", "target", *(["weight"] if table.has_weights else [])]
        columns = [
            ((nw.col(name) - float(c)) * float(u)).alias(name)
            for name, c, u in zip(table.columns[:-1], self.centre, self.unit, strict=True)
        ]
        return table.frame.select(*kept, *columns)

    def _queries(self, models, on, n_models, has_products):
        """Return functions that return the queries of the sums."""
        import narwhals as nw

        rows, names = self._rows(), self.table.columns[:-1]
        joined = rows.join(
            beside(rows, models), left_on=on, right_on=[f"{key}_" for key in on], how="inner"
        )
        if self._is_far:
            joined = joined.with_columns(
                *((nw.col(name) - nw.col(f"m{j}")).alias(name) for j, name in enumerate(names))
            )
        scores = []
        for m in range(n_models):
            score = nw.col(f"a{m}")
            for j, name in enumerate(names):
                score = score + nw.col(name) * nw.col(f"b{m}_{j}")
            scores.append(score.alias(f"s{m}"))
        y, weight = nw.col("target"), nw.col("weight")
        if not self.table.has_weights:
            weight = nw.lit(1.0)
        kept = ["group", "target", *names, *(["weight"] if self.table.has_weights else [])]
        joined = joined.select(*kept, *scores)
        made, more = {}, []
        for m in range(n_models):
            of_rows = row_formulas(self.loss, y, nw.col(f"s{m}"), _QueryMath)
            made[f"loss{m}"] = weight * of_rows.loss
            if has_products:
                more.append((weight * of_rows.slope).alias(f"g{m}"))
                more.append((weight * of_rows.curvature).alias(f"v{m}"))
                made |= self._products(m, of_rows, weight)
        made["least"] = weight * of_rows.least
        return queries_of_sums(joined.with_columns(*more) if more else joined, ["group"], made)

    def _products(self, m, of_rows, weight):
        """Return what is summed for the working moments of model m, by name."""
        import narwhals as nw

        names, g, v = self.table.columns[:-1], nw.col(f"g{m}"), nw.col(f"v{m}")
        made = {f"pearson{m}": weight * of_rows.pearson, f"curvature{m}": v, f"slope{m}": g}
        made[f"square{m}"] = of_rows.slope * g / of_rows.curvature
        made |= {f"first{m}_{j}": v * nw.col(c) for j, c in enumerate(names)}
        made |= {f"slope{m}_{j}": g * nw.col(c) for j, c in enumerate(names)}
        for i, first in enumerate(names):
            for j, second in enumerate(names[: i + 1]):
                made[f"product{m}_{i * len(names) + j}"] = v * nw.col(first) * nw.col(second)
        return made


def _stacked(found, name, n):
    """Return the sums ``name0``, ``name1``, ... on a last axis."""
    if not n:
        return np.zeros((*found["least"].shape, 0))
    return np.stack([found[f"{name}{j}"] for j in range(n)], axis=-1)
