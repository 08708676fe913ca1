"""Arguments of the command line, read and checked with the standard library only.

A mistyped path or column is reported without delay: nothing here imports numpy, pandas or
scikit-learn.
"""

import argparse
import bz2
import collections
import csv
import difflib
import gzip
import importlib.util
import io
import lzma
import re
import tempfile
import zipfile
from pathlib import Path

__all__ = [
    "UserError",
    "check_column",
    "csv_dialect",
    "file_kind",
    "open_binary",
    "parse",
    "read_start",
]

_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_KINDS = {".parquet": "Parquet", ".pq": "Parquet", ".feather": "Feather", ".arrow": "Feather"}
_TABLES = (".csv", ".tsv", ".txt", ".zip", *_OPENERS, *_KINDS)
_PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp", ".eps", ".ps", ".tif", ".tiff")
_INDEX_LEVEL = re.compile(r"__index_level_\d+__")  # how pandas stores an index without a name
_START = 1 << 16  # bytes of a CSV file from which its format is detected


class UserError(Exception):
    """Error that the user can correct; printed as one line, without a traceback."""


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message} (see python -m skmtl --help)")


def _parser():
    parser = _Parser(
        prog="python -m skmtl",
        description="Cross-validate one model per task, one model for all tasks, and sharing "
        "between tasks; print the gain of each task. Without a file: Grunfeld's panel of 11 firms.",
        epilog="example: python -m skmtl sales.csv --task store --target revenue --plot gains.png",
    )
    add = parser.add_argument
    add(
        "file",
        nargs="?",
        type=Path,
        help="a table: .csv (also as .gz, .bz2, .xz or .zip), .parquet or .feather",
    )
    add("--task", metavar="COLUMN", nargs="+", help="the column or columns that name the task")
    add("--target", metavar="COLUMN", help="the column to predict: numbers or classes")
    add(
        "--kind",
        choices=("auto", "regression", "classification"),
        default="auto",
        help="kind of problem; with auto, a target of text, booleans or two distinct numbers holds "
        "classes",
    )
    add("--features", metavar="A,B,C", help="the columns to predict from (default: all others)")
    add("--exclude", metavar="COLUMN", nargs="+", default=[], help="columns that are not features")
    add(
        "--categorical",
        metavar="COLUMN",
        nargs="+",
        default=[],
        help="columns whose numbers are categories, such as a postcode",
    )
    add(
        "--time",
        metavar="COLUMN",
        help="the column with the time of each row: every fold is predicted from earlier rows",
    )
    add("--folds", type=int, default=5, metavar="N", help="number of folds (default: 5)")
    add("--plot", type=Path, metavar="FILE.png", help="write a plot of the gains to a file")
    add("--save", type=Path, metavar="FILE.joblib", help="save the model fitted on all rows")
    add("--json", action="store_true", help="print the report as JSON")
    add("--max-tasks", type=int, default=40, metavar="N", help="tasks in the table (default: 40)")
    return parser


def parse(argv):
    """Parse the arguments, and check them as far as possible without reading the whole table.

    Parameters
    ----------
    argv : list of str or None

    Returns
    -------
    args : argparse.Namespace
        `task`, `exclude` and `categorical` are lists of column names, `features` is one or None.

    Raises
    ------
    UserError
        If arguments contradict each other, if a file does not exist or cannot be written, or if the
        file lacks a column.
    """
    args = _parser().parse_args(argv)
    _find_file(args)
    for option, number in (("--folds", args.folds), ("--max-tasks", args.max_tasks)):
        if number < 2:
            raise UserError(f"{option} {number} must be at least 2")
    if args.plot is not None:
        _check_plot(args.plot)
    if args.save is not None:
        _check_output("--save", args.save)
    if args.file is None:
        _check_embedded(args)
    else:
        _check_user_file(args)
    return args


def _find_file(args):
    """Take a path at the end of a list of columns as the file: ``--task store sales.csv``."""
    for option in ("task", "exclude", "categorical"):
        values = getattr(args, option) or []
        if args.file is None and len(values) > 1 and Path(values[-1]).suffix.lower() in _TABLES:
            args.file = Path(values.pop())


def _check_embedded(args):
    """Refuse options that the embedded table does not have, and fill in its columns."""
    if args.task or args.target:
        raise UserError("--task and --target describe your own file: give its path as well")
    given = [f"--{name}" for name in ("exclude", "categorical", "time") if getattr(args, name)]
    if args.kind != "auto":
        given.append("--kind")
    if given:
        raise UserError(f"{given[0]} describes your own file: give its path as well")
    args.task, args.target = ["firm"], "invest"
    _check_features(args, ["firm", "value", "capital", "year", "invest"], "the embedded table")


def _check_user_file(args):
    path = args.file
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path} is a directory; give a .csv, .parquet or .feather file")
    if not (args.task and args.target):
        raise UserError(f"{path}: name the columns to use with --task and --target")
    if importlib.util.find_spec("pandas") is None:
        raise UserError("reading your own file needs pandas: pip install pandas")
    _check_columns(args, _read_names(path))


def _check_columns(args, columns):
    """Check that every named column exists and has one role only."""
    path = args.file
    args.task = _split_names(args.task, columns)
    for name in _not_features(args):
        check_column(name, columns, path)
    if args.target in args.task:
        raise UserError(f"--task and --target are the same column, {args.target!r}")
    if args.time in (*args.task, args.target):
        raise UserError(
            f"--time {args.time}: that column is the task or the target; name another column"
        )
    for option in ("exclude", "categorical"):
        names = _split_names(getattr(args, option), columns)
        for name in names:
            check_column(name, columns, path)
        setattr(args, option, names)
    for name in args.categorical:
        if name in _not_features(args) or name in args.exclude:
            raise UserError(
                f"--categorical {name}: that column is not a feature, as it is the task, the "
                "target, the time or excluded"
            )
    _check_features(args, columns, path)


def _not_features(args):
    return [*args.task, args.target, *([args.time] if args.time else [])]


def _check_features(args, columns, where):
    """Check --features and replace it by a list of names."""
    if args.features is None:
        return
    names = _split_names([args.features], columns)
    for name in names:
        check_column(name, columns, where)
        if name in _not_features(args):
            raise UserError(f"{name!r} cannot be a feature: it is the task, the target or the time")
        if name in args.exclude:
            raise UserError(f"{name!r} is named by both --features and --exclude")
    for name in args.categorical:
        if name not in names:
            raise UserError(f"--categorical {name}: that column is not among --features")
    if not names:
        raise UserError(f"{where} has no usable feature column: --features names none")
    args.features = names


def _split_names(values, columns):
    """Return the column names in `values`; a value that is not a column is split at commas."""
    names = []
    for value in values:
        parts = [value] if value in columns else value.split(",")
        names += [part if part in columns else part.strip() for part in parts if part.strip()]
    return list(dict.fromkeys(names))


def check_column(name, columns, path):
    """Raise if there is no such column, and suggest similar names."""
    if name in columns:
        return
    by_lower = {str(column).lower(): str(column) for column in columns}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    if close:
        hint = "did you mean " + " or ".join(repr(by_lower[match]) for match in close) + "?"
    else:
        shown = [repr(str(column)[:40]) for column in columns[:12]]
        hint = "its columns are " + ", ".join(shown) + (", ..." if len(columns) > 12 else "")
    raise UserError(f"{path} has no column {name!r}; {hint}")


# --------------------------------------------------------------------------- the start of the file


def file_kind(path):
    """Return "CSV", "Parquet" or "Feather" according to the file name."""
    return _KINDS.get(path.suffix.lower(), "CSV")


def open_binary(path):
    """Open a CSV file for reading its decompressed bytes."""
    suffix = path.suffix.lower()
    if suffix != ".zip":
        return _OPENERS.get(suffix, open)(path, "rb")
    archive = zipfile.ZipFile(path)
    # macOS adds the folder __MACOSX to archives.
    members = [
        name
        for name in archive.namelist()
        if not name.endswith("/") and not name.startswith("__MACOSX/")
    ]
    if len(members) != 1:
        archive.close()
        raise UserError(
            f"{path} holds {len(members)} files instead of one table; unpack it and give the "
            "path of the table"
        )
    return archive.open(members[0])


def csv_dialect(start):
    """Detect the separator and the decimal sign from the first bytes of the file."""
    header, _, body = start.lstrip(b"\r\n").partition(b"\n")
    sep = max(",;\t|", key=lambda s: header.count(s.encode()))
    cells = [cell.strip(b'"') for line in body.splitlines() for cell in line.split(sep.encode())]
    commas, points = (
        sum(re.fullmatch(rb"\s*[-+]?\d+" + sign + rb"\d+\s*", cell) is not None for cell in cells)
        for sign in (b",", rb"\.")
    )  # dates have two points and do not match
    return {"sep": sep, "decimal": "," if sep != "," and commas > points else "."}


def read_start(path):
    """Return the first bytes of a CSV file; raise if it is binary or cannot be read."""
    try:
        with open_binary(path) as file:
            start = file.read(_START)
    except (EOFError, lzma.LZMAError, zipfile.BadZipFile) as exc:
        raise UserError(f"{path} cannot be decompressed: {exc}") from None
    except OSError as exc:
        if exc.errno is None:  # raised by gzip and bz2 for bytes of another format
            raise UserError(f"{path} cannot be decompressed: {exc}") from None
        raise UserError(f"{path} cannot be read: {exc.strerror or exc}") from None
    if b"\0" in start:
        raise UserError(f"{path} is not a CSV file: it holds binary data")
    return start


def _read_names(path):
    kind = file_kind(path)
    if kind == "CSV":
        return _csv_names(path)
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError(f"reading {kind} needs pyarrow: pip install pyarrow")
    import pyarrow as pa

    try:
        if kind == "Parquet":
            import pyarrow.parquet

            names = pyarrow.parquet.read_schema(path).names
        else:
            with pa.memory_map(str(path)) as source:
                names = pa.ipc.open_file(source).schema.names
    except OSError as exc:
        raise UserError(f"{path} cannot be read: {exc.strerror or exc}") from None
    except pa.ArrowException as exc:
        raise UserError(f"{path} is not a {kind} file that pyarrow can read: {exc}") from None
    return [name for name in names if not _INDEX_LEVEL.fullmatch(name)]


def _csv_names(path):
    """Return the column names as pandas reads them."""
    start = read_start(path)
    try:
        text = start.decode("utf-8-sig", errors="strict" if len(start) < _START else "ignore")
    except UnicodeDecodeError as exc:
        raise UserError(
            f"{path} is not a CSV file that pandas can read: {exc}; save it as UTF-8"
        ) from None
    lines = csv.reader(
        io.StringIO(text), delimiter=csv_dialect(start)["sep"], skipinitialspace=True
    )
    try:
        header = next((line for line in lines if line), None)
    except csv.Error as exc:
        raise UserError(f"{path} is not a CSV file that pandas can read: {exc}") from None
    if header is None:
        raise UserError(f"{path} is not a CSV file that pandas can read: it is empty")
    names, counts = [], collections.Counter()
    for position, name in enumerate(header):
        name = name or f"Unnamed: {position}"
        names.append(f"{name}.{counts[name]}" if counts[name] else name)
        counts[name] += 1
    return names


# ------------------------------------------------------------------------------------ output files


def _check_plot(path):
    """Check that --plot can be written, before anything is computed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("--plot needs matplotlib: pip install skmtl[plot]")
    _check_output("--plot", path)
    if path.suffix.lower() not in _PICTURES:
        raise UserError(f"--plot {path}: give a file name that ends in .png, .pdf or .svg")


def _check_output(option, path):
    """Raise unless the file can be written."""
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder; give the name of a file in it")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path} cannot be written: there is no folder {path.parent}")
    try:
        if path.exists():
            path.open("r+b").close()
        else:
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as exc:
        raise UserError(f"{option} {path} cannot be written: {exc.strerror or exc}") from None
