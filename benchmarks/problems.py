"""The problems: real tables with many tasks and given splits, and synthetic tables for speed."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

SHARED = Path(__file__).resolve().parents[2] / "shared"
REGIMES = ("full", "low", "new")
N_SPLITS = 5

# Name of a set -> its folder and the feature columns that may not be used.
# test_time gives the target of parkinsons away, which is interpolated in time.
SETS = {
    "school": ("school", ()),
    "hsb82": ("hsb82", ()),
    "radon": ("radon", ()),
    "sleepstudy": ("sleepstudy", ()),
    "parkinsons_voice": ("parkinsons", ("test_time", "motor_UPDRS")),
    "student": ("student", ()),
    "wine": ("wine", ()),
    "aus_retail": ("aus_retail", ()),
}
# The same for sets whose target is a class, 0 or 1.
CLASS_SETS = {"landmine": ("landmine", ()), "contraception": ("contraception", ())}
# A second grouping crosses the tasks: a category of 2,972 levels, too many for a dense table.
CROSSED_SETS = {"insteval": ("insteval", ())}
ALL_SETS = SETS | CROSSED_SETS | CLASS_SETS
# Simulated, only if named: rows, features and tasks of a wide table with classes, and the labelled
# rows per class of a new task. Every split is a table of its own.
SIMULATED_SETS = {"assays": (8_600, 286, 12, 5)}
# One-hot columns beyond which a table of them is sparse.
MOST_DENSE_LEVELS = 500


@dataclass(frozen=True)
class Table:
    """A whole set: features as they come and the task column in one frame, and the target."""

    name: str
    raw: pd.DataFrame
    y: np.ndarray
    task_column: str
    categorical: list
    splits: dict

    @property
    def is_classification(self):
        """Whether the target is a class."""
        return self.name in CLASS_SETS or self.name in SIMULATED_SETS

    @cached_property
    def is_sparse(self):
        """Whether the categories have too many levels for a dense table."""
        return self.raw[self.categorical].nunique().sum() > MOST_DENSE_LEVELS

    @cached_property
    def frame(self):
        """Numeric features, categories one-hot encoded, and the task column."""
        # Levels come from the whole table, so that every split has the same columns; no target is
        # used. None is dropped: every learner is shrunk, or drops dependent columns by itself.
        features = self.raw.drop(columns=self.task_column)
        frame = pd.get_dummies(features, columns=self.categorical, dtype=np.float64)
        frame = frame.astype(np.float64)
        frame[self.task_column] = self.raw[self.task_column]
        return frame

    @cached_property
    def one_hot_columns(self):
        """Names of the one-hot columns of `frame`."""
        return list(self.frame.columns.difference(self.raw.columns, sort=False))

    def problem(self, regime, split):
        """Return the problem of one regime (full, low or new) and split number."""
        # The low regime changes the training rows only.
        test_regime = "full" if regime == "low" else regime
        train = self.splits[f"{regime}_train_{split}"]
        test = self.splits[f"{test_regime}_test_{split}"]
        return Problem(self, regime, split, train, test)


@dataclass(frozen=True)
class Problem:
    """One table cut into training and test rows."""

    table: Table
    regime: str
    split: int
    train_rows: np.ndarray
    test_rows: np.ndarray

    @property
    def task_column(self):
        """Name of the task column."""
        return self.table.task_column

    @cached_property
    def train(self):
        """Training frame: features and the task column."""
        return self.table.frame.iloc[self.train_rows].reset_index(drop=True)

    @cached_property
    def test(self):
        """Test frame: features and the task column."""
        return self.table.frame.iloc[self.test_rows].reset_index(drop=True)

    @property
    def y_train(self):
        """Training target."""
        return self.table.y[self.train_rows]

    @property
    def y_test(self):
        """Test target."""
        return self.table.y[self.test_rows]

    @property
    def task_test(self):
        """Task labels of the test rows."""
        return self.table.raw[self.task_column].to_numpy()[self.test_rows]

    @property
    def is_classification(self):
        """Whether the target is a class."""
        return self.table.is_classification

    def given(self, kind):
        """Return X_train, task_train, y_train, X_test, task_test with X of a kind.

        "arrays": numbers, categories one-hot encoded; "frames": categories as pandas' categories;
        "raw": the table as it comes, with the task column.
        """
        return {"arrays": self.arrays, "frames": self.frames, "raw": self.raw}[kind]()

    def raw(self):
        """Return what `given` says, X being the table as it comes, with the task column."""
        X_train, X_test = (
            self.table.raw.iloc[rows].reset_index(drop=True)
            for rows in (self.train_rows, self.test_rows)
        )
        task_train, task_test = (X[self.task_column].to_numpy() for X in (X_train, X_test))
        return X_train, task_train, self.y_train, X_test, task_test

    def frames(self):
        """Return what `given` says, with frames whose categories have the whole table's levels."""
        dtypes = {c: self.table.raw[c].astype("category").dtype for c in self.table.categorical}
        X_train, task_train, y_train, X_test, task_test = self.raw()
        X_train, X_test = (
            X.drop(columns=self.task_column).astype(dtypes) for X in (X_train, X_test)
        )
        return X_train, task_train, y_train, X_test, task_test

    def _sparse_arrays(self):
        X_train, task_train, y_train, X_test, task_test = self.frames()
        categorical = self.table.categorical
        numbers = list(X_train.columns.drop(categorical))
        levels = ("levels", OneHotEncoder(handle_unknown="ignore"), categorical)
        scale = ColumnTransformer(
            [("numbers", StandardScaler(), numbers), levels], sparse_threshold=1.0
        )
        X_train, X_test = scale.fit_transform(X_train), scale.transform(X_test)
        return X_train, task_train, y_train, X_test, task_test

    def arrays(self):
        """Return X_train, task_train, y_train, X_test, task_test: what a linear peer is given."""
        if self.table.is_sparse:
            return self._sparse_arrays()
        # Numbers are standardised by the training rows and 0/1 levels of categories left alone, the
        # common recipe; our own estimator is given the raw frames and scales by itself.
        one_hot = self.table.one_hot_columns
        levels = ("levels", "passthrough", one_hot)
        numbers = self.train.columns.drop([*one_hot, self.task_column])
        scale = ColumnTransformer([("numbers", StandardScaler(), list(numbers)), levels])
        X_train, X_test = scale.fit_transform(self.train), scale.transform(self.test)
        task_train, task_test = (f[self.task_column].to_numpy() for f in (self.train, self.test))
        return X_train, task_train, self.y_train, X_test, task_test


def generators(name, shared=SHARED):
    """The module of problem generators ``bench/<name>.py`` of the folder `shared`."""
    spec = importlib.util.spec_from_file_location(name, Path(shared) / "bench" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(name, shared=SHARED):
    """Load one set of `ALL_SETS` from the folder `shared`."""
    folder, dropped = ALL_SETS[name]
    folder = Path(shared) / "data" / folder
    meta = json.loads((folder / "meta.json").read_text())
    data = pd.read_parquet(folder / "data.parquet")
    features = data[[c for c in meta["features"] if c not in dropped]]
    categorical = [
        c
        for c in features
        if c in meta["categorical"] or not pd.api.types.is_numeric_dtype(features[c])
    ]
    # Numbers that are codes would be read as numbers; strings are categories to every reader.
    codes = [c for c in categorical if pd.api.types.is_numeric_dtype(features[c])]
    raw = features.astype(dict.fromkeys(codes, "category"))
    raw[meta["task"]] = data[meta["task"]]
    with np.load(folder / "splits.npz") as archive:
        splits = {key: archive[key] for key in archive.files}
    y = data[meta["target"]].to_numpy(np.float64)
    return Table(name, raw, y, meta["task"], categorical, splits)


def simulated(name, split):
    """Return the table of one set of `SIMULATED_SETS` for a split."""
    n_rows, n_features, n_tasks, n_shots = SIMULATED_SETS[name]
    X, y, task = assays(n_rows, n_features, n_tasks, seed=split)
    raw = pd.DataFrame(X, columns=[f"d{j}" for j in range(n_features)]).assign(task=task)
    rng = np.random.default_rng(split)
    order = pd.Series(rng.permutation(n_rows))
    # Rank of each row within its task, and within its class there, in a random order.
    rank = order.groupby(task[order]).cumcount().set_axis(order).sort_index().to_numpy()
    by_class = order.groupby([task[order], y[order]]).cumcount()
    by_class = by_class.set_axis(order).sort_index().to_numpy()
    known = rank < 0.7 * np.bincount(task)[task]
    new = task >= n_tasks - n_tasks // 3
    shots = new & (by_class < n_shots)
    rows = {
        "full_train": known,
        "full_test": ~known,
        "low_train": known & (rank < 10),
        "new_train": ~new | shots,
        "new_test": new & ~shots,
    }
    splits = {f"{key}_{split}": np.flatnonzero(chosen) for key, chosen in rows.items()}
    return Table(name, raw, y.astype(np.float64), "task", [], splits)


def iterate(sets=tuple(SETS), regimes=REGIMES, n_splits=N_SPLITS, shared=SHARED):
    """Yield every problem of the given sets, regimes and first `n_splits` splits."""
    for name in sets:
        if name in SIMULATED_SETS:
            tables = [simulated(name, split) for split in range(n_splits)]
        else:
            tables = [load(name, shared)] * n_splits
        for regime in regimes:
            for split, table in enumerate(tables):
                yield table.problem(regime, split)


def school_60(n_splits=10, train_share=0.6, shared=SHARED):
    """Yield the School problems with a random share of each school's rows for training."""
    table = load("school", shared)
    codes = pd.factorize(table.frame[table.task_column])[0]
    for split in range(n_splits):
        rng = np.random.default_rng(split)
        shuffled = rng.permutation(len(codes))
        # Rank of each row within its school, in shuffled order.
        rank = pd.Series(codes[shuffled]).groupby(codes[shuffled]).cumcount().to_numpy()
        size = np.bincount(codes)[codes[shuffled]]
        in_train = rank < np.round(train_share * size)
        train, test = np.sort(shuffled[in_train]), np.sort(shuffled[~in_train])
        yield Problem(table, "60", split, train, test)


def many_rows(n_rows=1_000_000, n_features=30, n_tasks=1_000, seed=0):
    """Return X (C-ordered float64), y and integer task ids in random order of rows."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features))
    task = rng.integers(n_tasks, size=n_rows)
    shared = rng.standard_normal(n_features)
    coef = shared + 0.3 * rng.standard_normal((n_tasks, n_features))
    y = rng.standard_normal(n_rows) + rng.standard_normal(n_tasks)[task]
    # Column by column: a gathered coef[task] would be as large as X and spoil the peak memory.
    for j in range(n_features):
        y += X[:, j] * coef[task, j]
    return X, y, task


def many_tasks(n_tasks, rows=10, features=10, seed=0):
    """Return a table of `n_tasks` tasks with `rows` rows each."""
    X, y, _ = many_rows(n_tasks * rows, features, n_tasks, seed)
    rng = np.random.default_rng(seed)
    task = rng.permutation(np.repeat(np.arange(n_tasks), rows))
    return X, y, task


def churn(seed=0, n_customers=300, n_features=4, test_rows=20):
    """Return X, customer and y (0 or 1) to learn from, and the same three to test on."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(3, 21, n_customers)
    # Customers differ so much that about a third has one class only in the training rows.
    intercept = -1.0 + 2.7 * rng.standard_normal(n_customers)
    coef = 0.5 * rng.standard_normal(n_features)
    coef = coef + 0.3 * rng.standard_normal((n_customers, n_features))
    parts = []
    for n_rows in (rows, np.full(n_customers, test_rows)):
        task = np.repeat(np.arange(n_customers), n_rows)
        X = rng.standard_normal((len(task), n_features))
        log_odds = intercept[task] + (X * coef[task]).sum(axis=1)
        y = (rng.random(len(task)) < 1 / (1 + np.exp(-log_odds))).astype(np.int64)
        parts += [X, task, y]
    return parts


def assays(n_rows, n_features, n_tasks, seed=0):
    """Simulate assays: descriptors of four kinds; classes with shared, own and bent effects.

    Returns
    -------
    X : ndarray of shape (n_rows, n_features)
    y, task : int ndarray of shape (n_rows,)
    """
    rng = np.random.default_rng(seed)
    rank = min(40, n_features)
    factors = rng.normal(size=(n_rows, rank))
    X = factors @ rng.normal(size=(rank, n_features)) / np.sqrt(rank)
    X += 0.7 * rng.normal(size=X.shape)
    kind = np.arange(n_features) % 4
    X[:, kind == 1] = np.exp(0.6 * X[:, kind == 1])  # skewed
    X[:, kind == 2] = np.floor(np.maximum(2.0 * X[:, kind == 2], 0.0))  # counts
    X[:, kind == 3] = X[:, kind == 3] > rng.uniform(0.5, 3.0, size=(kind == 3).sum())  # rare
    task = np.sort(rng.choice(n_tasks, p=rng.dirichlet(np.full(n_tasks, 5.0)), size=n_rows))
    Z = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-9)
    shared = rng.normal(size=n_features) * (rng.random(n_features) < 0.3)
    own = rng.normal(size=(n_tasks, n_features)) * (rng.random((n_tasks, n_features)) < 0.1)
    score = 2.0 * Z @ shared / np.sqrt(n_features)
    score += 3.0 * np.einsum("ij,ij->i", Z, own[task]) / np.sqrt(n_features)
    score += rng.normal(size=n_tasks)[task] - 1.5
    score += np.maximum(factors[:, 0], 0.0) * factors[:, 1]
    return X, (score + rng.logistic(size=n_rows) > 0).astype(int), task
