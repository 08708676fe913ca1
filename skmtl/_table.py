"""Input of `python -m skmtl`: a file or the embedded table, prepared for cross-validation."""

import datetime
import decimal
import numbers
import re
from dataclasses import dataclass, field

import numpy as np

from ._arguments import UserError, check_column, csv_dialect, file_kind, open_binary, read_start
from .datasets import load_grunfeld
from .tasks.encode import TaskLabels

__all__ = ["TaskData", "read_table"]

_MAX_LEVELS = 50  # a string column with more holds ids or free text rather than categories
_MIN_CLASS_ROWS = 5  # fewer rows may all be in one fold, so that its model lacks the class
_LARGEST = 1e100  # larger numbers and infinities are taken as missing: their squares may overflow


@dataclass
class TaskData:
    """Table for cross-validation: features, and the task and target of each row."""

    title: str
    task_name: str
    target_name: str
    labels: list  # one string per task, in the order of the codes
    codes: np.ndarray
    target: np.ndarray  # numbers, or class labels
    table: object  # ndarray or pandas DataFrame with the task column, the features and the time
    feature_names: list
    parameters: dict  # of the estimator, except sharing and cv
    kind: str = "regression"  # or "classification"
    time: str | None = None
    notes: list = field(default_factory=list)

    def rows(self, index):
        """Return the given rows of the table."""
        return self.table.iloc[index] if hasattr(self.table, "iloc") else self.table[index]


def read_table(args):
    """Return the user's file, or the embedded table, as `TaskData`."""
    data = _embedded_table(args) if args.file is None else _user_table(args)
    _check_tasks(data)
    return data


def _embedded_table(args):
    """Return Grunfeld's panel; pandas is not needed."""
    panel = load_grunfeld()
    names = panel.feature_names[1:] if args.features is None else args.features
    columns = [panel.feature_names.index(name) for name in ["firm", *names]]
    return TaskData(
        title="Grunfeld's investment panel: 11 U.S. firms, 1935 to 1954 (embedded, public domain)",
        task_name="firm",
        target_name="invest",
        labels=list(panel.task_labels),
        codes=panel.data[:, 0].astype(np.int64),
        target=panel.target,
        table=panel.data[:, columns],
        feature_names=list(names),
        parameters={"task_column": 0},
    )


def _check_tasks(data):
    """Raise if there are too few tasks or rows, or if the target is constant."""
    sizes = np.bincount(data.codes)
    if len(sizes) < 2:
        raise UserError(
            f"all rows belong to the same {data.task_name}, {data.labels[0]!r}; sharing needs at "
            "least two tasks"
        )
    if sizes.max() < 2:
        raise UserError(
            f"no two rows have the same {data.task_name!r}, so that no row of a task can be held "
            "out; name another task column"
        )
    if (data.target == data.target[0]).all():
        raise UserError(
            f"the target {data.target_name!r} is the same in all rows; name another target column"
        )


# -------------------------------------------------------------------------------- reading a file


def _read_frame(path):
    """Return the file as a data frame."""
    import pandas as pd

    kind = file_kind(path)
    try:
        if kind == "CSV":
            dialect = csv_dialect(read_start(path))
            with open_binary(path) as file:
                return pd.read_csv(
                    file, low_memory=False, skipinitialspace=True, index_col=False, **dialect
                )
        frame = pd.read_parquet(path) if kind == "Parquet" else pd.read_feather(path)
    except ImportError:
        raise UserError(f"reading {kind} needs pyarrow: pip install pyarrow") from None
    except (OSError, EOFError) as exc:
        raise UserError(f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}") from None
    except ValueError as exc:  # also UnicodeDecodeError, and pandas' ParserError, EmptyDataError
        raise UserError(f"{path} is not a {kind} file that pandas can read: {exc}") from None
    named = [name for name in frame.index.names if name is not None]
    return frame.reset_index(level=named) if named else frame


def _user_table(args):
    """Return the user's file as `TaskData`."""
    frame = _read_frame(args.file)
    frame.columns = [str(name) for name in frame.columns]
    keys = [*args.task, *([args.time] if args.time else [])]
    names = _feature_names(frame, args)
    for name in {*keys, args.target, *names}:  # pandas may read the header differently
        check_column(name, list(frame.columns), args.file)
    kind, target, present, notes = _read_target(frame[args.target], args)
    known = {args.target: present} | {name: frame[name].notna().to_numpy() for name in keys}
    keep = np.logical_and.reduce(list(known.values()))
    if not keep.all():
        without = [f"{(~mask).sum():,} without {name}" for name, mask in known.items()]
        notes.append(f"dropped rows: {', '.join(without)}")
    keep, dropped = _without_rare_classes(args.target, target, keep, kind)
    notes += dropped
    if keep.sum() < 2 * args.folds:
        raise UserError(
            f"{args.file} has only {keep.sum():,} rows with a task and a target; {args.folds}-fold "
            f"cross-validation needs at least {2 * args.folds}; give more rows or fewer --folds"
        )
    frame, target = frame.loc[keep], target[keep]
    if isinstance(target[0], bool):  # gaps had made objects of the booleans
        target = target.astype(bool)
    labels, codes = _read_tasks(frame, args.task)
    features, remarks = _read_features(frame[names], args.categorical)
    if not len(features.columns):
        raise UserError("; ".join([f"{args.file} has no usable feature column", *remarks]))
    return TaskData(
        title=str(args.file),
        task_name=" / ".join(args.task),
        target_name=args.target,
        labels=labels,
        codes=codes,
        target=target,
        table=_assemble(frame[keys], features),
        feature_names=list(features.columns),
        parameters=_parameters(args, features),
        kind=kind,
        time=args.time,
        notes=notes + remarks,
    )


def _feature_names(frame, args):
    if args.features is not None:
        return args.features
    others = {*args.task, args.target, args.time, *args.exclude}
    return [name for name in frame.columns if name not in others]


def _assemble(keys, features):
    """Join task, time and features; whole numbers that gaps had made floats become integers."""
    table = keys.copy()
    for name, column in keys.items():
        if column.dtype.kind == "f" and (column == column.round()).all():
            table[name] = column.astype("int64")
    for name, column in features.items():
        table[name] = column
    return table.reset_index(drop=True)


def _parameters(args, features):
    """Return the parameters of the estimator."""
    parameters = {
        "task_column": args.task[0] if len(args.task) == 1 else list(args.task),
        "preprocessor": "auto",
    }
    categorical = [name for name in args.categorical if name in features]
    if categorical:
        parameters["categorical_columns"] = categorical
    if args.time:
        parameters["exclude_columns"] = [args.time]
    return parameters


# ------------------------------------------------------------------------------------ the target


def _read_target(column, args):
    """Return the kind of the problem, the target, a mask of the known labels, and notes.

    Text, booleans and two distinct numbers are classes, unless ``--kind`` is given.
    """
    import pandas as pd

    if column.dtype.kind in "mM" or _holds(column, (datetime.date, datetime.timedelta)):
        raise UserError(
            f"the target {column.name!r} holds dates; name a target column of numbers or classes"
        )
    if column.dtype == object and set(map(type, column.dropna())) == {bool}:
        column = column.astype("boolean")  # gaps had made objects of the booleans
    is_bool = pd.api.types.is_bool_dtype(column.dtype)
    values = column if is_bool else pd.to_numeric(column, errors="coerce")
    values = values.to_numpy(dtype=float, na_value=np.nan)
    values = np.where(np.abs(values) < _LARGEST, values, np.nan)
    present = column.notna().to_numpy()
    kind, notes = args.kind, []
    if kind == "auto":
        kind, notes = _detect_kind(column, values, present)
    if kind == "regression":
        _check_numeric(column, values, present)
        return kind, values, ~np.isnan(values), notes
    return kind, _as_classes(column, values, present), present, notes


def _detect_kind(column, values, present):
    import pandas as pd

    name = column.name
    if pd.api.types.is_bool_dtype(column.dtype):
        return "classification", []
    is_text = not pd.api.types.is_numeric_dtype(column.dtype)
    is_number = ~np.isnan(values[present])
    if is_text and is_number.mean() <= 0.5:  # otherwise some cells are mistyped numbers
        n_classes = column[present].nunique()
        if n_classes > _MAX_LEVELS:
            raise UserError(
                f"the target {name!r} is not numeric and holds {n_classes:,} different values, "
                f"such as {str(column[present].iloc[0])[:40]!r}; give --kind classification if "
                "these are classes"
            )
        return "classification", []
    distinct = np.unique(values[~np.isnan(values)])
    if len(distinct) == 2:
        low, high = distinct
        return "classification", [
            f"{name} has two values, {low:g} and {high:g}, which are read as classes; for numbers "
            "give --kind regression"
        ]
    return "regression", []


def _check_numeric(column, values, present):
    texts = [str(value) for value in column[present & np.isnan(values)]]
    # Infinities and too large numbers are dropped like missing values.
    number = re.compile(r"[+-]?(inf|infinity|[\d.e+]+)", re.I)
    wrong = [text for text in texts if not number.fullmatch(text)]
    if wrong:
        raise UserError(
            f"the target {column.name!r} is not numeric: it holds {wrong[0][:40]!r} "
            f"({len(wrong):,} of {len(column):,} rows); correct these cells, or give "
            "--kind classification"
        )


def _as_classes(column, values, present):
    """Return class labels of one type: booleans, whole numbers, numbers or strings."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(column.dtype):
        return column.to_numpy(dtype=object)
    if not pd.api.types.is_numeric_dtype(column.dtype):
        classes = np.full(len(column), None, dtype=object)
        classes[present] = [str(value) for value in column[present]]
        return classes
    whole = (values[present] == np.rint(values[present])).all()
    return np.where(present, values, 0).astype(np.int64) if whole else values


def _without_rare_classes(name, target, keep, kind):
    """Return the mask `keep` without rows of rare classes, which a training fold may lack."""
    if kind != "classification" or not keep.any():
        return keep, []
    classes, codes = np.unique(target[keep].astype(str), return_inverse=True)
    rare = np.bincount(codes) < _MIN_CLASS_ROWS
    if len(classes) > 1 and (~rare).sum() < 2:
        raise UserError(
            f"the target {name!r} has {len(classes):,} classes, such as {classes[0][:40]!r}, but "
            f"fewer than two of them with at least {_MIN_CLASS_ROWS} rows; give --kind regression "
            "if the target holds numbers"
        )
    if not rare.any():
        return keep, []
    keep = keep.copy()
    keep[keep] = ~rare[codes]
    shown = ", ".join(classes[rare][:5]) + (", ..." if rare.sum() > 5 else "")
    return keep, [
        f"dropped rows: {rare[codes].sum():,} of classes with fewer than {_MIN_CLASS_ROWS} rows "
        f"({shown})"
    ]


# ---------------------------------------------------------------------------- tasks and features


def _read_tasks(frame, columns):
    """Return the sorted labels as strings, and the code of each row."""
    parts = [_read_labels(frame[name]) for name in columns]
    codes = np.column_stack([codes for _, codes in parts])
    combined, task_codes = np.unique(codes, axis=0, return_inverse=True)
    labels = [
        " / ".join(str(names[code]) for (names, _), code in zip(parts, row, strict=True))
        for row in combined
    ]
    return labels, task_codes.ravel().astype(np.int64)


def _read_labels(column):
    try:
        labels, codes = TaskLabels.from_rows(column, what=f"the task column {column.name!r}")
    except ValueError as exc:
        if column.dtype.kind == "f":
            fraction = column[column != column.round()].iloc[0]
            raise UserError(
                f"the task column {column.name!r} holds fractions such as {fraction}; name a "
                "column with the task of each row"
            ) from None
        raise UserError(exc) from None
    return labels.classes, codes


def _read_features(frame, categorical):
    """Return the usable columns, with infinities as gaps, and remarks about the columns."""
    import pandas as pd

    features, encoded, dropped, filled = {}, [], [], []
    for name, column in frame.items():
        is_number = _is_number(column) and name not in categorical
        if is_number and column.dtype.kind in "fc":
            column = column.where(column.abs() < _LARGEST)
        reason = _why_unusable(name, column, is_number, name in categorical)
        if reason is not None:
            dropped.append(f"{name} ({reason})")
            continue
        features[name] = column
        n_gaps = int(column.isna().sum())
        if not is_number:
            encoded.append(name)
        elif n_gaps:
            filled.append(f"{name} ({n_gaps:,})")
    remarks = [f"dropped columns: {', '.join(dropped)}"] if dropped else []
    remarks += [f"gaps filled with the median: {', '.join(filled)}"] if filled else []
    remarks += [f"one-hot encoded: {', '.join(encoded)}"] if encoded else []
    return pd.DataFrame(features, index=frame.index), remarks


def _holds(column, types):
    """Return whether an object column has values, all of them of these types."""
    present = column.dropna() if column.dtype == object else ()
    return len(present) > 0 and all(isinstance(value, types) for value in present)


def _is_number(column):
    import pandas as pd

    return pd.api.types.is_numeric_dtype(column.dtype) or _holds(
        column, (numbers.Real, decimal.Decimal, np.bool_)
    )


def _why_unusable(name, column, is_number, is_categorical):
    """Return the reason why a column cannot be a feature, or None."""
    if column.dtype.kind in "mM" or _holds(
        column, (datetime.date, datetime.time, datetime.timedelta)
    ):
        return "dates or times"
    try:
        n_levels = column.nunique()
    except TypeError:  # lists and the like
        return f"values of type {type(column.dropna().iloc[0]).__name__}"
    n_gaps = int(column.isna().sum())
    if name.startswith("Unnamed:") and is_number and n_levels == len(column):
        return "row numbers"
    if not n_levels:
        return "no values"
    if n_levels == 1 and (is_number or not n_gaps):
        return "constant"
    if not is_number and not is_categorical and n_levels + (n_gaps > 0) > _MAX_LEVELS:
        return f"{n_levels:,} different values"
    return None
