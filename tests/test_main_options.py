"""python -m skmtl with classes, compressed files, time, JSON and a saved model."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
from command_line import fails

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.__main__ import main
from skmtl.model_selection import TaskTimeSeriesSplit

pd = pytest.importorskip("pandas")


@pytest.fixture(autouse=True)
def one_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """Eight clinics over thirty days; returns (path, frame)."""
    rng = np.random.default_rng(0)
    clinic = np.repeat([f"c{i}" for i in range(8)], 30)
    frame = pd.DataFrame(
        {
            "clinic": clinic,
            "ward": np.tile([1, 2], 120),
            "day": np.tile(pd.date_range("2024-03-01", periods=30).strftime("%Y-%m-%d"), 8),
            "postcode": rng.choice([10115, 20095, 80331], 240),
            "age": rng.uniform(20, 80, 240),
            "dose": rng.normal(size=240),
        }
    )
    level = rng.normal(size=8)[np.arange(240) // 30]
    score = level + frame["dose"] + (frame["postcode"] == 20095) + rng.normal(size=240)
    frame["score"] = score
    frame["risk"] = np.select([score < -0.7, score < 1.0], ["low", "mid"], "high")
    frame["came"] = score > 0
    frame["flag"] = np.where(score > 0, 1, 0)
    path = tmp_path_factory.mktemp("visits") / "visits.csv"
    frame.to_csv(path, index=False)
    return path, frame


TARGETS = ["score", "risk", "came", "flag"]


def argv_for(path, target, *more, folds=2):
    others = [name for name in TARGETS if name != target]
    return [
        str(path), "--task", "clinic", "--target", target, "--folds", str(folds),
        "--exclude", *others, *more,
    ]  # fmt: skip


def as_json(capsys, argv):
    """The report as JSON; nothing but JSON is on stdout, and no NaN is in it."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=refuse)


# ------------------------------------------------------------------------------ what the target is


@pytest.mark.parametrize("target, n_classes", [("risk", 3), ("came", 2), ("flag", 2)])
def test_classes(visits, capsys, target, n_classes):
    path, _ = visits
    assert main(argv_for(path, target)) == 0
    out = capsys.readouterr().out
    assert f"target {target} ({n_classes} classes)" in out
    assert "log-loss over all rows" in out and "accuracy over all rows" in out
    assert "RMSE" not in out and "squared error" not in out
    assert ("two values, 0 and 1" in out) is (target == "flag")


def test_log_loss_and_accuracy_are_those_of_the_model(visits, capsys, tmp_path):
    path, frame = visits
    report = as_json(capsys, argv_for(path, "risk"))
    from sklearn.metrics import accuracy_score, log_loss

    from skmtl.model_selection import TaskKFold

    X = frame[["clinic", "ward", "day", "postcode", "age", "dose"]]
    p = np.empty((240, 3))
    codes = frame["clinic"].str[1:].astype(int).to_numpy()
    for train, test in TaskKFold(2, shuffle=True, random_state=0).split(codes, groups=codes):
        model = MultiTaskClassifier(
            "partial_pooling", task_column="clinic", preprocessor="auto", cv=2
        )
        p[test] = model.fit(X.iloc[train], frame["risk"][train]).predict_proba(X.iloc[test])
    shared = report["summary"]["shared"]
    assert shared["log_loss"] == pytest.approx(log_loss(frame["risk"], p))
    right = accuracy_score(frame["risk"], model.classes_[p.argmax(axis=1)])
    assert shared["accuracy"] == pytest.approx(right)


def test_kind_overrides(visits, capsys):
    path, _ = visits
    report = as_json(capsys, argv_for(path, "flag", "--kind", "regression"))
    assert report["kind"] == "regression" and report["error"] == "squared error"
    report = as_json(capsys, argv_for(path, "flag"))
    assert report["kind"] == "classification" and report["error"] == "log-loss"
    line = fails(capsys, *argv_for(path, "score", "--kind", "classification"))
    assert "240 classes" in line


def write(tmp_path, **columns):
    path = tmp_path / "table.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_targets_that_are_neither(tmp_path, capsys, rng):
    base = {"shop": ["a", "b"] * 60, "x": rng.normal(size=120)}
    argv = ["--task", "shop", "--target", "y"]
    y = rng.normal(size=120).astype(str).astype(object)
    y[7] = "n/k"
    line = fails(capsys, write(tmp_path, **base, y=y), *argv)
    assert "'n/k' (1 of 120 rows)" in line and "--kind classification" in line
    words = [f"word {i}" for i in range(120)]
    line = fails(capsys, write(tmp_path, **base, y=words), *argv)
    assert "120 different values" in line and "--kind classification" in line


def test_booleans_with_gaps(tmp_path, capsys, rng):
    y = (rng.random(80) < 0.5).astype(object)
    y[5] = None
    path = write(tmp_path, shop=["a", "b"] * 40, x=rng.normal(size=80), y=y)
    file = tmp_path / "m.joblib"
    argv = [str(path), "--task", "shop", "--target", "y", "--folds", "2", "--save", str(file)]
    assert main(argv) == 0
    assert "1 without y" in capsys.readouterr().out
    assert joblib.load(file).classes_.tolist() == [False, True]


def test_columns_that_hold_dates_are_left_out(tmp_path, capsys, rng):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    days = pd.date_range("2024-01-01", periods=40)
    frame = pd.DataFrame({"shop": ["a", "b"] * 20, "x": rng.normal(size=40)})
    frame = frame.assign(y=rng.normal(size=40), when=days, day=days.date, wait=days - days[0])
    frame.to_parquet(path)
    argv = [str(path), "--task", "shop", "--folds", "2", "--target"]
    assert main([*argv, "y"]) == 0
    flat = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} (dates or times)" in flat for name in ("when", "day", "wait"))
    for name in ("when", "day", "wait"):
        assert "holds dates" in fails(capsys, *argv, name)


def test_classes_too_rare_to_learn(tmp_path, capsys, rng):
    base = {"shop": ["a", "b"] * 30, "x": rng.normal(size=60)}
    argv = ["--task", "shop", "--target", "y", "--folds", "2"]
    for y in (["u"] * 57 + ["v"] * 3, [f"c{i % 30}" for i in range(60)]):
        assert "fewer than two of them" in fails(capsys, write(tmp_path, **base, y=y), *argv)


def test_rare_classes_are_dropped_and_said(tmp_path, capsys, rng):
    y = rng.choice(["red", "blue"], 80).astype(object)
    y[[3, 4]] = "mauve"
    path = write(tmp_path, shop=["a", "b"] * 40, x=rng.normal(size=80), y=y)
    assert main([str(path), "--task", "shop", "--target", "y", "--folds", "2"]) == 0
    out = capsys.readouterr().out
    assert "dropped rows: 2 of classes with fewer than 5 rows (mauve)" in out
    assert "78 rows" in out


# ----------------------------------------------------------------------------------- forms of files


@pytest.fixture(scope="module")
def expected(visits):
    path, _ = visits
    done = subprocess.run(
        [sys.executable, "-m", "skmtl", *argv_for(path, "score")],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "110"},
    )  # fmt: skip
    return done.stdout.splitlines()[1:]


@pytest.mark.parametrize("name", ["v.csv.gz", "v.csv.bz2", "v.csv.xz", "v.zip", "v.csv.zip"])
def test_compressed(visits, expected, tmp_path, capsys, name):
    frame = visits[1]
    frame.to_csv(tmp_path / name, index=False)
    assert main(argv_for(tmp_path / name, "score")) == 0
    assert capsys.readouterr().out.splitlines()[1:] == expected


@pytest.mark.parametrize("name", ["v.parquet", "v.feather"])
def test_columnar(visits, expected, tmp_path, capsys, name):
    pytest.importorskip("pyarrow")
    frame, path = visits[1], tmp_path / name
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_feather(path)
    assert main(argv_for(path, "score")) == 0
    assert capsys.readouterr().out.splitlines()[1:] == expected
    assert "did you mean 'clinic'?" in fails(capsys, path, "--task", "klinic", "--target", "score")
    path.write_bytes(b"neither")
    kind = "Parquet" if path.suffix == ".parquet" else "Feather"
    assert f"is not a {kind} file" in fails(capsys, *argv_for(path, "score"))


def test_the_index_of_a_frame_is_a_column(visits, expected, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    path = tmp_path / "v.parquet"
    visits[1].set_index("clinic").to_parquet(path)
    assert main(argv_for(path, "score")) == 0
    assert capsys.readouterr().out.splitlines()[1:] == expected


@pytest.mark.parametrize("name", ["v.parquet", "v.feather"])
def test_without_pyarrow(visits, tmp_path, capsys, monkeypatch, name):
    path = tmp_path / name
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install pyarrow" in fails(capsys, *argv_for(path, "score"))


def test_archives_that_cannot_be_read(visits, tmp_path, capsys):
    path, _ = visits
    for suffix in (".gz", ".bz2", ".xz", ".zip"):
        bad = tmp_path / f"bad.csv{suffix}"
        bad.write_bytes(b"no such thing")
        assert "cannot be decompressed" in fails(capsys, *argv_for(bad, "score"))
    two = tmp_path / "two.zip"
    with zipfile.ZipFile(two, "w") as archive:
        archive.write(path, "a.csv")
        archive.writestr("__MACOSX/a.csv", b"\0")
    assert main(argv_for(two, "score")) == 0
    capsys.readouterr()
    with zipfile.ZipFile(two, "a") as archive:
        archive.write(path, "b.csv")
    assert "holds 2 files" in fails(capsys, *argv_for(two, "score"))


# ------------------------------------------------------------------------------------------ columns


def test_exclude(visits, capsys):
    path, _ = visits
    report = as_json(capsys, argv_for(path, "score", "age", "day"))
    assert report["features"] == ["ward", "postcode", "dose"]
    with_commas = [*argv_for(path, "score")[:-3], "risk,came,flag,age, day"]
    assert as_json(capsys, with_commas)["features"] == ["ward", "postcode", "dose"]
    line = fails(capsys, *argv_for(path, "score", "agee"))
    assert "no column 'agee'; did you mean 'age'?" in line
    line = fails(capsys, *argv_for(path, "score", "age", "--features", "age,dose"))
    assert "both --features and --exclude" in line


@pytest.mark.skipif(
    "categorical_columns" not in MultiTaskRegressor().get_params(),
    reason="the estimators have no categorical_columns yet",
)
def test_categorical(visits, capsys):
    path, _ = visits
    assert main(argv_for(path, "score", "--categorical", "postcode", "ward")) == 0
    assert "one-hot encoded: ward, day, postcode" in capsys.readouterr().out
    with_numbers = as_json(capsys, argv_for(path, "score"))
    with_levels = as_json(capsys, argv_for(path, "score", "--categorical", "postcode"))
    error = [r["summary"]["shared"]["rmse"] for r in (with_levels, with_numbers)]
    assert error[0] < error[1]  # 20095 lies between the others


def test_categorical_columns_are_checked(visits, capsys):
    path, _ = visits
    line = fails(capsys, *argv_for(path, "score", "--categorical", "post"))
    assert "did you mean 'postcode'?" in line
    for name in ("clinic", "risk"):
        assert "is not a feature" in fails(capsys, *argv_for(path, "score", "--categorical", name))
    argv = argv_for(path, "score", "--categorical", "postcode", "--features", "age")
    assert "not among --features" in fails(capsys, *argv)


@pytest.mark.parametrize("order", ["first", "last"])
def test_the_file_may_follow_a_list_of_columns(visits, capsys, order):
    path, _ = visits
    rest = ["--target", "score", "--features", "dose", "--folds", "2"]
    argv = ["--task", "clinic", str(path), *rest] if order == "first" else [
        *rest, "--task", "clinic", str(path)
    ]  # fmt: skip
    assert main(argv) == 0
    assert "8 clinics" in capsys.readouterr().out


def multi_column_tasks_are_known():
    X = pd.DataFrame({"a": ["u", "v"] * 20, "b": ["x"] * 20 + ["y"] * 20, "z": np.arange(40.0)})
    model = MultiTaskRegressor(task_column=["a", "b"], cv=None, sharing="pooled")
    try:
        model.fit(X, X["z"])
    except ValueError:
        return False
    return True


def test_several_task_columns(visits, capsys):
    if not multi_column_tasks_are_known():
        pytest.skip("a task is one column yet")
    path, _ = visits
    report = as_json(capsys, [*argv_for(path, "score"), "--task", "clinic", "ward"])
    assert report["task"] == ["clinic", "ward"] and report["n_tasks"] == 16
    assert report["tasks"][0]["task"] == "c0 / 1"
    assert report["features"] == ["day", "postcode", "age", "dose"]


# --------------------------------------------------------------------------------------------- time


def test_forward_in_time(visits, capsys, tmp_path):
    path, frame = visits
    argv = argv_for(path, "score", "--time", "day", "--save", str(tmp_path / "m.joblib"))
    report = as_json(capsys, argv)
    assert report["time"] == "day" and "day" not in report["features"]
    assert report["task_never_seen"] is None
    assert [task["n_tested"] for task in report["tasks"]] == [20] * 8  # 2 windows of 10 days
    model = joblib.load(tmp_path / "m.joblib")
    assert isinstance(model.cv, TaskTimeSeriesSplit) and model.exclude_columns == ["day"]
    X = frame[["clinic", "day", "ward", "postcode", "age", "dose"]]
    errors = []
    for train, test in TaskTimeSeriesSplit(2, time_column="day", task_column="clinic").split(X):
        past = MultiTaskRegressor(
            "partial_pooling", task_column="clinic", preprocessor="auto", exclude_columns=["day"],
            cv=TaskTimeSeriesSplit(2, time_column="day"),
        ).fit(X.iloc[train], frame["score"][train])  # fmt: skip
        errors.append((past.predict(X.iloc[test]) - frame["score"][test]) ** 2)
    rmse = np.sqrt(np.concatenate(errors).mean())
    assert report["summary"]["shared"]["rmse"] == pytest.approx(rmse)


def test_time_in_words(visits, capsys):
    path, _ = visits
    assert main(argv_for(path, "score", "--time", "day")) == 0
    assert "2 folds forward in time" in capsys.readouterr().out


def test_invalid_times(visits, tmp_path, capsys):
    path, frame = visits
    assert "no column 'dya'" in fails(capsys, *argv_for(path, "score", "--time", "dya"))
    line = fails(capsys, *argv_for(path, "score", "--time", "clinic"))
    assert "--time clinic" in line
    line = fails(capsys, *argv_for(path, "score", "--time", "ward"))
    assert "more than 2 distinct times" in line and "--folds" in line
    other = tmp_path / "german.csv"
    frame.assign(day=pd.to_datetime(frame["day"]).dt.strftime("%d.%m.%Y")).to_csv(other)
    assert "day" in fails(capsys, *argv_for(other, "score", "--time", "day"), code=1)


# ----------------------------------------------------------------------------------- JSON and files


def test_json_of_the_embedded_table(capsys):
    report = as_json(capsys, ["--folds", "2"])
    assert report["n_samples"] == 220 and report["kind"] == "regression"
    assert len(report["tasks"]) == 11
    assert report["task_never_seen"]["error_independent"] is None
    first = report["tasks"][0]
    gain = 1 - first["error_shared"] / first["error_independent"]
    assert first["gain_over_independent"] == pytest.approx(gain)
    assert report["by_size"][0]["n_tasks"] == 11
    assert report["verdict"].startswith("Sharing helped")


def test_json_with_tasks_of_one_row(tmp_path, capsys, rng):
    task = ["a"] * 15 + ["b"] * 15 + ["c"]
    path = write(tmp_path, shop=task, x=rng.normal(size=31), y=rng.normal(size=31))
    report = as_json(capsys, [str(path), "--task", "shop", "--target", "y"])
    assert report["tasks"][2]["n_samples"] == 1 and report["tasks"][2]["error_shared"] is None


@pytest.mark.parametrize("target", ["score", "risk", "came"])
def test_saved_model(visits, tmp_path, capsys, target):
    path, frame = visits
    file = tmp_path / "model.joblib"
    argv = argv_for(path, target, "--features", "age,dose,postcode", "--save", str(file))
    assert main(argv) == 0
    columns = ["clinic", "age", "dose", "postcode"]
    assert f"saved to {file}. It predicts from the columns {', '.join(columns)}." in " ".join(
        capsys.readouterr().out.split()
    )
    model = joblib.load(file)
    face = MultiTaskRegressor if target == "score" else MultiTaskClassifier
    assert isinstance(model, face) and model.tasks_.tolist() == sorted(set(frame["clinic"]))
    X = frame[columns]
    expected = face("partial_pooling", task_column="clinic", preprocessor="auto", cv=2)
    expected.fit(X, frame[target])
    found, wanted = model.predict(X), expected.predict(X)
    assert np.allclose(found, wanted, rtol=1e-9) if target == "score" else (found == wanted).all()


def test_save_is_refused_before_the_fit(visits, tmp_path, capsys, monkeypatch):
    path, _ = visits
    monkeypatch.setattr(MultiTaskRegressor, "fit", None)
    assert "no folder" in fails(
        capsys, *argv_for(path, "score", "--save", str(tmp_path / "no" / "m.joblib"))
    )
    assert "is a folder" in fails(capsys, *argv_for(path, "score", "--save", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_save_where_nothing_may_be_written(visits, tmp_path, capsys, monkeypatch):
    def refuse(**kwargs):
        raise PermissionError(13, "Permission denied")

    path, _ = visits  # root may write anywhere, so that a read-only folder would not do
    monkeypatch.setattr("skmtl._arguments.tempfile.TemporaryFile", refuse)
    line = fails(capsys, *argv_for(path, "score", "--save", str(tmp_path / "m.joblib")))
    assert "cannot be written: Permission denied" in line


def test_faults_of_the_library_are_one_line(visits, capsys, monkeypatch):
    path, _ = visits

    def stumble(*args, **kwargs):
        raise ArithmeticError("one\ntwo")

    monkeypatch.setattr(MultiTaskRegressor, "fit", stumble)
    assert "ArithmeticError: one two" in fails(capsys, *argv_for(path, "score"), code=1)


@pytest.mark.skipif(os.name != "posix", reason="pipes break otherwise elsewhere")
def test_a_reader_that_stops_reading():
    command = [sys.executable, "-m", "skmtl", "--folds", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        said = running.stderr.read().decode()
    assert "Traceback" not in said and "BrokenPipe" not in said


def test_options_of_a_file_need_one(capsys):
    for option in (["--time", "day"], ["--exclude", "year"], ["--kind", "regression"]):
        assert f"{option[0]} describes your own file" in fails(capsys, *option)


# -------------------------------------------------------------------------------- answers at once

# The package itself imports its estimators; its place is taken, so that what is seen here is only
# what the command line imports.
BEFORE_THE_FIT = """
import sys, types
package = types.ModuleType("skmtl")
package.__path__ = [sys.argv[1]]
sys.modules["skmtl"] = package
before = set(sys.modules)
from skmtl.__main__ import main

code = main(sys.argv[2:])
heavy = {name.partition(".")[0] for name in set(sys.modules) - before}
heavy &= {"numpy", "pandas", "scipy", "sklearn", "numba", "joblib", "matplotlib", "pyarrow"}
print(code, sorted(heavy), "skmtl.multitask" in sys.modules)
"""


@pytest.mark.parametrize(
    "argv, said",
    [
        (["nope.csv", "--task", "a", "--target", "b"], "no such file"),
        (["{csv}", "--task", "clinics", "--target", "score"], "did you mean 'clinic'?"),
        (["{csv}", "--task", "clinic", "--target", "score", "--save", "no/m.joblib"], "no folder"),
        (["--wat"], "--wat"),
    ],
)
def test_mistakes_are_reported_before_anything_is_imported(visits, argv, said):
    argv = [arg.format(csv=visits[0]) for arg in argv]
    folder = str(Path(skmtl.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_THE_FIT, folder, *argv], capture_output=True, text=True
    )
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout.split(maxsplit=1) == ["2", "[] False\n"]


# ----------------------------------------------------------------------------- many and small tasks


def write_tasks(tmp_path, rng, sizes):
    task = np.repeat([f"s{i}" for i in range(len(sizes))], sizes)
    level = np.repeat(rng.normal(size=len(sizes)), sizes)
    x = rng.normal(size=len(task))
    return write(tmp_path, shop=task, x=x, y=level + x + rng.normal(size=len(task)))


@pytest.mark.parametrize("largest", [3, 40])
@pytest.mark.parametrize("n_tasks", [3, 100, 3000])
def test_tasks_of_few_rows_are_told_by_size(tmp_path, capsys, rng, n_tasks, largest):
    if n_tasks == 3000 and largest > 3:
        n_tasks = 300
    sizes = np.full(3, largest + 2) if n_tasks == 3 else rng.integers(1, largest + 1, n_tasks)
    path = write_tasks(tmp_path, rng, sizes)
    assert main([str(path), "--task", "shop", "--target", "y", "--folds", "2"]) == 0
    out = capsys.readouterr().out
    flat = " ".join(out.split())
    if n_tasks > 3:
        assert "Gains by size of task" in out
        assert "clearly gain" in flat and "clearly lose" in flat
        assert "chance alone may account for" in flat
        named = [line for line in out.splitlines() if line.startswith("s") and " shared" in line]
        assert len(named) <= 43
    if largest == 3:
        assert "<-999" not in out
    assert max(map(len, out.splitlines())) <= 112


def test_sums_by_size_are_those_of_the_rows(tmp_path, capsys, rng):
    path = write_tasks(tmp_path, rng, [2] * 60 + [6] * 40)
    report = as_json(capsys, [str(path), "--task", "shop", "--target", "y", "--folds", "2"])
    assert [entry["n_tasks"] for entry in report["by_size"]] == [60, 40]
    for entry in report["by_size"]:
        tasks = [t for t in report["tasks"] if t["n_samples"] == entry["smallest"]]
        for way in ("independent", "pooled", "shared"):
            error = np.mean([task[f"error_{way}"] for task in tasks])  # of as many rows each
            assert entry[f"error_{way}"] == pytest.approx(error)
