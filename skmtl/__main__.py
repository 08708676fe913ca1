"""Report whether sharing helps the tasks of a table: ``python -m skmtl``.

The command cross-validates one model per task (*independent*), one model for all tasks (*pooled*)
and `MultiTaskRegressor` or `MultiTaskClassifier` (*shared*), and prints the gains of sharing. It
uses an embedded table, or your own file.
"""

import os
import sys

from skmtl._arguments import UserError, parse


def _draw(report, data, args):
    os.environ.setdefault("MPLBACKEND", "Agg")  # drawing to a file needs no display
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


def _run(args):
    # Imported after the arguments are checked, because the imports take a second or two.
    from skmtl._compiling import notify_of_compiling
    from skmtl._measure import measure
    from skmtl._table import read_table

    data = read_table(args)
    notify_of_compiling(lambda text: print(f"skmtl: {text}", file=sys.stderr, flush=True))
    try:
        measured = measure(data, args.folds)
    finally:
        notify_of_compiling(None)
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
        lines.append(f"Plot written to {args.plot}.")
    if args.save is not None:
        columns = ", ".join(getattr(data.table, "columns", [data.task_name, *data.feature_names]))
        lines.append(f"Model saved to {args.save}. It predicts from the columns {columns}.")
    for line in lines:
        # The terminal shows a question mark for a character that it does not have.
        print(line.encode(encoding, "replace").decode(encoding))


def _print_error(message):
    print(f"skmtl: {' '.join(str(message).split())}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; see ``python -m skmtl --help``.

    Parameters
    ----------
    argv : list of str, default=None
        The arguments; by default those of the process.

    Returns
    -------
    int
        0 for success; 2 for an error in the arguments or the file, 1 for an error of the fit, each
        after one line on stderr.
    """
    try:
        _run(parse(argv))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has ended, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UserError as exc:
        _print_error(exc)
        return 2
    except (ValueError, ImportError) as exc:  # skmtl's own messages, which name the remedy
        _print_error(exc)
        return 1
    except Exception as exc:
        _print_error(f"{type(exc).__name__}: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
