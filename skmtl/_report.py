"""What `python -m skmtl` prints: the comparison of three ways to share, as text or JSON."""

import math
import textwrap
from dataclasses import dataclass

import numpy as np

from ._measure import SHARING
from .inspection.common import plural
from .inspection.gains import by_size, chance, choose_named, mostly_noise, sum_of_all, task_gains

__all__ = ["Glyphs", "format_report", "summary", "verdict"]

_OTHERS = ("independent", "pooled")
_BAR_CELLS = 8  # a bar's cells for a gain of 100 %
_MIN_ROWS_R2 = 5  # a task's own variance means nothing on fewer rows


@dataclass
class Glyphs:
    """The characters of the report: blocks where the terminal can show them, else plain ASCII."""

    bar: str = "▏▎▍▌▋▊▉█"
    loss: str = "░"
    rule: str = "─"
    more: str = "…"
    squared: str = "²"
    dot: str = " · "
    plus_minus: str = "±"

    @classmethod
    def for_encoding(cls, encoding):
        """All glyphs if `encoding` has them."""
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


def _gain_cell(gains, row, glyphs, with_bar):
    """A gain; ~ where it is smaller than its standard error, ? where it means nothing."""
    gain = gains.gain[row]
    unclear = "~" if abs(gain) <= gains.reach[row] / 2 and np.isfinite(gains.reach[row]) else " "
    if not gains.telling[row] and np.isfinite(gain) and np.isfinite(gains.reach[row]):
        return f"{'?':>7} " + " " * (_BAR_CELLS + 1 if with_bar else 0)
    text = f"{percent(gain):>7}{unclear}"
    return f"{text} {bar(gain, glyphs):<{_BAR_CELLS}}" if with_bar else text


def shorten(text, width, more):
    """`text` cut in its middle to `width` characters."""
    if len(text) <= width:
        return text
    head = (width - len(more) + 1) // 2
    return text[:head] + more + text[len(text) - (width - len(more) - head) :]


def _as_miss(data, error):
    """What a reader can picture: the root of a mean squared error; a log-loss as it is."""
    return np.sqrt(error) if data.kind == "regression" else np.asarray(error)


def _miss_title(data):
    what = "typical miss" if data.kind == "regression" else "log-loss"
    return f"{what} ({data.target_name})"


def _miss_cells(data, errors):
    """Errors as text, all in one number format; per way of sharing."""
    misses = {name: _as_miss(data, errors[name]) for name in SHARING}
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
    cells = _miss_cells(data, {way: report[f"error_{way}"][rows] for way in SHARING})
    gains_over = [task_gains(report, other) for other in _OTHERS]
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

    title = shorten(_miss_title(data), miss_width, glyphs.more)
    yield f"{'':{name_width + 8}}  {title:>{miss_width}}  gain by sharing, over"
    yield line(data.task_name, "rows", cells, _OTHERS, "leans on")
    for i, row in enumerate(rows):
        n_rows = "-" if report["task"][row] is None else f"{report['n_samples'][row]:,}"
        gains = [_gain_cell(over, row, glyphs, with_bar) for over in gains_over]
        yield line(
            names[i], n_rows, [text[i] for text in cells.values()], gains, report["used"][row]
        )


def _table_lines(data, report, max_tasks, glyphs, width):
    """The tasks by their gain over independent: all of them or, of many, those that stand out."""
    gains = report["gain_over_independent"]
    tasks = np.flatnonzero(np.isfinite(report["error_shared"][:-1]))
    tasks = tasks[np.argsort(-gains[tasks], kind="stable")]
    shown, n_clear = tasks, 0
    if len(tasks) > max_tasks:
        shown, n_clear = choose_named(report, tasks, max_tasks)
    left_out = max(n_clear - len(shown), 0)
    top = (len(shown) + 1) // 2 if left_out else len(shown)
    unseen = len(gains) - 1
    has_unseen = np.isfinite(report["error_shared"][unseen])
    rows = np.append(shown, unseen) if has_unseen else shown
    if not len(rows):
        return [f"No {data.task_name} gains or loses more than two standard errors."]
    lines = list(_row_lines(data, report, rows, glyphs, width))
    rule = glyphs.rule * max(map(len, lines))
    table = [*lines[:2], rule, *lines[2 : 2 + top]]
    if left_out:
        what = f"{left_out:,} more {plural(data.task_name)} that clearly gain or lose"
        table.append(f"{glyphs.more} {what} {glyphs.more}")
    table += lines[2 + top : 2 + len(shown)]
    if not has_unseen:
        return [*table, rule]
    return [*table, *([rule] if len(shown) else []), *lines[2 + len(shown) :]]


def _sum_cell(gains, row, glyphs):
    """The gain of a size of tasks, and two standard errors of it."""
    if not gains.telling[row]:
        return "?"
    return f"{percent(gains.gain[row])} {glyphs.plus_minus} {_points(gains.reach[row])}"


def _points(reach):
    """Percentage points; those below one with a decimal."""
    return f"{100 * reach:.0f}" if reach >= 0.0095 else f"{100 * reach:.1f}"


def _size_lines(data, report, glyphs):
    """Gains by size of task: errors summed over the rows of all tasks of a size."""
    tasks = np.flatnonzero(np.isfinite(report["error_shared"][:-1]))
    sizes = by_size(report, tasks)
    cells = _miss_cells(data, sizes.errors)
    columns = [
        ["rows each", *(_span(*pair) for pair in zip(sizes.low, sizes.high, strict=True))],
        [plural(data.task_name), *(f"{n:,}" for n in sizes.n_tasks)],
        *([name, *texts] for name, texts in cells.items()),
    ]
    for other in _OTHERS:
        gains = sizes.gains[other]
        texts = [_sum_cell(gains, row, glyphs) for row in range(len(sizes.low))]
        columns.append([f"over {other}", *texts])
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(f"{text:>{width}}" for text, width in zip(line, widths, strict=True)).rstrip()
        for line in zip(*columns, strict=True)
    ]
    rule = glyphs.rule * max(map(len, lines))
    two = f"{glyphs.plus_minus} two standard errors"
    yield f"Gains by size of task, of errors summed over the rows ({two}); {_miss_title(data)}"
    yield from [lines[0], rule, *lines[1:]]
    yield ""


def _span(low, high):
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


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


def summary(data, measured):
    """Figures of the three over rows and over tasks: errors, and scores between 0 and 1.

    Returns
    -------
    errors, scores : dict of lists
        By what they are: one figure a way of sharing.
    """
    tasks, report = plural(data.task_name), measured.report
    regression = data.kind == "regression"
    what = "RMSE" if regression else "log-loss"
    errors = {
        f"{what} over all rows ({data.target_name})": [],
        f"{what}, mean over the {tasks}": [],
    }
    score = "R2" if regression else "accuracy"
    of_task = f"of the median {data.task_name}" if regression else f", mean over the {tasks}"
    scores = {f"{score} over all rows": [], f"{score} {of_task}".replace(" ,", ","): []}
    for name, error in measured.errors.items():
        every = _as_miss(data, np.nanmean(error))
        each = _as_miss(data, report[f"error_{name}"][:-1])
        for column, figure in zip(errors.values(), (every, np.nanmean(each)), strict=True):
            column.append(float(figure))
        figures = _r2(data, error) if regression else _accuracy(data, measured.right[name])
        for column, figure in zip(scores.values(), figures, strict=True):
            column.append(float(figure))
    return errors, scores


def _accuracy(data, right):
    """Share of rows whose class is right, and its mean over tasks."""
    known = np.isfinite(right)
    n_tasks = len(data.labels)
    count = np.bincount(data.codes[known], minlength=n_tasks)
    hits = np.bincount(data.codes[known], right[known], n_tasks)
    return right[known].mean(), (hits[count > 0] / count[count > 0]).mean()


def _summary_lines(data, measured, n_folds, glyphs):
    """Error and score of the three over rows and over tasks, aligned."""
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


def verdict(data, report, max_tasks):
    """One sentence or two: how many tasks sharing helped, and by how much."""
    tasks = np.flatnonzero(np.isfinite(report["error_shared"][:-1]))
    if not len(tasks):
        return "Too few rows to say whether sharing helps."
    if len(tasks) > max_tasks or mostly_noise(report, tasks):
        return _verdict_on_sums(data, report, tasks)
    what = {"independent": f"one model per {data.task_name}", "pooled": "one model for all"}
    parts = []
    for other in _OTHERS:
        over = task_gains(report, other).take(tasks)
        helped = f"{np.sum(over.gain >= 0.005):,} of {len(tasks):,}"
        name = plural(data.task_name) if not parts else ""
        median = percent(np.median(over.gain)).removeprefix("+")
        harmed = int(np.sum(over.clear & (over.gain < 0)))
        parts.append(
            f"{helped} {name} against {what[other]} "
            f"(median gain {median}, {harmed or 'none'} clearly harmed)"
        )
    return " ".join(f"Sharing helped {' and '.join(parts)}.".split())


def _verdict_on_sums(data, report, tasks):
    """The same of all tasks together, where they are many or too small to be told apart."""
    what = {"independent": f"one model per {data.task_name}", "pooled": "one model for all"}
    together = sum_of_all(report, tasks)
    parts, counts = [], []
    for other in _OTHERS:
        gains, over = together.gains[other], task_gains(report, other).take(tasks)
        gain, reach = gains.gain[0], gains.reach[0]
        if gains.telling[0]:
            verb = "removes" if gain >= 0 else "adds"
            amount = percent(abs(gain)).removeprefix("+")
            amount = f"{amount} (give or take {_points(reach)})"
            parts.append(f"{verb} {amount} of the error of {what[other]}")
        else:
            parts.append(f"cannot be told from {what[other]}")
        better, worse = (int(np.sum(over.clear & (sign * over.gain > 0))) for sign in (1, -1))
        counts.append(f"{better:,} clearly gain and {worse:,} clearly lose against {what[other]}")
    by_chance = chance(task_gains(report, "independent").take(tasks))
    return (
        f"Sharing, over all rows together, {' and '.join(parts)}. Of {len(tasks):,} "
        f"{plural(data.task_name)} {', and '.join(counts)}, of which chance alone may account for "
        f"some {by_chance:,} of a kind."
    )


def format_report(data, measured, *, n_folds, max_tasks, glyphs, width):
    """The whole report as lines of text."""
    report = measured.report
    sizes = report["n_samples"][:-1]
    n_tasks, tasks = len(sizes), plural(data.task_name)
    head = [
        f"{len(data.target):,} rows",
        f"{n_tasks:,} {tasks} of {_span(sizes.min(), sizes.max())} rows",
        f"target {data.target_name}",
    ]
    if data.kind == "classification":
        n_classes = len(set(data.target.tolist()))
        head[-1] += f" ({n_classes} classes)"
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
    return [*lines, "", *textwrap.wrap(verdict(data, report, max_tasks), width)]


def _legend(data, report, known, max_tasks):
    tasks = plural(data.task_name)
    if data.kind == "regression":
        yield (
            "Typical miss: root mean squared error on rows held out of all fitting and tuning. "
            "Gain: the share of the mean squared error that sharing removes; ~ marks a gain or "
            "loss smaller than its standard error, and clearly harmed is a loss of more than two "
            "of them."
        )
    else:
        yield (
            "Log-loss: mean of -log of the probability given to the true class, on rows held out "
            "of all fitting and tuning. Gain: the share of it that sharing removes; ~ marks a gain "
            "or loss smaller than its standard error, and clearly harmed is a loss of more than "
            "two of them."
        )
    gains = [task_gains(report, other).take(known) for other in _OTHERS]
    if any((np.isfinite(over.reach) & ~over.telling).any() for over in gains):
        yield (
            "? marks a gain that means nothing: two standard errors are more than the error "
            "itself. On few rows they are as wide as Student's distribution makes them."
        )
    if len(known) > max_tasks:
        yield (
            f"Only {tasks} that gain or lose more than two standard errors against one model per "
            f"{data.task_name}, or lose as much against one model for all, have a line."
        )
    n_single = int(np.sum(report["n_samples"][:-1] < 2))
    if n_single:
        what = "1 task" if n_single == 1 else f"{n_single:,} {tasks}"
        yield f"Left out: {what} of a single row, too few to measure."
    n_untested = len(report["n_samples"]) - 1 - len(known) - n_single
    if n_untested:
        yield f"Left out: {n_untested:,} {tasks} without a row to test on."
