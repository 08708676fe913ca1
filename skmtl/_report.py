"""What `python -m skmtl` measures and prints: the comparison of three ways to share, as text."""

import math
import textwrap
import warnings
from dataclasses import dataclass, field

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GroupKFold

__all__ = ["Glyphs", "TaskData", "format_report", "measure"]

SHARING = {"independent": "independent", "pooled": "pooled", "shared": "partial_pooling"}
_OTHERS = ("independent", "pooled")
_BAR_CELLS = 8  # a bar's cells for a gain of 100 %
_MIN_ROWS_R2 = 5  # a task's own variance means nothing on fewer rows


@dataclass
class TaskData:
    """A table ready to be cross-validated: one task code, one target, raw features a row."""

    title: str
    task_name: str
    target_name: str
    labels: list  # one string a task, in the order of the codes
    codes: np.ndarray
    target: np.ndarray
    features: object  # ndarray or pandas DataFrame
    feature_names: list
    transformer: object  # makes numbers of the features; fitted anew in every training fold
    notes: list = field(default_factory=list)

    def rows(self, index):
        """The features of some rows."""
        return self.features.iloc[index] if hasattr(self.features, "iloc") else self.features[index]


@dataclass
class Glyphs:
    """The characters of the report: blocks where the terminal can show them, else plain ASCII."""

    bar: str = "▏▎▍▌▋▊▉█"
    loss: str = "░"
    rule: str = "─"
    more: str = "…"
    squared: str = "²"
    dot: str = " · "

    @classmethod
    def for_encoding(cls, encoding):
        """All glyphs if `encoding` has them."""
        glyphs = cls()
        try:
            "".join(vars(glyphs).values()).encode(encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return cls(bar="#", loss="-", rule="-", more="...", squared="2", dot=", ")
        return glyphs


# ---------------------------------------------------------------------------------------- measuring


def _squared_errors(data, splits, names):
    """Squared errors of every row when it was in a test fold, per way of sharing."""
    from skmtl import MultiTaskRegressor

    errors = {name: np.full(len(data.target), np.nan) for name in names}
    for train, test in splits:
        transformer = clone(data.transformer)
        design = [
            np.column_stack([data.codes[index], transform(data.rows(index))])
            for index, transform in (
                (train, transformer.fit_transform),
                (test, transformer.transform),
            )
        ]
        for name in names:
            model = MultiTaskRegressor(sharing=SHARING[name], task_column=0)
            model.fit(design[0], data.target[train])
            errors[name][test] = (model.predict(design[1]) - data.target[test]) ** 2
    return errors


def _what_is_used(data):
    """Per task, what the model fitted on all rows leans on; and the warnings of that fit."""
    from skmtl import MultiTaskRegressor

    design = np.column_stack([data.codes, clone(data.transformer).fit_transform(data.features)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = MultiTaskRegressor(task_column=0).fit(design, data.target)
    return model.task_report_["used"], [str(w.message) for w in caught]


def _by_task(data, errors, n_samples):
    """Mean and standard error of each task's squared errors; NaN for tasks of a single row."""
    n_tasks = len(data.labels)
    count = np.where(n_samples > 1, n_samples, np.nan)
    mean = np.bincount(data.codes, errors, n_tasks) / count
    spread = np.bincount(data.codes, (errors - mean[data.codes]) ** 2, n_tasks)
    return mean, np.sqrt(spread / (count - 1) / count)


def measure(data, n_folds):
    """Cross-validate independent, pooled and shared, outside of all tuning.

    Every row is predicted by models that have not seen it, nor any figure computed from it; the
    line for a task never seen holds out whole tasks.

    Returns
    -------
    report : dict of arrays
        As ``task_report_``, and ``"noise_independent"``, ``"noise_pooled"``: the standard errors of
        the gains (of the paired differences, in units of the gain).
    errors : dict of arrays of shape (n_samples,)
        Squared errors of every row, NaN for tasks of a single row.
    """
    from skmtl.model_selection import TaskKFold

    n_samples = np.bincount(data.codes, minlength=len(data.labels))
    folds = TaskKFold(n_folds, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        # Training folds are smaller than the table; only the fit on all rows has a say (below).
        warnings.simplefilter("ignore")
        errors = _squared_errors(data, folds.split(data.target, groups=data.codes), list(SHARING))
        unseen = {}
        if len(data.labels) > 2:
            whole = GroupKFold(min(n_folds, len(data.labels)))
            splits = whole.split(data.target, groups=data.codes)
            unseen = _squared_errors(data, splits, ["pooled", "shared"])
    single = n_samples[data.codes] < 2
    for error in errors.values():
        error[single] = np.nan
    used, remarks = _what_is_used(data)
    data.notes.extend(f"warning: {remark}" for remark in remarks)
    return _task_report(data, errors, unseen, used, n_samples), errors


def _task_report(data, errors, unseen, used, n_samples):
    report = {
        "task": np.array([*data.labels, None], dtype=object),
        "n_samples": np.append(n_samples, 0),
        "used": used,
    }
    for name, error in errors.items():
        mean, spread = _by_task(data, error, n_samples)
        new = unseen.get(name, np.array([np.nan]))
        report[f"error_{name}"] = np.append(mean, new.mean())
        report[f"std_error_{name}"] = np.append(spread, new.std() / math.sqrt(len(new)))
    with np.errstate(divide="ignore", invalid="ignore"):
        for other in _OTHERS:
            base = report[f"error_{other}"]
            report[f"gain_over_{other}"] = 1 - report["error_shared"] / base
            _, spread = _by_task(data, errors[other] - errors["shared"], n_samples)
            report[f"noise_{other}"] = np.append(spread, np.nan) / base
    return report


# ----------------------------------------------------------------------------------------- printing


def plural(name):
    """`name` in the plural if it is a plain word, else "tasks"."""
    if not (name.isalpha() and name.islower() and len(name) > 2):
        return "tasks"
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2:-1] not in tuple("aeiou"):
        return name[:-1] + "ies"
    return name + "s"


def percent(gain):
    """A gain as text, such as "+34 %"."""
    if np.isnan(gain):
        return "-"
    if gain < -9.995:
        return "<-999 %"
    value = round(100 * gain)
    return f"{value:+d} %" if value else "0 %"


def _number_format(values):
    """One format for a whole column: about three digits at its middle."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return "{:.3g}".format
    decimals = 2 - math.floor(math.log10(np.median(values)))
    if decimals > 6 or values.max() >= 1e9:
        return "{:.3g}".format
    return f"{{:,.{max(decimals, 0)}f}}".format


def bar(gain, glyphs):
    """A gain as a bar to the right; a loss in another colour of it."""
    if np.isnan(gain) or abs(gain) < 0.005:
        return ""
    cells = min(abs(gain), 1.0) * _BAR_CELLS
    if gain < 0:
        return glyphs.loss * max(1, round(cells))
    steps = len(glyphs.bar)
    whole, part = divmod(max(1, round(cells * steps)), steps)
    return glyphs.bar[-1] * whole + (glyphs.bar[part - 1] if part else "")


def _gain_cell(report, other, row, glyphs, with_bar):
    gain, noise = report[f"gain_over_{other}"][row], report[f"noise_{other}"][row]
    mark = "~" if abs(gain) <= noise else " "
    text = f"{percent(gain):>7}{mark}"
    return f"{text} {bar(gain, glyphs):<{_BAR_CELLS}}" if with_bar else text


def shorten(text, width, more):
    """`text` cut in its middle to `width` characters."""
    if len(text) <= width:
        return text
    head = (width - len(more) + 1) // 2
    return text[:head] + more + text[len(text) - (width - len(more) - head) :]


def _miss_cells(report, rows):
    """Root mean squared errors as text, all in one number format; per way of sharing."""
    misses = {name: np.sqrt(report[f"error_{name}"][rows]) for name in SHARING}
    as_text = _number_format(np.concatenate(list(misses.values())))
    return {
        name: ["-" if np.isnan(value) else as_text(value) for value in miss]
        for name, miss in misses.items()
    }


def _row_lines(data, report, rows, glyphs, width):
    """The header (two lines), then one line for each of `rows` of the report.

    A narrow terminal loses the bars first, then the last column.
    """
    unseen = f"({data.task_name} never seen)"
    names = [unseen if task is None else str(task) for task in report["task"][rows]]
    name_width = min(max(map(len, [*names, data.task_name])), 26)
    cells = _miss_cells(report, rows)
    widths = {name: max(len(name), *map(len, text)) for name, text in cells.items()}
    miss_width = sum(widths.values()) + 4
    room = width - (name_width + 8 + 2 + miss_width)
    with_bar, with_used = room >= 53, room >= 38
    gain_width = 9 + _BAR_CELLS if with_bar else 11

    def line(name, n_rows, numbers, gains, used):
        misses = "  ".join(
            f"{text:>{widths[key]}}" for key, text in zip(cells, numbers, strict=True)
        )
        gains = "  ".join(f"{text:<{gain_width}}" for text in gains)
        name = shorten(name, name_width, glyphs.more)
        end = f"  {used}" if with_used else ""
        return f"{name:<{name_width}}  {n_rows:>6}  {misses}  {gains}{end}".rstrip()

    title = shorten(f"typical miss ({data.target_name})", miss_width, glyphs.more)
    yield f"{'':{name_width + 8}}  {title:>{miss_width}}  gain by sharing, over"
    yield line(data.task_name, "rows", cells, _OTHERS, "leans on")
    for i, row in enumerate(rows):
        n_rows = "-" if report["task"][row] is None else f"{report['n_samples'][row]:,}"
        gains = [_gain_cell(report, other, row, glyphs, with_bar) for other in _OTHERS]
        yield line(
            names[i], n_rows, [text[i] for text in cells.values()], gains, report["used"][row]
        )


def _table_lines(data, report, max_tasks, glyphs, width):
    """The tasks by their gain over independent; the middle ones left out if there are many."""
    gains = report["gain_over_independent"]
    tasks = np.flatnonzero(np.isfinite(report["error_shared"][:-1]))
    tasks = tasks[np.argsort(-gains[tasks], kind="stable")]
    top = len(tasks) if len(tasks) <= max_tasks else (max_tasks + 1) // 2
    left_out = max(len(tasks) - max_tasks, 0)
    shown = np.concatenate([tasks[:top], tasks[top + left_out :]])
    unseen = len(gains) - 1
    has_unseen = np.isfinite(report["error_shared"][unseen])
    lines = list(
        _row_lines(data, report, np.append(shown, unseen) if has_unseen else shown, glyphs, width)
    )
    rule = glyphs.rule * max(map(len, lines))
    table = [*lines[:2], rule, *lines[2 : 2 + top]]
    if left_out:
        between = (
            f"from {percent(gains[tasks[top]])} to {percent(gains[tasks[top + left_out - 1]])}"
        )
        table.append(
            f"{glyphs.more} {left_out:,} more {plural(data.task_name)}, {between} {glyphs.more}"
        )
    table += lines[2 + top : 2 + len(shown)]
    return [*table, rule, *lines[2 + len(shown) :]]


def _r2(data, errors):
    """R² over all rows, and the median of the tasks' own R²."""
    known = np.isfinite(errors)
    codes, target, errors = data.codes[known], data.target[known], errors[known]
    overall = 1 - errors.sum() / ((target - target.mean()) ** 2).sum()
    n_tasks = len(data.labels)
    count = np.bincount(codes, minlength=n_tasks)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(codes, target, n_tasks) / count
        spread = np.bincount(codes, (target - mean[codes]) ** 2, n_tasks)
        own = 1 - np.bincount(codes, errors, n_tasks) / spread
    own = own[(count >= _MIN_ROWS_R2) & (spread > 0)]
    return overall, np.median(own) if len(own) else np.nan


def _summary_lines(data, report, errors, n_folds, glyphs):
    """Error and R² of the three over rows and over tasks, aligned."""
    tasks = plural(data.task_name)
    rows = {f"RMSE over all rows ({data.target_name})": [], f"RMSE, mean over the {tasks}": []}
    scores = {
        f"R{glyphs.squared} over all rows": [],
        f"R{glyphs.squared} of the median {data.task_name}": [],
    }
    for name, error in errors.items():
        figures = np.sqrt(np.nanmean(error)), np.nanmean(np.sqrt(report[f"error_{name}"][:-1]))
        for column, figure in zip(rows.values(), figures, strict=True):
            column.append(figure)
        for column, figure in zip(scores.values(), _r2(data, error), strict=True):
            column.append(figure)
    as_text = _number_format(np.concatenate(list(rows.values())))
    label_width = max(map(len, [*rows, *scores, f"{n_folds}-fold cross-validation"]))
    yield f"{f'{n_folds}-fold cross-validation':<{label_width}}" + "".join(
        f"{name:>14}" for name in errors
    )
    for label, column in rows.items():
        yield f"{label:<{label_width}}" + "".join(f"{as_text(value):>14}" for value in column)
    for label, column in scores.items():
        if np.isfinite(column).all():
            yield f"{label:<{label_width}}" + "".join(f"{value:>14.3f}" for value in column)


def verdict(data, report):
    """One sentence: how many tasks sharing helped, and by how much."""
    what = {"independent": f"one model per {data.task_name}", "pooled": "one model for all"}
    parts = []
    for other in _OTHERS:
        gains, noise = report[f"gain_over_{other}"][:-1], report[f"noise_{other}"][:-1]
        known = ~np.isnan(gains)
        if not known.any():
            return "Too few rows to say whether sharing helps."
        helped = f"{np.sum(gains[known] >= 0.005):,} of {known.sum():,}"
        tasks = plural(data.task_name) if not parts else ""
        median = percent(np.median(gains[known])).removeprefix("+")
        harmed = int(np.sum((gains < -0.005) & (gains < -2 * noise)))
        parts.append(
            f"{helped} {tasks} against {what[other]} "
            f"(median gain {median}, {harmed or 'none'} clearly harmed)"
        )
    return " ".join(f"Sharing helped {' and '.join(parts)}.".split())


def format_report(data, report, errors, *, n_folds, max_tasks, glyphs, width):
    """The whole report as lines of text."""
    sizes = report["n_samples"][:-1]
    n_tasks, tasks = len(sizes), plural(data.task_name)
    same = sizes.min() == sizes.max()
    size = f"{sizes.min():,}" if same else f"{sizes.min():,} to {sizes.max():,}"
    head = [
        f"{len(data.target):,} rows",
        f"{n_tasks:,} {tasks} of {size} rows",
        f"target {data.target_name}",
    ]
    features = f"{len(data.feature_names)} features: {', '.join(data.feature_names)}"
    lines = [data.title, glyphs.dot.join(head)]
    lines += textwrap.wrap(features, width, subsequent_indent="  ", max_lines=3, placeholder=" ...")
    for note in data.notes:
        lines += textwrap.wrap(note, width, subsequent_indent="  ")
    lines += ["", *_summary_lines(data, report, errors, n_folds, glyphs), ""]
    lines += _table_lines(data, report, max_tasks, glyphs, width)
    lines.append("")
    legend = [
        "Typical miss: root mean squared error on rows held out of all fitting and tuning. "
        "Gain: the share of the mean squared error that sharing removes; ~ marks a gain or loss "
        "smaller than its standard error, and clearly harmed is a loss of more than two of them."
    ]
    n_single = int(np.sum(sizes < 2))
    if n_single:
        what = "1 task" if n_single == 1 else f"{n_single:,} {tasks}"
        legend.append(f"Left out: {what} of a single row, too few to measure.")
    for text in legend:
        lines += textwrap.wrap(text, width)
    return [*lines, "", *textwrap.wrap(verdict(data, report), width)]
