"""Does sharing help my tasks? ``python -m skmtl`` on an embedded table or on your own file.

It cross-validates one model per task (*independent*), one model for all (*pooled*) and
`MultiTaskRegressor` or `MultiTaskClassifier` (*shared*) and prints what sharing gains.
"""

import os
import sys

from skmtl._arguments import UserError, parse


def _draw(report, data, args):
    os.environ.setdefault("MPLBACKEND", "Agg")  # a file needs no screen
    import matplotlib.pyplot as plt

    from skmtl.inspection import TaskReportDisplay

    display = TaskReportDisplay(report).plot(max_tasks=args.max_tasks, name=data.task_name)
    try:
        display.figure_.savefig(args.plot, dpi=150)
    except OSError as exc:
        raise UserError(f"--plot {args.plot} cannot be written: {exc.strerror or exc}") from None
    finally:
        plt.close(display.figure_)


def _save(model, args):
    import joblib

    try:
        joblib.dump(model, args.save)
    except OSError as exc:
        raise UserError(f"--save {args.save} cannot be written: {exc.strerror or exc}") from None


def _say(lines, encoding):
    """Print, with a question mark for what the terminal cannot show."""
    for line in lines:
        print(line.encode(encoding, "replace").decode(encoding))


def _run(args):
    # Only now, as all this takes a second or two to import.
    from skmtl._compiling import tell_of_compiling
    from skmtl._measure import measure
    from skmtl._table import read_table

    data = read_table(args)
    tell_of_compiling(lambda text: print(f"skmtl: {text}", file=sys.stderr, flush=True))
    try:
        measured = measure(data, args.folds)
    finally:
        tell_of_compiling(None)
    if args.save is not None:
        _save(measured.model, args)
    if args.plot is not None:
        _draw(measured.report, data, args)
    if args.json:
        from skmtl._json import json_report

        print(json_report(data, measured, args))
    else:
        _print_text(data, measured, args)


def _print_text(data, measured, args):
    import shutil

    from skmtl._report import Glyphs, format_report

    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    lines = format_report(
        data,
        measured,
        n_folds=args.folds,
        max_tasks=args.max_tasks,
        glyphs=Glyphs.for_encoding(encoding),
        width=shutil.get_terminal_size((110, 24)).columns,
    )
    if args.plot is not None:
        lines.append(f"Drawn to {args.plot}.")
    if args.save is not None:
        columns = ", ".join(data.columns_to_predict())
        lines.append(f"Saved to {args.save}: predicts from the columns {columns}.")
    _say(lines, encoding)


def _tell(message):
    print(f"skmtl: {' '.join(str(message).split())}", file=sys.stderr)


def main(argv=None):
    """Run the command line; see ``python -m skmtl --help``.

    Parameters
    ----------
    argv : list of str, default=None
        The arguments; those of the process if None.

    Returns
    -------
    code : int
        0; 2 after one line on stderr about what the user can put right; 1 after one line on
        stderr about what the fit said.
    """
    try:
        _run(parse(argv))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the report has had enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UserError as exc:
        _tell(exc)
        return 2
    except (ValueError, ImportError) as exc:  # the library's own, which say what to do
        _tell(exc)
        return 1
    except Exception as exc:
        _tell(f"{type(exc).__name__}: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
