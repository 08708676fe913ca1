"""The command line: python -m skmtl."""

import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from command_line import fails

from skmtl import _report
from skmtl.__main__ import main


@pytest.fixture(scope="module")
def sales(tmp_path_factory):
    """A sales table as people have them; returns (path, frame)."""
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    n_stores, n_rows = 8, 240
    store = np.repeat(np.arange(n_stores), n_rows // n_stores)
    level = rng.normal(100, 30, n_stores)
    frame = pd.DataFrame(
        {
            "Unnamed: 0": np.arange(n_rows),
            "store": [f"store {i}" for i in store],
            "price": rng.uniform(1, 9, n_rows),
            "ads": rng.poisson(4, n_rows).astype(float),
            "weekday": rng.choice(["Mon", "Tue", "Sat"], n_rows),
            "promo": rng.random(n_rows) < 0.2,
            "country": "US",
            "empty": np.nan,
            "comment": [f"c {i}" for i in range(n_rows)],
        }
    )
    frame["revenue"] = level[store] + 5 * frame["ads"] - 3 * frame["price"] + 8 * frame["promo"]
    frame["revenue"] += rng.normal(0, 5, n_rows)
    for column, step in (("price", 17), ("weekday", 13), ("store", 60), ("revenue", 50)):
        frame.loc[frame.index[3::step], column] = np.nan
    path = tmp_path_factory.mktemp("sales") / "sales.csv"
    frame.to_csv(path, index=False)
    return path, frame


# ---------------------------------------------------------------------------------- the happy path


@pytest.fixture(scope="module")
def grunfeld_text():
    """What the main job prints on the embedded table."""
    stream, old = io.StringIO(), sys.stdout
    sys.stdout = stream
    try:
        assert main([]) == 0
    finally:
        sys.stdout = old
    return stream.getvalue()


def test_grunfeld(grunfeld_text):
    assert "220 rows" in grunfeld_text and "11 firms of 20 rows" in grunfeld_text
    assert "3 features: value, capital, year" in grunfeld_text
    for name in ("General Motors", "American Steel", "Westinghouse", "(firm never seen)"):
        assert sum(line.startswith(name) for line in grunfeld_text.splitlines()) == 1
    assert "Sharing helped" in grunfeld_text
    assert "guarantee" not in grunfeld_text


def test_grunfeld_sharing_beats_pooled(grunfeld_text):
    line = next(li for li in grunfeld_text.splitlines() if li.startswith("RMSE over all rows"))
    independent, pooled, shared = map(float, line.split()[-3:])
    assert shared < pooled
    assert shared < 1.1 * independent


def test_tasks_are_sorted_by_gain(grunfeld_text):
    lines = grunfeld_text.splitlines()
    rules = [i for i, line in enumerate(lines) if line and set(line) <= {"-", "─"}]
    table = lines[rules[0] + 1 : rules[1]]
    assert len(table) == 11
    gains = [int(re.search(r"([+-]?\d+) %", line).group(1)) for line in table]
    assert gains == sorted(gains, reverse=True)


def test_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "skmtl", "--max-tasks", "4"],
        capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    text = done.stdout.decode("ascii")
    assert "Gains by size of task" in text and "+- two standard errors" in text
    assert "R2 over all rows" in text


def test_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "--target" in capsys.readouterr().out


def test_features_of_the_embedded_table(capsys):
    assert main(["--features", "value, capital", "--folds", "3"]) == 0
    out = capsys.readouterr().out
    assert "2 features: value, capital" in out
    assert "3-fold cross-validation" in out


CORE_ONLY = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pandas", "polars", "matplotlib", "statsmodels"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
from skmtl.__main__ import main

sys.exit(main(["--folds", "2"]))
"""


def test_core_dependencies_are_enough():
    done = subprocess.run([sys.executable, "-c", CORE_ONLY], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Sharing helped" in done.stdout


def test_own_file(sales, capsys):
    path, frame = sales
    assert main([str(path), "--task", "store", "--target", "revenue"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    n_rows = int((frame["store"].notna() & frame["revenue"].notna()).sum())
    assert f"{n_rows:,} rows" in out and "8 stores" in out
    assert "4 features: price, ads, weekday, promo" in out
    assert "dropped rows: 5 without revenue, 4 without store" in out
    assert "Unnamed: 0 (row numbers)" in out
    flat = " ".join(out.split())  # the line may be wrapped
    assert "country (constant)" in flat and "empty (no values)" in flat
    assert "comment (232 different values)" in " ".join(out.split())
    assert "gaps filled with the median: price" in out
    assert "one-hot encoded: weekday" in out
    assert sum(line.startswith("store ") for line in out.splitlines()) == 9  # 8 and the header
    assert "(store never seen)" in out


def test_own_file_chosen_features(sales, capsys):
    path, _ = sales
    argv = [str(path), "--task", "store", "--target", "revenue", "--features", "ads,weekday"]
    assert main(argv) == 0
    assert "2 features: ads, weekday" in capsys.readouterr().out


@pytest.mark.parametrize("sep, decimal", [(";", ","), ("\t", "."), ("|", ".")])
def test_other_separators(sales, tmp_path, capsys, sep, decimal):
    path, frame = sales
    argv = ["--task", "store", "--target", "revenue", "--folds", "2"]
    assert main([str(path), *argv]) == 0
    expected = capsys.readouterr().out.splitlines()[1:]
    other = tmp_path / "other.csv"
    frame.to_csv(other, index=False, sep=sep, decimal=decimal)
    assert main([str(other), *argv]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == expected


def test_parquet(sales, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    path, frame = sales
    frame.to_parquet(tmp_path / "sales.parquet")
    argv = ["--task", "store", "--target", "revenue", "--features", "ads", "--folds", "2"]
    assert main([str(path), *argv]) == 0
    expected = capsys.readouterr().out.splitlines()[1:]
    assert main([str(tmp_path / "sales.parquet"), *argv]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == expected


def test_spaces_after_the_commas(tmp_path, capsys):
    pytest.importorskip("pandas")
    path = tmp_path / "spaced.csv"
    lines = [f"{'ab'[i % 2]}, {i}, {i * i % 7}" for i in range(20)]
    path.write_text("shop, x, y\n" + "\n".join(lines))
    assert main([str(path), "--task", "shop", "--target", "y"]) == 0
    assert "2 shops of 10 rows" in capsys.readouterr().out


def write(tmp_path, **columns):
    pd = pytest.importorskip("pandas")
    path = tmp_path / "table.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_integer_tasks_sort_as_numbers(tmp_path, capsys):
    rng = np.random.default_rng(0)
    task = np.repeat([10, 9, 100], 12).astype(object)
    task[5] = None  # makes pandas read floats
    path = write(tmp_path, shop=task, x=rng.normal(size=36), y=rng.normal(size=36))
    assert main([str(path), "--task", "shop", "--target", "y"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {li.split()[0] for li in lines if li[:1].isdigit()} >= {"9", "10", "100"}


def test_tasks_of_one_row_are_left_out_and_reported(tmp_path, capsys):
    rng = np.random.default_rng(0)
    task = ["a"] * 10 + ["b"] * 10 + ["c"]
    path = write(tmp_path, t_id=task, x=rng.normal(size=21), y=rng.normal(size=21))
    assert main([str(path), "--task", "t_id", "--target", "y"]) == 0
    out = capsys.readouterr().out
    assert "Left out: 1 task of a single row" in out
    assert not any(line.startswith("c ") for line in out.splitlines())


def test_constant_target_in_a_task_and_infinite_feature(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=40), rng.normal(size=40)
    x[3], y[:20] = np.inf, 0.0
    path = write(tmp_path, task=["a"] * 20 + ["b"] * 20, x=x, y=y)
    assert main([str(path), "--task", "task", "--target", "y"]) == 0
    assert "gaps filled with the median: x (1)" in capsys.readouterr().out


# -------------------------------------------------------------------------------------- the picture


def test_plot(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "gains.png"
    assert main(["--plot", str(path), "--folds", "2"]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert f"Plot written to {path}" in capsys.readouterr().out


def test_unwritable_plot(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert "no folder" in fails(capsys, "--plot", tmp_path / "nowhere" / "gains.png")
    assert "is a folder" in fails(capsys, "--plot", tmp_path)
    assert ".png" in fails(capsys, "--plot", tmp_path / "gains.docx")
    assert list(tmp_path.iterdir()) == []


def test_plot_without_matplotlib(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install skmtl[plot]" in fails(capsys, "--plot", tmp_path / "gains.png")


# -------------------------------------------------------------------------------------- bad input


def test_bad_paths(tmp_path, capsys):
    columns = ["--task", "a", "--target", "b"]
    assert "no such file" in fails(capsys, tmp_path / "nope.csv", *columns)
    assert "is a directory" in fails(capsys, tmp_path, *columns)


def test_not_a_csv(tmp_path, capsys):
    columns = ["--task", "a", "--target", "b"]
    for content in (b"\x89PNG\0\0\1", b"", b"a,b\n1,2\n3,4,5,6\n", b"\xff\xfe\xe9,b\n1,2\n"):
        path = tmp_path / "file.csv"
        path.write_bytes(content)
        assert "is not a CSV file" in fails(capsys, path, *columns)
    path = tmp_path / "file.parquet"
    path.write_bytes(b"not parquet")
    pytest.importorskip("pyarrow")
    assert "is not a Parquet file" in fails(capsys, path, *columns)


def test_missing_columns(sales, capsys):
    path, _ = sales
    line = fails(capsys, path, "--task", "Stores", "--target", "revenue")
    assert "no column 'Stores'; did you mean 'store'?" in line
    assert "'revenue'" in fails(capsys, path, "--task", "store", "--target", "REVENU")
    assert "its columns are" in fails(capsys, path, "--task", "store", "--target", "qqqq")
    argv = [path, "--task", "store", "--target", "revenue", "--features"]
    assert "did you mean 'price'" in fails(capsys, *argv, "prices,ads")
    assert "cannot be a feature" in fails(capsys, *argv, "ads,store")
    assert "no usable feature column" in fails(capsys, *argv, "country,empty")
    assert "no usable feature column" in fails(capsys, *argv, ",")
    assert "did you mean 'value'?" in fails(capsys, "--features", "valu")


def test_wrong_types(sales, capsys):
    path, _ = sales
    as_numbers = ["--task", "store", "--target", "weekday", "--kind", "regression"]
    line = fails(capsys, path, *as_numbers)
    assert "not numeric" in line and any(day in line for day in ("'Mon'", "'Tue'", "'Sat'"))
    assert "fractions" in fails(capsys, path, "--task", "price", "--target", "revenue")
    assert "same column" in fails(capsys, path, "--task", "store", "--target", "store")


def test_tables_that_cannot_be_compared(tmp_path, sales, capsys):
    path, _ = sales
    assert "the same country" in fails(capsys, path, "--task", "country", "--target", "revenue")
    same = fails(capsys, path, "--task", "comment", "--target", "revenue")
    assert "no two rows have the same 'comment'" in same
    few = write(tmp_path, t=["a", "a", "b"], x=[1.0, 2.0, 3.0], y=[1.0, 2.0, 3.0])
    line = fails(capsys, few, "--task", "t", "--target", "y")
    assert "only 3 rows" in line and "at least 10" in line
    flat = write(tmp_path, t=["a", "b"] * 10, x=np.arange(20.0), y=np.ones(20))
    assert "the same in all rows" in fails(capsys, flat, "--task", "t", "--target", "y")


def test_bad_arguments(sales, capsys):
    path, _ = sales
    assert "--task and --target" in fails(capsys, path)
    assert "--task and --target" in fails(capsys, path, "--task", "store")
    assert "give its path" in fails(capsys, "--task", "store", "--target", "revenue")
    assert "at least 2" in fails(capsys, "--folds", "1")
    assert "at least 2" in fails(capsys, "--max-tasks", "1")
    assert "--folds" in fails(capsys, "--folds", "many")
    assert "--wat" in fails(capsys, "--wat")


def test_own_file_without_pandas(tmp_path, capsys, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert "pip install pandas" in fails(capsys, path, "--task", "a", "--target", "b")


# ---------------------------------------------------------------------------------- text in detail


@pytest.mark.parametrize(
    "gain, text",
    [(0.344, "+34 %"), (-0.1, "-10 %"), (0.001, "0 %"), (-0.001, "0 %"), (np.nan, "-"),
     (-50.0, "<-999 %"), (-np.inf, "<-999 %"), (1.0, "+100 %")],
)  # fmt: skip
def test_percent(gain, text):
    assert _report.percent(gain) == text


def test_bars():
    blocks, ascii_only = _report.Glyphs(), _report.Glyphs.for_encoding("ascii")
    assert _report.bar(1.0, blocks) == "█" * 8
    assert _report.bar(0.5, ascii_only) == "####"
    assert _report.bar(-0.5, ascii_only) == "----"
    assert _report.bar(-99.0, blocks) == "░" * 8
    assert _report.bar(0.01, blocks) == "▏"
    assert _report.bar(np.nan, blocks) == _report.bar(0.0, blocks) == ""
    assert _report.Glyphs.for_encoding("utf-8") == blocks
    assert _report.Glyphs.for_encoding("no such codec") == ascii_only


def test_shorten_keeps_both_ends():
    assert _report.shorten("abcdefghij", 7, "...") == "ab...ij"
    assert _report.shorten("abc", 7, "...") == "abc"


def test_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--folds", "2"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 82


@pytest.mark.parametrize("end", ["", ";"])
def test_decimal_commas_beside_dates_and_a_separator_too_many(end, tmp_path, capsys):
    rng = np.random.default_rng(0)
    lines = ["datum;filiale;umsatz;preis"]
    for i, x in enumerate(rng.normal(5.0, 2.0, size=60)):
        numbers = f"{3 + 2 * x:.2f};{x:.2f}".replace(".", ",")
        lines.append(f"01.{1 + i % 12:02}.2020;{'AB'[i % 2]};{numbers}{end}")
    path = tmp_path / "umsatz.csv"
    path.write_text("\n".join(lines))
    argv = [str(path), "--task", "filiale", "--target", "umsatz", "--exclude", "datum", "--json"]
    assert main(argv) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kind"] == "regression" and report["n_tasks"] == 2
