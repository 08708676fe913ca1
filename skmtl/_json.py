"""Output of `python -m skmtl --json`: the figures of the report as JSON."""

import json
import math

import numpy as np

from ._measure import SHARING
from ._report import conclusion, summary
from .inspection.gains import OTHERS, by_size, task_gains

__all__ = ["json_report"]


def json_report(data, measured, args):
    """Return the report as JSON; unknown or infinite numbers are null."""
    report = measured.report
    known = np.flatnonzero(np.isfinite(report["error_shared"][:-1]))
    has_unseen = np.isfinite(report["error_shared"][-1])
    out = {
        "file": None if args.file is None else str(args.file),
        "kind": data.kind,
        "error": "squared error" if data.kind == "regression" else "log-loss",
        "task": args.task,
        "target": data.target_name,
        "time": data.time,
        "features": data.feature_names,
        "n_samples": len(data.target),
        "n_tasks": len(data.labels),
        "n_folds": args.folds,
        "notes": data.notes,
        "summary": _summary(data, measured),
        "tasks": [_task(report, row) for row in range(len(data.labels))],
        "task_never_seen": _task(report, len(data.labels)) if has_unseen else None,
        "by_size": _sizes(report, known),
        "verdict": conclusion(data, report, args.max_tasks),
        "plot": None if args.plot is None else str(args.plot),
        "model": None if args.save is None else str(args.save),
    }
    return json.dumps(_plain(out), indent=1, allow_nan=False)


def _summary(data, measured):
    """Return the figures of the report's summary, by kind of sharing."""
    figures = [column for part in summary(data, measured) for column in part.values()]
    names = "log_loss", "log_loss_mean_over_tasks", "accuracy", "accuracy_mean_over_tasks"
    if data.kind == "regression":
        names = "rmse", "rmse_mean_over_tasks", "r2", "r2_median_over_tasks"
    return {
        sharing: dict(zip(names, column, strict=True))
        for sharing, column in zip(measured.errors, zip(*figures, strict=True), strict=True)
    }


def _task(report, row):
    entry = {name: report[name][row] for name in ("task", "n_samples", "n_tested", "used")}
    for sharing in SHARING:
        for figure in ("error", "std_error"):
            entry[f"{figure}_{sharing}"] = report[f"{figure}_{sharing}"][row]
    for other in OTHERS:
        gains = task_gains(report, other)
        entry[f"gain_over_{other}"] = gains.gain[row]
        entry[f"std_error_gain_over_{other}"] = report[f"std_error_gain_over_{other}"][row]
        entry[f"two_std_errors_gain_over_{other}"] = gains.reach[row]
        entry[f"clear_over_{other}"] = gains.clear[row]
    return entry


def _sizes(report, tasks):
    sizes = by_size(report, tasks)
    entries = []
    for i in range(len(sizes.low)):
        entry = {
            "smallest": sizes.low[i],
            "largest": sizes.high[i],
            "n_tasks": sizes.n_tasks[i],
            "n_samples": sizes.n_samples[i],
            **{f"error_{sharing}": sizes.errors[sharing][i] for sharing in SHARING},
        }
        for other, gains in sizes.gains.items():
            entry[f"gain_over_{other}"] = gains.gain[i]
            entry[f"two_std_errors_gain_over_{other}"] = gains.reach[i]
        entries.append(entry)
    return entries


def _plain(value):
    """Convert numpy scalars to Python's types, and numbers that are not finite to None."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
