"""The columns of a lazy frame that a fit uses, checked and as expressions of numbers."""

import numbers
from dataclasses import dataclass, replace

from ..tasks.columns import column_names, find_column, find_columns, shown_names
from ..tasks.features import FeatureColumns
from ..tasks.fold_column import fold_of, refuse_fold_column
from .encoding import check_complete, fit_auto, number, read_columns, to_numbers
from .frames import prototype, read_lazy
from .moments import LazyTable, summarise

__all__ = ["LazyColumns", "key_kinds", "keys_as"]


@dataclass(frozen=True)
class LazyColumns:
    """Columns of a lazy frame.

    Attributes
    ----------
    frame : narwhals.LazyFrame
    X : native data frame
        The columns besides target and weights, without rows.
    features : FeatureColumns
        Of `X`.
    kinds : dict from str to str
        Kinds of the features, as `read_columns` returns them.
    keys : dict from str to {"integer", "string", "boolean"}
        Kinds of the labels in the columns of the task.
    target : str
    weight, fold : str or None
    tuples : bool
        Whether labels are tuples, because the columns of the task are a list.
    """

    frame: object
    X: object
    features: FeatureColumns
    kinds: dict
    keys: dict
    target: str
    weight: str | None
    fold: str | None
    tuples: bool

    @classmethod
    def find(cls, X, target, weight, face):
        """Find the columns of a fit and check their types.

        Parameters
        ----------
        X : lazy frame
        target, weight : str or None
            Names of columns.
        face : estimator
            Its parameters name the other columns.
        """
        frame = read_lazy(X)
        proto = prototype(frame)
        names = column_names(proto)
        for name in names:
            if name == "*" or (name.startswith("^") and name.endswith("$")):
                raise ValueError(
                    f"column {name!r} of X, a lazy frame, has a name that queries take for a "
                    "pattern; rename it."
                )
        for parameter, name in (("y", target), ("sample_weight", weight)):
            if name is not None and name not in names:
                raise ValueError(
                    f"{parameter}={name!r} is not a column of X, whose columns are: "
                    f"{shown_names(names)}."
                )
        others = [name for name in (target, weight) if name is not None]
        rest = [name for name in names if name not in others]
        proto = _select(proto, rest)
        features, fold = face._find_columns(proto), None
        if not features.names:
            raise ValueError(
                "X, a lazy frame, has no features: it needs a column besides the target, "
                "task_column=, fold_column= and exclude_columns=."
            )
        if face.fold_column is not None:
            fold = rest[find_column(proto, face.fold_column, "fold_column")]
        schema = dict(frame.collect_schema())
        keys = {}
        if face.task_column is not None:
            keys = key_kinds(schema, [rest[i] for i in find_columns(proto, face.task_column)])
        allowed = ("numbers", "text") if face.preprocessor is not None else ("numbers",)
        read_columns(schema, others, "the target or the weights", ("numbers",))
        kinds = read_columns(schema, features.names, "a feature", allowed)
        if fold is not None and not schema[fold].is_integer():
            refuse_fold_column(face.fold_column, f"values of type {schema[fold]}")
        tuples = not isinstance(face.task_column, (str, numbers.Integral))
        return cls(frame, proto, features, kinds, keys, target, weight, fold, tuples)

    def read(self, face, n_folds, progress):
        """Check the contents of the columns, and make the query of the rows.

        Returns
        -------
        table : LazyTable
        preprocessor : ColumnTransformer or None
        summary : Summary
            Of the features, after preprocessing, and the target.
        """
        import narwhals as nw

        progress("query of the means and limits of the columns")
        chosen = [self.features.names[j] for j in self.features.categorical or ()]
        numeric = [n for n, k in self.kinds.items() if k != "text" and n not in chosen]
        listed = [*numeric, self.target, *([self.weight] if self.weight else [])]
        others = [*self.keys, *([self.fold] if self.fold else [])]
        frame = self.frame
        if self.weight:
            self._check_weights(face)
            frame = frame.filter(number(self.weight) > 0.0)
        weight = number(self.weight) if self.weight else None
        summary = summarise(frame, [number(n) for n in listed], [nw.col(n) for n in others], weight)
        names = [f"column {name!r}" for name in [*listed, *others]]
        check_complete(summary, names, len(numeric))
        preprocessor, at = None, [*range(len(numeric)), listed.index(self.target)]
        if face.preprocessor == "auto":
            means = dict(zip(numeric, summary.mean.tolist(), strict=False))
            proto = _select(self.X, self.features.names)
            preprocessor = fit_auto(
                frame, proto, self.kinds, self.features.categorical, means, progress
            )
        elif face.preprocessor is not None:
            to_numbers(face.preprocessor, self.features.names, self.kinds)  # raises
        z = to_numbers(preprocessor, self.features.names, self.kinds)
        if preprocessor is None:
            summary = summary.take(at)
        else:
            summary = summarise(frame, [*z, number(self.target)], [], weight)
        columns = [e.alias(f"key{k}") for k, e in enumerate(keys_as(self.keys))]
        columns.append(self._fold(n_folds, face._seed()).alias("fold"))
        if self.weight:
            columns.append(weight.alias("weight"))
        columns += [e.alias(f"z{j}") for j, e in enumerate(z)]
        frame = frame.select(*columns, number(self.target).alias("target"))
        table = LazyTable(frame, len(self.keys), len(z), self.weight is not None, self.tuples)
        return table, preprocessor, summary

    def all_labels(self, table):
        """Return the labels of all tasks, also of those whose rows have no weight."""
        keys = [e.alias(f"key{k}") for k, e in enumerate(keys_as(self.keys))]
        return replace(table, frame=self.frame.select(*keys)).all_labels()

    def _check_weights(self, face):
        """Raise a ValueError for weights that are negative, missing or infinite."""
        summary = summarise(self.frame, [number(self.weight)], [])
        name = f"sample_weight={self.weight!r}"
        check_complete(summary, [f"column {self.weight!r}"])
        if summary.low[0] < 0.0 or summary.high[0] <= 0.0:
            raise ValueError(
                f"{name} has values from {summary.low[0]:g} to {summary.high[0]:g}; weights must "
                "be at least 0, and some of them above."
            )

    def _fold(self, n_folds, seed):
        """Return the fold of a row as an expression."""
        import narwhals as nw

        if self.fold is None or n_folds is None:
            return nw.lit(0).cast(nw.Int64)

        def where(condition, yes, no):
            return nw.when(condition).then(yes).otherwise(no)

        return fold_of(nw.col(self.fold).cast(nw.Int64), n_folds, seed, where)


def _select(proto, names):
    """Return some columns of a data frame in memory."""
    import narwhals as nw

    return nw.from_native(proto).select(names).to_native()


def key_kinds(schema, names):
    """Return the kinds of the labels in the columns of the task, or raise for other types."""
    out = {}
    for name in names:
        dtype = schema[name]
        text = str(dtype)
        if dtype.is_integer():
            out[name] = "integer"
        elif text == "Boolean":
            out[name] = "boolean"
        elif text.startswith(("String", "Categorical", "Enum")):
            out[name] = "string"
        else:
            raise ValueError(
                f"the task column {name!r} of X, a lazy frame, is of type {text}: convert it to "
                "integers or strings in the frame."
            )
    return out


def keys_as(kinds):
    """Return the columns of the task as expressions of the types of their labels.

    Parameters
    ----------
    kinds : dict from str to {"integer", "string", "boolean"}
    """
    import narwhals as nw

    types = {"integer": nw.Int64, "string": nw.String, "boolean": nw.Boolean}
    return [nw.col(name).cast(types[kind]) for name, kind in kinds.items()]
