"""Output of `python -m skmtl`: the comparison of three kinds of sharing as text."""

import math
import textwrap
from dataclasses import dataclass

import numpy as np

from ._measure import SHARING, by_task
from .inspection.common import plural
from .inspection.gains import (
    OTHERS,
    by_size,
    chance,
    choose_named,
    mostly_noise,
    sum_of_all,
    task_gains,
)

__all__ = ["Glyphs", "conclusion", "format_report", "summary"]

_BAR_CELLS = 8  # width of a bar for a gain of 100 %
_MIN_ROWS_R2 = 5  # fewer rows do not determine the variance of a task


@dataclass
class Glyphs:
    """Characters of the report: block elements if the terminal has them, else plain ASCII."""

    bar: str = "▏▎▍▌▋▊▉█"
    loss: str = "░"
    rule: str = "─"
    more: str = "…"
    squared: str = "²"
    dot: str = " · "
    plus_minus: str = "±"

    @classmethod
    def for_encoding(cls, encoding):
        """Return the block elements if `encoding` has all of them, else plain ASCII."""
        glyphs = cls()
        try:
            "".join(vars(glyphs).values()).encode(encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return cls(
                bar="#", loss="-", rule="-", more="...", squared="2", dot=", ", plus_minus="+-"
            )
        return glyphs


# ----------------------------------------------------------------------------------------- printing


def percent(gain):
    """Return a gain as text, such as "+34 %"."""
    if np.isnan(gain):
        return "-"
    if gain < -9.995:
        return "<-999 %"
    value = round(100 * gain)
    return f"{value:+d} %" if value else "0 %"


def _number_format(values):
    """Return one format for a whole column, with about three digits for its median."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values) & (values > 0)]
    decimals = 2 - math.floor(math.log10(np.median(values))) if len(values) else math.inf
    if decimals > 6 or values.max() >= 1e9:
        return "{:.3g}".format
    return f"{{:,.{max(decimals, 0)}f}}".format


def bar(gain, glyphs):
    """Return a gain as a bar; a loss is drawn in another character."""
    if np.isnan(gain) or abs(gain) < 0.005:
        return ""
    cells = min(abs(gain), 1.0) * _BAR_CELLS
    if gain < 0:
        return glyphs.loss * max(1, round(cells))
    steps = len(glyphs.bar)
    whole, part = divmod(max(1, round(cells * steps)), steps)
    return glyphs.bar[-1] * whole + (glyphs.bar[part - 1] if part else "")


def _gain_cell(gains, row, glyphs, with_bar):
    """Return a gain as text: ~ marks less than a standard error, ? an undetermined gain."""
    gain, is_known = gains.gain[row], np.isfinite(gains.reach[row])
    if not gains.telling[row] and np.isfinite(gain) and is_known:
        return f"{'?':>7} " + " " * (_BAR_CELLS + 1 if with_bar else 0)
    mark = "~" if abs(gain) <= gains.reach[row] / 2 and is_known else " "
    text = f"{percent(gain):>7}{mark}"
    return f"{text} {bar(gain, glyphs):<{_BAR_CELLS}}" if with_bar else text


def shorten(text, width, more):
    """Return `text`, with its middle left out if it is longer than `width`."""
    if len(text) <= width:
        return text
    head = (width - len(more) + 1) // 2
    return text[:head] + more + text[len(text) - (width - len(more) - head) :]


def _error_name(data):
    return "RMSE" if data.kind == "regression" else "log-loss"


def _as_shown(data, error):
    """Return the root of mean squared errors, and log-losses unchanged."""
    return np.sqrt(error) if data.kind == "regression" else np.asarray(error)


def _error_cells(data, errors):
    """Return the errors as text in one number format, by kind of sharing."""
    shown = {name: _as_shown(data, errors[name]) for name in SHARING}
    as_text = _number_format(np.concatenate(list(shown.values())))
    return {
        name: ["-" if np.isnan(value) else as_text(value) for value in values]
        for name, values in shown.items()
    }


def _row_lines(data, report, rows, glyphs, width):
    """Yield the header (two lines), then one line for each of `rows` of the report.

    A narrow terminal loses the bars first, then the last column.
    """
    names = [
        f"({data.task_name} never seen)" if task is None else str(task)
        for task in report["task"][rows]
    ]
    name_width = min(max(map(len, [*names, data.task_name])), 26)
    cells = _error_cells(data, {name: report[f"error_{name}"][rows] for name in SHARING})
    gains_over = [task_gains(report, other) for other in OTHERS]
    widths = {name: max(len(name), *map(len, text)) for name, text in cells.items()}
    error_width = sum(widths.values()) + 4
    room = width - (name_width + 8 + 2 + error_width)
    with_bar, with_used = room >= 53, room >= 38
    gain_width = 9 + _BAR_CELLS if with_bar else 11

    def line(name, n_rows, numbers, gains, used):
        errors = "  ".join(
            f"{text:>{widths[key]}}" for key, text in zip(cells, numbers, strict=True)
        )
        gains = "  ".join(f"{text:<{gain_width}}" for text in gains)
        name = shorten(name, name_width, glyphs.more)
        text = f"{name:<{name_width}}  {n_rows:>6}  {errors}  {gains}"
        return (f"{text}  {used}" if with_used else text).rstrip()

    title = shorten(f"{_error_name(data)} ({data.target_name})", error_width, glyphs.more)
    yield f"{'':{name_width + 8}}  {title:>{error_width}}  gain from sharing over"
    yield line(data.task_name, "rows", cells, OTHERS, "used")
    for i, row in enumerate(rows):
        n_rows = "-" if report["task"][row] is None else f"{report['n_samples'][row]:,}"
        gains = [_gain_cell(over, row, glyphs, with_bar) for over in gains_over]
        yield line(
            names[i], n_rows, [text[i] for text in cells.values()], gains, report["used"][row]
        )


def _table_lines(data, report, max_tasks, glyphs, width):
    """Return the table of tasks, sorted by their gain over independent.

    Of more than `max_tasks` tasks only those with a clear gain or loss are shown.
    """
    gains = report["gain_over_independent"]
    tasks = np.flatnonzero(np.isfinite(report["error_shared"][:-1]))
    tasks = tasks[np.argsort(-gains[tasks], kind="stable")]
    shown, n_clear = tasks, 0
    if len(tasks) > max_tasks:
        shown, n_clear = choose_named(report, tasks, max_tasks)
    left_out = max(n_clear - len(shown), 0)
    top = (len(shown) + 1) // 2 if left_out else len(shown)
    has_unseen = np.isfinite(report["error_shared"][-1])
    rows = np.append(shown, len(gains) - 1) if has_unseen else shown
    if not len(rows):
        return [f"No {data.task_name} gains or loses more than two standard errors."]
    lines = list(_row_lines(data, report, rows, glyphs, width))
    rule = glyphs.rule * max(map(len, lines))
    table = [*lines[:2], rule, *lines[2 : 2 + top]]
    if left_out:
        table.append(
            f"{glyphs.more} {left_out:,} more {plural(data.task_name)} that clearly gain or lose "
            f"{glyphs.more}"
        )
    table += lines[2 + top : 2 + len(shown)]
    if len(shown):
        table.append(rule)
    return table + lines[2 + len(shown) :]


def _sum_cell(gains, row, glyphs):
    """Return the gain of a size class and two standard errors."""
    if not gains.telling[row]:
        return "?"
    return f"{percent(gains.gain[row])} {glyphs.plus_minus} {_points(gains.reach[row])}"


def _points(reach):
    """Return percentage points as text, with a decimal if below one."""
    return f"{100 * reach:.0f}" if reach >= 0.0095 else f"{100 * reach:.1f}"


def _size_lines(data, report, glyphs):
    """Yield the table of gains by size of task; errors are summed over the rows of a class."""
    sizes = by_size(report, np.flatnonzero(np.isfinite(report["error_shared"][:-1])))
    columns = [
        ["rows each", *(_span(*pair) for pair in zip(sizes.low, sizes.high, strict=True))],
        [plural(data.task_name), *(f"{n:,}" for n in sizes.n_tasks)],
        *([name, *texts] for name, texts in _error_cells(data, sizes.errors).items()),
    ]
    for other in OTHERS:
        texts = [_sum_cell(sizes.gains[other], row, glyphs) for row in range(len(sizes.low))]
        columns.append([f"over {other}", *texts])
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(f"{text:>{width}}" for text, width in zip(line, widths, strict=True)).rstrip()
        for line in zip(*columns, strict=True)
    ]
    rule = glyphs.rule * max(map(len, lines))
    yield (
        f"Gains by size of task {glyphs.plus_minus} two standard errors, from errors summed over "
        f"the rows; {_error_name(data)} ({data.target_name})"
    )
    yield from [lines[0], rule, *lines[1:], ""]


def _span(low, high):
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _r2(data, errors):
    """Return R² over all rows, and the median of the R² of the tasks."""
    known = np.isfinite(errors)
    codes, target, errors = data.codes[known], data.target[known], errors[known]
    overall = 1 - errors.sum() / ((target - target.mean()) ** 2).sum()
    n_tasks = len(data.labels)
    count = np.bincount(codes, minlength=n_tasks)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(codes, target, n_tasks) / count
        squares = np.bincount(codes, (target - mean[codes]) ** 2, n_tasks)
        r2 = 1 - np.bincount(codes, errors, n_tasks) / squares
    r2 = r2[(count >= _MIN_ROWS_R2) & (squares > 0)]
    return overall, np.median(r2) if len(r2) else np.nan


def summary(data, measured):
    """Return errors and scores of the three models, over all rows and over the tasks.

    Returns
    -------
    errors, scores : dict of lists
        From descriptions to one figure per kind of sharing. Scores lie between 0 and 1.
    """
    tasks, error_name = plural(data.task_name), _error_name(data)
    figures = []
    for name, error in measured.errors.items():
        rmse_or_loss = _as_shown(data, measured.report[f"error_{name}"][:-1])
        is_regression = data.kind == "regression"
        scores = _r2(data, error) if is_regression else _accuracy(data, measured.right[name])
        figures.append((_as_shown(data, np.nanmean(error)), np.nanmean(rmse_or_loss), *scores))
    columns = np.array(figures, dtype=float).T.tolist()
    labels = ["accuracy over all rows", f"accuracy, mean over the {tasks}"]
    if data.kind == "regression":
        labels = ["R2 over all rows", f"R2 of the median {data.task_name}"]
    errors = {
        f"{error_name} over all rows ({data.target_name})": columns[0],
        f"{error_name}, mean over the {tasks}": columns[1],
    }
    return errors, dict(zip(labels, columns[2:], strict=True))


def _accuracy(data, right):
    """Return the share of rows whose class is right, and its mean over the tasks."""
    count, mean, _ = by_task(data, right)
    return right[np.isfinite(right)].mean(), mean[count > 0].mean()


def _summary_lines(data, measured, n_folds, glyphs):
    """Yield the errors and scores of the three models, aligned."""
    errors, scores = summary(data, measured)
    as_text = _number_format(np.concatenate(list(errors.values())))
    how = f"{n_folds} folds forward in time" if data.time else f"{n_folds}-fold cross-validation"
    label_width = max(map(len, [*errors, *scores, how]))
    yield f"{how:<{label_width}}" + "".join(f"{name:>14}" for name in measured.errors)
    for label, column in errors.items():
        yield f"{label:<{label_width}}" + "".join(f"{as_text(value):>14}" for value in column)
    for label, column in scores.items():
        if np.isfinite(column).all():
            label = label.replace("R2", f"R{glyphs.squared}")
            yield f"{label:<{label_width}}" + "".join(f"{value:>14.3f}" for value in column)


def conclusion(data, report, max_tasks):
    """Return one or two sentences: how many tasks sharing helped, and by how much."""
    tasks = np.flatnonzero(np.isfinite(report["error_shared"][:-1]))
    if not len(tasks):
        return "There are too few rows to say whether sharing helps."
    models = {"independent": f"one model per {data.task_name}", "pooled": "one model for all"}
    if len(tasks) > max_tasks or mostly_noise(report, tasks):
        return _conclusion_on_sums(data, report, tasks, models)
    parts = []
    for other in OTHERS:
        over = task_gains(report, other).take(tasks)
        helped = f"{np.sum(over.gain >= 0.005):,} of {len(tasks):,}"
        name = plural(data.task_name) if not parts else ""
        median = percent(np.median(over.gain)).removeprefix("+")
        harmed = int(np.sum(over.clear & (over.gain < 0)))
        parts.append(
            f"{helped} {name} against {models[other]} "
            f"(median gain {median}, {harmed or 'none'} clearly harmed)"
        )
    return " ".join(f"Sharing helped {' and '.join(parts)}.".split())


def _conclusion_on_sums(data, report, tasks, models):
    """Return the conclusion on all tasks together, for many tasks or very small ones."""
    parts, counts = [], []
    for other, gains in sum_of_all(report, tasks).gains.items():
        over = task_gains(report, other).take(tasks)
        if gains.telling[0]:
            verb = "removes" if gains.gain[0] >= 0 else "adds"
            amount = percent(abs(gains.gain[0])).removeprefix("+")
            reach = f"(give or take {_points(gains.reach[0])})"
            parts.append(f"{verb} {amount} {reach} of the error of {models[other]}")
        else:
            parts.append(f"does not differ measurably from {models[other]}")
        better, worse = (int(np.sum(over.clear & (sign * over.gain > 0))) for sign in (1, -1))
        counts.append(f"{better:,} clearly gain and {worse:,} clearly lose against {models[other]}")
    by_chance = chance(task_gains(report, "independent").take(tasks))
    return (
        f"Over all rows together, sharing {' and '.join(parts)}. Of {len(tasks):,} "
        f"{plural(data.task_name)}, {', and '.join(counts)}; chance alone may account for about "
        f"{by_chance:,} in each of these counts."
    )


def format_report(data, measured, *, n_folds, max_tasks, glyphs, width):
    """Return the whole report as lines of text."""
    report = measured.report
    sizes = report["n_samples"][:-1]
    n_tasks, tasks = len(sizes), plural(data.task_name)
    head = [
        f"{len(data.target):,} rows",
        f"{n_tasks:,} {tasks} of {_span(sizes.min(), sizes.max())} rows",
        f"target {data.target_name}",
    ]
    if data.kind == "classification":
        head[-1] += f" ({len(set(data.target.tolist()))} classes)"
    features = f"{len(data.feature_names)} features: {', '.join(data.feature_names)}"
    lines = [data.title, glyphs.dot.join(head)]
    lines += textwrap.wrap(features, width, subsequent_indent="  ", max_lines=3, placeholder=" ...")
    for note in data.notes:
        lines += textwrap.wrap(note, width, subsequent_indent="  ")
    lines += ["", *_summary_lines(data, measured, n_folds, glyphs), ""]
    known = np.flatnonzero(np.isfinite(report["error_shared"][:-1]))
    if len(known) > max_tasks or mostly_noise(report, known):
        lines += _size_lines(data, report, glyphs)
    lines += _table_lines(data, report, max_tasks, glyphs, width)
    lines.append("")
    for text in _legend(data, report, known, max_tasks):
        lines += textwrap.wrap(text, width)
    return [*lines, "", *textwrap.wrap(conclusion(data, report, max_tasks), width)]


def _legend(data, report, known, max_tasks):
    tasks = plural(data.task_name)
    error, reduced = "Log-loss: mean of -log of the probability of the true class", "log-loss"
    if data.kind == "regression":
        error, reduced = "RMSE: root mean squared error", "mean squared error"
    yield (
        f"{error}, on held-out rows that were used neither for fitting nor for tuning. "
        f"Gain: the share of the {reduced} that sharing removes; ~ marks a gain or loss smaller "
        "than its standard error, and clearly harmed is a loss of more than two standard errors."
    )
    gains = [task_gains(report, other).take(known) for other in OTHERS]
    if any((np.isfinite(over.reach) & ~over.telling).any() for over in gains):
        yield (
            "? marks an undetermined gain: two standard errors, which Student's distribution "
            "widens if there are few rows, exceed the error itself."
        )
    if len(known) > max_tasks:
        yield (
            f"The table shows only {tasks} that gain or lose more than two standard errors against "
            f"one model per {data.task_name}, or lose as much against one model for all."
        )
    n_single = int(np.sum(report["n_samples"][:-1] < 2))
    if n_single:
        what = "1 task" if n_single == 1 else f"{n_single:,} {tasks}"
        yield f"Left out: {what} of a single row, which cannot be held out."
    n_untested = len(report["n_samples"]) - 1 - len(known) - n_single
    if n_untested:
        yield f"Left out: {n_untested:,} {tasks} without a row to test on."
