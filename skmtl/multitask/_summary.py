"""Summary of a fitted multi-task estimator, as text, as data frames and as HTML."""

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from .._typing import Frame
from .._validation import check_coverage
from ..losses import LOG_LOSS

__all__ = ["FitSummary", "SummaryMixin"]

# Most rows of a table in the text and in HTML; the frames have all.
_MOST_ROWS = 30
_PARTS = ("coefficients", "components", "gains")


class FitSummary:
    """Summary of a fitted multi-task estimator.

    It is returned by `MultiTaskRegressor.summary` and `MultiTaskClassifier.summary`; ``print``
    shows it as text, and notebooks as tables.

    Parameters
    ----------
    title : str
        Name of the estimator.
    facts : dict
        Numbers of rows, tasks, features and effective parameters, and what was fitted.
    coefficients : dict of arrays
        For the intercept and every slope that all tasks share: ``name``, ``coef``, ``std_error``,
        ``low`` and ``high`` (the interval), and for more than two classes ``class``. If tasks have
        different losses, it and the other tables have a column ``loss``.
    components : dict of arrays
        Standard deviations ``std`` of the ``level`` and ``term``, over ``n_groups``; the last rows
        are those of the noise.
    gains : dict of arrays
        Mean cross-validated ``error`` of every ``model``, over the rows, and the ``gain`` of the
        fitted model over it.
    notes : list of str
        What is to be known of these figures.

    Notes
    -----
    The attributes have the names of the parameters.
    """

    def __init__(
        self,
        title: str,
        facts: dict,
        coefficients: dict,
        components: dict,
        gains: dict,
        notes: list,
    ) -> None:
        self.title, self.facts, self.notes = title, facts, notes
        self.coefficients, self.components, self.gains = coefficients, components, gains

    def to_frame(self, part: str = "coefficients") -> Frame:
        """Return a part of the summary as a pandas data frame.

        Parameters
        ----------
        part : {"coefficients", "components", "gains"}, default="coefficients"
            The part.

        Returns
        -------
        pandas.DataFrame
            One row per coefficient, component or model.

        Raises
        ------
        ImportError
            If pandas is not installed.
        ValueError
            For an unknown part.
        """
        if part not in _PARTS:
            raise ValueError(f"part={part!r} is unknown; give one of {list(_PARTS)}.")
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas: pip install pandas. Without it, the attributes "
                "coefficients, components and gains contain the same arrays."
            ) from error
        return pd.DataFrame(getattr(self, part))

    def __str__(self) -> str:
        """Return the summary as text."""
        lines = [self.title, "=" * len(self.title)]
        lines += [f"{name}: {_text(value)}" for name, value in self.facts.items()]
        for heading, table in self._tables():
            lines += ["", heading, *_as_text(table)]
        return "\n".join([*lines, *[f"\n{note}" for note in self.notes]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the summary as HTML."""
        facts = "".join(
            f"<tr><th style='text-align:left'>{html.escape(n)}</th><td>{html.escape(_text(v))}</td>"
            "</tr>"
            for n, v in self.facts.items()
        )
        parts = [f"<h4>{html.escape(self.title)}</h4><table>{facts}</table>"]
        for heading, table in self._tables():
            head, *rows = _cells(table)
            cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
            body = "".join(
                "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
                for row in rows
            )
            table_head = f"<thead><tr>{cells}</tr></thead>"
            parts.append(f"<h5>{html.escape(heading)}</h5><table>{table_head}{body}</table>")
        parts += [f"<p>{html.escape(note)}</p>" for note in self.notes]
        return "<div>" + "".join(parts) + "</div>"

    def _tables(self):
        headings = {
            "coefficients": "What all tasks share",
            "components": "How much tasks and groups differ (standard deviations)",
            "gains": "What sharing gained (cross-validated)",
        }
        tables = ((heading, getattr(self, part)) for part, heading in headings.items())
        return [(heading, table) for heading, table in tables if table]


@dataclass
class _Part:
    """What a summary tells of tasks that were fitted together.

    Attributes
    ----------
    loss : str or None
        Name of their loss; None for all tasks.
    tasks : bool ndarray of shape (n_tasks,)
    n_rows : float
    shared : ndarray of shape ([n_classes,] 1 + n_features) or None
        Shared coefficients, the intercept first.
    inference : Inference or None
    has_link, has_log_loss : bool
    """

    loss: str | None
    tasks: np.ndarray
    n_rows: float
    shared: np.ndarray | None
    inference: object
    has_link: bool
    has_log_loss: bool

    def named(self, table):
        """Return a table with a column of the loss, unless it is that of all tasks."""
        if self.loss is None:
            return table
        n_rows = len(next(iter(table.values())))
        return {"loss": np.full(n_rows, self.loss, dtype=object), **table}


class SummaryMixin:
    """The method `summary`."""

    _inference: Any = None
    _n_rows: float = np.nan  # of models that were pickled before there were summaries
    _parts_by_loss: Any = ()

    def summary(self, coverage: float = 0.95) -> FitSummary:
        """Return what users of mixed models look at first.

        These are the coefficients that all tasks share with standard errors and intervals, the
        standard deviations of tasks, of groups and of the noise, the effective number of
        parameters, and what sharing gained.

        Parameters
        ----------
        coverage : float, default=0.95
            Coverage of the intervals of the coefficients, between 0 and 1.

        Returns
        -------
        FitSummary
            ``print`` shows it as text, notebooks as HTML, ``to_frame`` returns data frames.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1.
        NotFittedError
            If the estimator is not fitted.

        Notes
        -----
        Standard errors are those of a mixed model whose variances are known, by block elimination
        on the moments of the tasks, and intervals are normal. Variances of the tasks maximise the
        restricted likelihood of a mixed model with independent slopes of equal variance on
        standardised features, on some of the tasks if there are many; of a classification, that of
        the working responses (Breslow & Clayton 1993), which is too small where tasks have few
        rows. Those of groupings and levels follow from their strengths, and with these, strengths
        of the tasks are used as well. Beside grouping columns, standard errors come from one
        solution by conjugate gradients per coefficient, for tables of up to 100,000 numbers, and
        the effective number of parameters is about right. Standard errors are NaN for larger tables
        with grouping columns, for more than two classes, and for losses that are no likelihoods.

        A structure of your own (`skmtl.sharing.structure.Structure`) has a penalty of its own,
        which says nothing of the variances of a mixed model. Where it has half of the weight or
        more, standard errors and the standard deviations of tasks are NaN; otherwise they are
        those of the baseline with the largest weight. The effective number of parameters is then
        that of the candidates, averaged by their weights: for those of the structure one intercept
        per task, what `Solution.complexity` says of the tasks' slopes, and
        `Solution.shared_complexity`.

        References
        ----------
        Breslow, N. E. and Clayton, D. G. (1993). Approximate inference in generalized linear mixed
        models. JASA 88(421). :doi:`10.1080/01621459.1993.10594284`

        Patterson, H. D. and Thompson, R. (1971). Recovery of inter-block information when block
        sizes are unequal. Biometrika 58(3). :doi:`10.1093/biomet/58.3.545`

        Examples
        --------
        >>> from skmtl import MultiTaskRegressor
        >>> from skmtl.datasets import load_grunfeld
        >>> X, y = load_grunfeld(return_X_y=True, as_frame=True)
        >>> model = MultiTaskRegressor("partial_pooling", task_column="firm").fit(X, y)
        >>> summary = model.summary()
        >>> summary.coefficients["name"].tolist()
        ['intercept', 'value', 'capital', 'year']
        >>> summary.components["term"].tolist()
        ['intercept', 'slopes', 'noise']
        """
        return self._summary(coverage)

    def _summary(self, coverage):
        check_is_fitted(self)
        check_coverage(coverage)
        return FitSummary(
            f"{type(self).__name__}: {type(self.sharing_).__name__}", self._facts(),
            self._shared_coefficients(coverage), self._components(), self._gains(), self._notes(),
        )  # fmt: skip

    def _store_summary(self, fitted, sizes):
        """Keep what the summary needs of a fit."""
        self._inference, self._n_rows = fitted.inference, float(np.sum(sizes))
        self._parts_by_loss = []
        for name, (loss, part) in fitted.by_loss.items():
            shared = np.append(part.shared_intercept, part.shared_coef)
            own = fitted.loss.of_kind(loss)[:-1]
            n_rows = float(np.sum(sizes[own]))
            self._parts_by_loss.append(
                _Part(name, own, n_rows, shared, part.inference, loss.has_link, loss is LOG_LOSS)
            )

    def _parts(self):
        """Return what was fitted together: the tasks of every loss."""
        if self._parts_by_loss:
            return self._parts_by_loss
        loss = LOG_LOSS if is_classifier(self) else getattr(self, "loss_", None)
        shared = None if self._learned is not None else self._named_coefficients()[2]
        every = np.ones(len(self.tasks_), dtype=bool)
        has_link, is_log_loss = getattr(loss, "has_link", False), loss is LOG_LOSS
        return [_Part(None, every, self._n_rows, shared, self._inference, has_link, is_log_loss)]

    def _facts(self):
        facts = {"rows": self._n_rows, "tasks": len(self.tasks_)}
        if self._learned is None:
            facts["features"] = len(self.coef_feature_names_)
        parts = self._parts()
        fitted = getattr(self, "loss_", None)
        facts["loss"] = "log_loss" if is_classifier(self) else getattr(fitted, "name", self.loss)
        if len(parts) > 1:
            facts["loss"] = ", ".join(f"{part.loss} ({part.tasks.sum()} tasks)" for part in parts)
        known = [part.inference.n_effective for part in parts if part.inference is not None]
        if len(known) == len(parts) and np.isfinite(known).all():
            facts["effective parameters"] = sum(known)
        facts["residual of the optimality conditions"] = self.kkt_residual_
        return {name: value for name, value in facts.items() if not _is_nan(value)}

    def _shared_coefficients(self, coverage):
        if self._learned is not None:
            return {}
        return _stacked(self._coefficients_of(part, coverage) for part in self._parts())

    def _coefficients_of(self, part, coverage):
        names, shared = self._named_coefficients()[0], part.shared
        several = shared.ndim == 2
        names = np.array(names * (len(shared) if several else 1), dtype=object)
        known = part.inference is not None and not several
        error = part.inference.std_error.copy() if known else np.full(shared.size, np.nan)
        coef, width = shared.ravel(), norm.ppf(0.5 + 0.5 * coverage)
        table = {"name": names, "coef": coef, "std_error": error}
        table.update(low=coef - width * error, high=coef + width * error)
        if several:
            classes = np.repeat(self.classes_.astype(object), shared.shape[1])
            table = {"class": classes, **table}
        return part.named(table)

    def _components(self):
        return _stacked(self._components_of(part) for part in self._parts())

    def _components_of(self, part):
        rows, inference, n_tasks = [], part.inference, int(part.tasks.sum())
        noise = np.nan if inference is None else inference.noise
        unit = 1.0 if part.has_log_loss else noise
        if self._above is not None:
            above = self._above
            for name, size, (intercept, slopes) in zip(
                above.levels.names, above.levels.sizes, above.strengths, strict=True
            ):
                rows.append((name, "intercept", _std(unit, intercept), size))
                rows.append((name, "slopes", _std(unit, slopes), size))
        for column, strength in getattr(self, "grouping_strengths_", {}).items():
            size = len(self.grouping_effects_[column]["level"])
            pair = strength if isinstance(strength, tuple) else (strength,)
            for term, one in zip(("intercept", "slopes"), pair, strict=False):
                rows.append((column, term, _std(unit, one), size))
        if inference is not None and n_tasks > 1:
            # Without a link, variances are relative to that of the noise.
            relative = 1.0 if part.has_link else noise
            intercept, slopes = np.sqrt(inference.variances) * relative
            rows.append(("task", "intercept", intercept, n_tasks))
            rows.append(("task", "slopes", slopes, n_tasks))
        if np.isfinite(noise):
            term = "dispersion (root)" if part.has_link else "noise"
            rows.append(("row", term, noise, round(part.n_rows)))
        if not rows:
            return {}
        level, term, std, n_groups = zip(*rows, strict=True)
        table = {
            "level": np.array(level, dtype=object), "term": np.array(term, dtype=object),
            "std": np.array(std), "n_groups": np.array(n_groups),
        }  # fmt: skip
        return part.named(table)

    def _gains(self):
        return _stacked(self._gains_of(part) for part in self._parts() if self.task_report_)

    def _gains_of(self, part):
        rows = self.task_report_["n_samples"][:-1]
        names, errors = ["shared", "independent", "pooled"], []
        for name in names:
            error = self.task_report_[f"error_{name}"][:-1]
            known = np.isfinite(error) & part.tasks
            total = rows[known].sum()
            errors.append(error[known] @ rows[known] / total if total else np.nan)
        errors = np.array(errors)
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = 1.0 - errors[0] / errors
        gain[0] = np.nan
        names[0] = "this model"
        table = {"model": np.array(names, dtype=object), "error": errors, "gain": gain}
        return part.named(table)

    def _notes(self):
        notes, found = [], [part.inference for part in self._parts()]
        unknown = [one is None or np.isnan(one.std_error).all() for one in found]
        if self._learned is not None:
            notes.append(
                "The fit is not linear: member_report_ has the members, and their weights; the "
                "standard deviations are those of its linear models."
            )
        elif all(unknown):
            notes.append("Standard errors are not known for this kind of fit.")
        if any(one is not None for one in found):
            notes.append(
                "Standard deviations of slopes are for features scaled to a standard deviation of "
                "one: within tasks, if strengths were tuned."
            )
        return notes


def _stacked(tables):
    """Return the columns of tables below each other, without empty tables."""
    tables = [table for table in tables if table]
    if not tables:
        return {}
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _is_nan(value):
    return isinstance(value, float) and np.isnan(value)


def _std(unit, strength):
    return 0.0 if np.isinf(strength) else unit / np.sqrt(strength) if strength > 0 else np.inf


def _text(value):
    if isinstance(value, (float, np.floating)):
        if np.isnan(value):
            return ""
        return f"{value:.0f}" if value == np.rint(value) and abs(value) < 1e9 else f"{value:.4g}"
    return str(value)


def _cells(table):
    """Return the rows of a table as text, the names of the columns first."""
    columns = [values.tolist()[:_MOST_ROWS] for values in table.values()]
    rows = [list(table), *([_text(v) for v in row] for row in zip(*columns, strict=True))]
    n_rows = len(next(iter(table.values())))
    if n_rows > _MOST_ROWS:
        rows.append([f"... and {n_rows - _MOST_ROWS} more", *[""] * (len(columns) - 1)])
    return rows


def _as_text(table):
    rows = _cells(table)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = [isinstance(values[0], str) for values in table.values()]
    return [
        "  ".join(
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(row, widths, left, strict=True)
        ).rstrip()
        for row in rows
    ]
