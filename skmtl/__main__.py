"""Does sharing help my tasks? ``python -m skmtl`` on an embedded table or on your own file.

It cross-validates one model per task (*independent*), one model for all (*pooled*) and
`MultiTaskRegressor` (*shared*) and prints, task by task, what sharing gains.
"""

import argparse
import difflib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skmtl._jit import tell_of_compiling
from skmtl._report import Glyphs, TaskData, format_report, measure
from skmtl.datasets import load_grunfeld

_MAX_LEVELS = 50  # a string column with more is an id or free text rather than a category
_MISSING = "(missing)"
_LARGEST = 1e100  # infinities and beyond: squares must not overflow, and nobody measures that


class _UserError(Exception):
    """Something the user can put right; told in one line, without a traceback."""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise _UserError(f"{message} (see python -m skmtl --help)")


def _parse(argv):
    parser = _Parser(
        prog="python -m skmtl",
        description="Cross-validate one model per task, one model for all, and sharing between "
        "tasks; print what each task gains. Without a file: Grunfeld's panel of 11 firms.",
        epilog="example: python -m skmtl sales.csv --task store --target revenue --plot gains.png",
    )
    parser.add_argument("file", nargs="?", type=Path, help="a table, .csv or .parquet")
    parser.add_argument("--task", metavar="COLUMN", help="the column that names each row's task")
    parser.add_argument("--target", metavar="COLUMN", help="the numeric column to predict")
    parser.add_argument(
        "--features", metavar="A,B,C", help="the columns to predict from (default: all others)"
    )
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the gains to a file")
    parser.add_argument(
        "--max-tasks", type=int, default=40, metavar="N", help="lines in the table (default: 40)"
    )
    args = parser.parse_args(argv)
    if args.folds < 2:
        raise _UserError(f"--folds {args.folds}: give at least 2")
    if args.max_tasks < 2:
        raise _UserError(f"--max-tasks {args.max_tasks}: give at least 2")
    if args.file is None and (args.task or args.target):
        raise _UserError("--task and --target describe your own file: give its path as well")
    if args.file is not None and not (args.task and args.target):
        raise _UserError(f"{args.file}: say which columns to use with --task and --target")
    return args


# -------------------------------------------------------------------------------- reading a file


def _pandas():
    try:
        import pandas
    except ImportError:
        raise _UserError("reading your own file needs pandas: pip install pandas") from None
    return pandas


def _csv_dialect(path):
    """Separator and decimal sign, judged by the first 64 KiB."""
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if b"\0" in start:
        raise _UserError(f"{path} is not a CSV file: it holds binary data")
    header, _, body = start.partition(b"\n")
    sep = max(",;\t|", key=lambda s: header.count(s.encode()))
    comma = sep != "," and body.count(b",") > body.count(b".")
    return {"sep": sep, "decimal": "," if comma else "."}


def _read_file(path):
    pd = _pandas()
    if not path.exists():
        raise _UserError(f"{path}: no such file")
    if path.is_dir():
        raise _UserError(f"{path} is a directory; give a .csv or .parquet file")
    kind = "Parquet" if path.suffix in (".parquet", ".pq") else "CSV"
    try:
        if kind == "Parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, low_memory=False, skipinitialspace=True, **_csv_dialect(path))
    except ImportError:
        raise _UserError("reading Parquet needs pyarrow: pip install pyarrow") from None
    except OSError as exc:
        raise _UserError(f"{path} cannot be read: {exc.strerror or exc}") from None
    except ValueError as exc:  # UnicodeDecodeError and pandas' ParserError, EmptyDataError
        raise _UserError(f"{path} is not a {kind} file that pandas can read: {exc}") from None


def _check_column(name, columns, path):
    """One clear line, with the names that come close, if there is no such column."""
    if name in columns:
        return name
    by_lower = {str(column).lower(): str(column) for column in columns}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    if close:
        hint = "did you mean " + " or ".join(repr(by_lower[match]) for match in close) + "?"
    else:
        shown = [repr(str(column)[:40]) for column in columns[:12]]
        hint = "its columns are " + ", ".join(shown) + (", ..." if len(columns) > 12 else "")
    raise _UserError(f"{path} has no column {name!r}; {hint}")


def _read_target(column):
    """The target as floats, NaN where it is missing."""
    pd = _pandas()
    values = pd.to_numeric(column, errors="coerce")
    bad = column.notna() & values.isna()
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or bad.any():
        example = column[bad].iloc[0] if bad.any() else column.iloc[0]
        raise _UserError(
            f"the target {column.name!r} is not numeric: it holds {str(example)[:40]!r} "
            f"({int(bad.sum() or len(column)):,} of {len(column):,} rows)"
        )
    values = values.to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.abs(values) < _LARGEST, values, np.nan)


def _read_tasks(column):
    """Sorted labels as strings, and the code of every row."""
    values = column.to_numpy()
    if _pandas().api.types.is_numeric_dtype(column.dtype):
        whole = values.astype(np.int64)  # ids with gaps in them were read as floats
        odd = values[np.asarray(whole != values, dtype=bool)]
        if len(odd):
            raise _UserError(
                f"the task column {column.name!r} holds fractions such as {odd[0]}; it should name "
                "each row's task"
            )
        values = whole
    else:
        values = values.astype(str)
    labels, codes = np.unique(values, return_inverse=True)
    return [str(label) for label in labels], codes.astype(np.int64)


def _as_number(column):
    """A numeric column as floats, NaN where there is no sensible number."""
    values = column.to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.abs(values) < _LARGEST, values, np.nan)


def _as_words(column):
    """Any other column as strings; a gap is a level of its own."""
    present = column.notna().to_numpy()
    words = np.full(len(column), _MISSING, dtype=object)
    words[present] = [str(value) for value in column[present]]
    return words


def _why_useless(name, values, is_number):
    """Why a column cannot help, or None."""
    if is_number:
        levels = set(np.unique(values[~np.isnan(values)]))
        if name.startswith("Unnamed:") and len(levels) == len(values):
            return "row numbers"
    else:
        levels = set(values)
    if not levels or levels == {_MISSING}:
        return "no values"
    if len(levels) == 1:
        return "constant"
    if not is_number and len(levels) > _MAX_LEVELS:
        return f"{len(levels):,} different values"
    return None


def _read_features(frame):
    """Columns that can help, the transformer that makes numbers of them, and remarks."""
    pd = _pandas()
    features, words, dropped, filled = {}, [], [], []
    for name, column in frame.items():
        is_number = pd.api.types.is_numeric_dtype(column.dtype)
        values = _as_number(column) if is_number else _as_words(column)
        reason = _why_useless(str(name), values, is_number)
        if reason is not None:
            dropped.append(f"{name} ({reason})")
            continue
        features[str(name)] = values
        if not is_number:
            words.append(str(name))
        elif np.isnan(values).any():
            filled.append(f"{name} ({np.isnan(values).sum():,})")
    numbers = [name for name in features if name not in words]
    remarks = [f"dropped columns: {', '.join(dropped)}"] if dropped else []
    remarks += [f"gaps filled with the median: {', '.join(filled)}"] if filled else []
    remarks += [f"one-hot encoded: {', '.join(words)}"] if words else []
    transformer = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), words),
    )
    return pd.DataFrame(features), transformer, remarks


def _choose_features(requested, columns, args):
    """Names of the feature columns: the requested ones, or all but task and target."""
    if requested is None:
        return [column for column in columns if column not in (args.task, args.target)]
    names = list(dict.fromkeys(name.strip() for name in requested.split(",") if name.strip()))
    for name in names:
        _check_column(name, columns, args.file)
        if name in (args.task, args.target):
            raise _UserError(f"{name!r} cannot be a feature: it is the task or the target")
    return names


def _own_table(args):
    """The user's file as `TaskData`."""
    frame = _read_file(args.file)
    columns = list(frame.columns)
    _check_column(args.task, columns, args.file)
    _check_column(args.target, columns, args.file)
    if args.task == args.target:
        raise _UserError(f"--task and --target are the same column, {args.task!r}")
    names = _choose_features(args.features, columns, args)
    target, has_task = _read_target(frame[args.target]), frame[args.task].notna().to_numpy()
    keep = ~np.isnan(target) & has_task
    notes = []
    if not keep.all():
        notes.append(
            f"dropped rows: {np.isnan(target).sum():,} without {args.target}, "
            f"{(~has_task).sum():,} without {args.task}"
        )
    _check_enough(keep.sum(), args)
    labels, codes = _read_tasks(frame.loc[keep, args.task])
    features, transformer, remarks = _read_features(frame.loc[keep, names])
    if not len(features.columns):
        raise _UserError("; ".join([f"{args.file} has no usable feature column", *remarks]))
    return TaskData(
        title=str(args.file),
        task_name=args.task,
        target_name=args.target,
        labels=labels,
        codes=codes,
        target=target[keep],
        features=features,
        feature_names=list(features.columns),
        transformer=transformer,
        notes=notes + remarks,
    )


def _check_enough(n_rows, args):
    if n_rows < 2 * args.folds:
        raise _UserError(
            f"{args.file} has only {n_rows:,} rows with a task and a target; {args.folds}-fold "
            f"cross-validation needs at least {2 * args.folds}"
        )


# --------------------------------------------------------------------------------------- running


def _embedded_table(args):
    """Grunfeld's panel as `TaskData`; needs no pandas."""
    panel = load_grunfeld()
    columns = panel.feature_names[1:]
    names = columns
    if args.features is not None:
        args.task, args.target, args.file = "firm", "invest", "the embedded table"
        names = _choose_features(args.features, [*columns, "firm", "invest"], args)
        if not names:
            raise _UserError("--features names no column")
    return TaskData(
        title="Grunfeld's investment panel: 11 U.S. firms, 1935 to 1954 (embedded, public domain)",
        task_name="firm",
        target_name="invest",
        labels=list(panel.task_labels),
        codes=panel.data[:, 0].astype(np.int64),
        target=panel.target,
        features=panel.data[:, [panel.feature_names.index(name) for name in names]],
        feature_names=names,
        transformer=StandardScaler(),
    )


def _check_tasks(data):
    """Comparing ways to share needs several tasks, with rows to spare."""
    sizes = np.bincount(data.codes)
    if len(sizes) < 2:
        raise _UserError(
            f"all rows belong to the same {data.task_name}, {data.labels[0]!r}; sharing needs two "
            "tasks or more"
        )
    if sizes.max() < 2:
        raise _UserError(
            f"every row has a {data.task_name!r} of its own, so nothing can be held out; is it the "
            "right task column?"
        )
    if data.target.min() == data.target.max():
        raise _UserError(f"the target {data.target_name!r} is the same in all rows")


def _check_plot(path):
    """Say what is wrong with --plot before the work, not after it."""
    if importlib.util.find_spec("matplotlib") is None:
        raise _UserError("--plot needs matplotlib: pip install skmtl[plot]")
    from matplotlib.backend_bases import FigureCanvasBase

    if path.is_dir():
        raise _UserError(f"--plot {path} is a folder; give a file in it")
    if path.suffix.lower().lstrip(".") not in FigureCanvasBase.get_supported_filetypes():
        raise _UserError(f"--plot {path}: give a file name that ends in .png, .pdf or .svg")
    if not path.parent.is_dir():
        raise _UserError(f"--plot {path} cannot be written: there is no folder {path.parent}")
    try:
        if path.exists():
            path.open("r+b").close()
        else:
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as exc:
        raise _UserError(f"--plot {path} cannot be written: {exc.strerror or exc}") from None


def _draw(report, data, args):
    os.environ.setdefault("MPLBACKEND", "Agg")  # a file needs no screen
    import matplotlib.pyplot as plt

    from skmtl.inspection import TaskReportDisplay

    display = TaskReportDisplay(report).plot(max_tasks=args.max_tasks, name=data.task_name)
    try:
        display.figure_.savefig(args.plot, dpi=150)
    except OSError as exc:
        raise _UserError(f"--plot {args.plot} cannot be written: {exc.strerror or exc}") from None
    finally:
        plt.close(display.figure_)


def _say(lines, encoding):
    """Print, with a question mark for what the terminal cannot show."""
    for line in lines:
        print(line.encode(encoding, "replace").decode(encoding))


def _run(args):
    if args.plot is not None:
        _check_plot(args.plot)
    data = _embedded_table(args) if args.file is None else _own_table(args)
    _check_tasks(data)
    tell_of_compiling(lambda text: print(f"skmtl: {text}", file=sys.stderr, flush=True))
    try:
        report, errors = measure(data, args.folds)
    finally:
        tell_of_compiling(None)
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    lines = format_report(
        data,
        report,
        errors,
        n_folds=args.folds,
        max_tasks=args.max_tasks,
        glyphs=Glyphs.for_encoding(encoding),
        width=shutil.get_terminal_size((110, 24)).columns,
    )
    _say(lines, encoding)
    if args.plot is not None:
        _draw(report, data, args)
        _say([f"Drawn to {args.plot}."], encoding)


def main(argv=None):
    """Run the command line; see ``python -m skmtl --help``.

    Parameters
    ----------
    argv : list of str, default=None
        The arguments; those of the process if None.

    Returns
    -------
    code : int
        0, or 2 after one line on stderr about what the user can put right.
    """
    try:
        _run(_parse(argv))
    except _UserError as exc:
        message = " ".join(str(exc).split())
        print(f"skmtl: {message}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
