"""`partial_fit` over streams: moments add up, and the model is solved when it is asked for."""

import contextlib
import copy
import pickle
import threading

import numpy as np
import pandas as pd
import pytest
from rounding import assert_same_but_rounding
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skmtl import MultiTaskRegressor
from skmtl.multitask import _pending
from skmtl.sharing import PartialPooling
from skmtl.tasks import seen
from skmtl.tasks.moments import TaskMoments

STRENGTHS = PartialPooling(alpha=2.0, alpha_intercept=1.0, alpha_shared=1.0)
FIXED = MultiTaskRegressor(STRENGTHS, cv=None)
TUNED = pytest.param(MultiTaskRegressor("partial_pooling"), marks=pytest.mark.jit)

# What asks for a solution, as a user would.
ASKING = {
    "predict": lambda model, Z, t: model.predict(Z, task=t),
    "score": lambda model, Z, t: model.score(Z, Z[:, 0], task=t),
    "coef_": lambda model, Z, t: model.coef_,
    "shared_intercept_": lambda model, Z, t: model.shared_intercept_,
    "sharing_": lambda model, Z, t: model.sharing_.alpha_,
    "report": lambda model, Z, t: list(model.task_report_),
    "for_task": lambda model, Z, t: model.for_task(t[0]).coef_,
    "adapt": lambda model, Z, t: model.adapt(Z[:5], Z[:5, 0]).coef_,
    "summary": lambda model, Z, t: str(model.summary()),
    "coef_frame": lambda model, Z, t: model.coef_frame().to_numpy(),
    "importances": lambda model, Z, t: model.feature_importances_,
    "getattr": lambda model, Z, t: getattr(model, "intercept_", None),
}  # fmt: skip


def batches_of(rng, n_batches=5, n_rows=60, n_tasks=6, labels=None):
    """Batches of rows; the last task appears in the third batch, the first one before it only."""
    out = []
    for b in range(n_batches):
        low, high = (0, n_tasks - 1) if b < 2 else (1, n_tasks)
        codes = rng.integers(low, high, size=n_rows)
        Z = rng.normal(size=(n_rows, 3))
        y = Z @ [1.0, -0.5, 0.2] + 0.5 * codes + 0.3 * codes * Z[:, 0] + rng.normal(size=n_rows)
        out.append((Z, y, codes if labels is None else np.asarray(labels)[codes]))
    return out


def streamed(model, batches, **kwargs):
    model = clone(model)
    for Z, y, task in batches:
        model.partial_fit(Z, y, task=task, **kwargs)
    return model


def is_pending(model):
    return "coef_" not in vars(model)


def solves(monkeypatch):
    """Count the solutions from here on."""
    counts, solve = [], MultiTaskRegressor._solve

    def counted(self, *args, **kwargs):
        counts.append(1)
        return solve(self, *args, **kwargs)

    monkeypatch.setattr(MultiTaskRegressor, "_solve", counted)
    return counts


def assert_same(got, wanted):
    np.testing.assert_array_equal(got.tasks_, wanted.tasks_)
    for name in ("coef_", "intercept_", "shared_coef_", "shared_intercept_"):
        assert_same_but_rounding(getattr(got, name), getattr(wanted, name), condition=100.0)
    for name, column in wanted.task_report_.items():
        if np.asarray(column).dtype.kind == "f":
            np.testing.assert_allclose(got.task_report_[name], column, rtol=1e-7, atol=1e-9)


# ---------------------------------------------------------------------------- the same model


@pytest.mark.parametrize("labels", [None, ["c", "a", "f", "b", "e", "d"]])
@pytest.mark.parametrize("model", [FIXED, TUNED])
@pytest.mark.parametrize("decay", [1.0, 0.7])
def test_a_late_solution_is_that_of_solving_in_every_call(model, decay, labels, rng):
    batches = batches_of(rng, labels=labels)
    wanted = streamed(model, batches, decay=decay)
    got = streamed(model, batches, decay=decay, solve=False)
    assert is_pending(got) and not is_pending(wanted)
    assert_same(got, wanted)


@pytest.mark.parametrize("decay", [1.0, 0.05])
def test_a_late_solution_is_a_fit_on_all_rows(decay, rng):
    """Also after hundreds of batches with decay, whose common factor would vanish."""
    batches = batches_of(rng, n_batches=150, n_rows=20)
    got = streamed(FIXED, batches, decay=decay, solve=False)
    weight = np.repeat(decay ** np.arange(150.0)[::-1], 20)
    X, y, task = (np.concatenate(part) for part in zip(*batches, strict=True))
    live = weight > 1e-90
    assert live.sum() > 1000
    wanted = clone(FIXED).fit(X[live], y[live], weight[live], task=task[live])
    pred = wanted.predict(X[-20:], task=task[-20:])
    np.testing.assert_allclose(got.predict(X[-20:], task=task[-20:]), pred, rtol=1e-6, atol=1e-6)


@pytest.mark.jit
def test_weights_two_columns_of_tasks_and_a_column_of_folds(rng):
    model = MultiTaskRegressor(
        "partial_pooling", task_column=["town", "shop"], fold_column="id", cv=3
    )
    got, wanted, start = clone(model), clone(model), 0
    for Z, y, codes in batches_of(rng):
        frame = pd.DataFrame(Z, columns=list("uvw"))
        frame["town"], frame["shop"] = np.where(codes % 2, "north", "south"), codes
        frame["id"] = np.arange(start, start + len(y))
        start += len(y)
        weight = rng.uniform(0.0, 2.0, size=len(y)) * (rng.uniform(size=len(y)) < 0.9)
        got.partial_fit(frame, y, weight, solve=False)
        wanted.partial_fit(frame, y, weight)
    assert_same(got, wanted)


def test_columns_of_a_target(rng):
    parts = []
    for k in range(4):
        Z, Y = rng.normal(size=(30, 3)), rng.normal(size=(30, 4))
        Y[rng.uniform(size=Y.shape) < 0.4] = np.nan
        Y[:, k] = np.nan  # a batch without a task
        parts.append((Z, pd.DataFrame(Y, columns=list("dbca")), None))
    got = streamed(FIXED, parts, solve=False)
    assert got.tasks_.tolist() == list("dbca") and is_pending(got)
    assert_same(got, streamed(FIXED, parts))
    with pytest.raises(ValueError, match="y has the columns"):
        got.partial_fit(Z, pd.DataFrame(Y, columns=list("abcd")), solve=False)


def test_moments_of_fit_and_a_preprocessor(rng):
    batches = [(pd.DataFrame({"u": Z[:, 0], "kind": np.where(Z[:, 1] > 0, "p", "q")}), y, t)
               for Z, y, t in batches_of(rng)]  # fmt: skip
    model = clone(FIXED).set_params(preprocessor="auto", keep_moments=True)
    first, rest = batches[0], batches[1:]
    models = [clone(model).fit(*first[:2], task=first[2]) for _ in range(2)]
    for solve, one in zip((True, False), models, strict=True):
        for X, y, task in rest:
            one.partial_fit(X, y, task=task, solve=solve)
    assert is_pending(models[1])
    assert_same(models[1], models[0])


# ------------------------------------------------------------------------------- when to solve


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
@pytest.mark.parametrize("model", [FIXED, TUNED])
def test_whatever_asks_gets_the_model(model, asking, rng, monkeypatch):
    batches = batches_of(rng)
    wanted = streamed(model, batches)
    counts = solves(monkeypatch)
    got = streamed(model, batches, solve=False)
    Z, _, task = batches[-1]
    check_is_fitted(got)
    repr(got), got._repr_html_(), clone(got), got.get_params(), got.tasks_, got.preprocessor_
    assert not hasattr(got, "grouping_effects_") and not hasattr(got, "no_such_attribute_")
    assert not counts
    if asking is ASKING["sharing_"] and model is FIXED:
        return  # given strengths are not tuned
    result, reference = asking(got, Z, task), asking(wanted, Z, task)
    assert len(counts) == 1
    if isinstance(result, np.ndarray):
        np.testing.assert_allclose(result, reference, rtol=1e-7, atol=1e-10)
    else:
        assert result == (
            reference if isinstance(result, (str, list)) else pytest.approx(reference)
        )
    asking(got, Z, task)
    assert len(counts) == 1 and not is_pending(got)


def test_a_solution_has_no_attributes_beside_the_known_ones(rng):
    """Those of which a pending model knows that it has them."""
    batches = batches_of(rng)
    model = streamed(FIXED, batches, solve=False)
    pending = set(vars(model))
    found = set(vars(streamed(FIXED, batches))) - pending
    parts = {"_above", "_learned", "_level_effects", "_strangers", "_view"}  # None, as in the class
    assert found - parts == _pending._SOLUTION
    for name in parts - {"_view"}:
        assert getattr(model, name) is None and is_pending(model)
    assert "coef_" in dir(model) and is_pending(model)
    for name in found - {"_view"}:
        assert hasattr(streamed(FIXED, batches, solve=False), name)


@pytest.mark.parametrize(
    ("solve", "wanted"),
    [(True, "11111"), (False, "00000"), (1, "11111"), (60, "11111"), (61, "01010"),
     (150, "00100"), (np.int64(300), "00001"), (10**9, "00000")],
)  # fmt: skip
def test_every_so_many_rows(solve, wanted, rng, monkeypatch):
    model, counts, found = clone(FIXED), solves(monkeypatch), ""
    for Z, y, task in batches_of(rng):
        model.partial_fit(Z, y, task=task, solve=solve)
        found += str(len(counts))
        counts.clear()
        assert is_pending(model) == (found[-1] == "0")
    assert found == wanted


def test_rows_count_from_the_last_solution(rng, monkeypatch):
    batches, counts = batches_of(rng), solves(monkeypatch)
    model = streamed(FIXED, batches[:1], solve=100)
    assert model.coef_.shape == (5, 3) and len(counts) == 1
    model.partial_fit(*batches[1][:2], task=batches[1][2], solve=100)  # 60 rows since
    assert len(counts) == 1
    model.partial_fit(*batches[2][:2], task=batches[2][2], solve=100)
    assert len(counts) == 2 and not is_pending(model)


@pytest.mark.parametrize("solve", [0, -5, 2.5, "later", None, np.nan, [1]])
def test_other_values_are_refused(solve, rng):
    batches = batches_of(rng)
    model, before = clone(FIXED), streamed(FIXED, batches[:1], solve=False)
    wanted = pickle.dumps(before)
    for one in (model, before):
        with pytest.raises(ValueError, match=r"solve=.* must be True .* at least 1"):
            one.partial_fit(*batches[1][:2], task=batches[1][2], solve=solve)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)
    assert pickle.dumps(before) == wanted


def test_fit_ends_the_wait(rng):
    batches = batches_of(rng)
    Z, y, task = batches[-1]
    wanted = clone(FIXED).fit(Z, y, task=task)
    got = streamed(FIXED, batches, solve=False).fit(Z, y, task=task)
    np.testing.assert_array_equal(vars(got)["coef_"], wanted.coef_)
    assert "_rows_to_solve" not in vars(got) and not hasattr(got, "partial_fit")


def test_metadata(rng):
    assert MultiTaskRegressor().get_metadata_routing().partial_fit.requests["solve"] is True


# ------------------------------------------------------------------------------------- copies


def test_copies_wait_too(rng, monkeypatch):
    batches, counts = batches_of(rng), solves(monkeypatch)
    model = streamed(FIXED, batches[:3], solve=False)
    pickled, deep, shallow = (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        copy.copy(model),
    )
    fresh = clone(model)
    assert not counts and all(is_pending(one) for one in (model, pickled, deep, shallow))
    with pytest.raises(NotFittedError):
        fresh.predict(batches[0][0])
    counts.clear()
    wanted = [streamed(FIXED, [*batches[:3], batches[k]]) for k in (3, 4, 3, 4)]
    for one, k in zip((model, pickled, deep, shallow), (3, 4, 3, 4), strict=True):
        one.partial_fit(*batches[k][:2], task=batches[k][2], solve=False)
    for got, reference in zip((model, pickled, deep, shallow), wanted, strict=True):
        assert_same(got, reference)


def test_a_copy_of_a_solved_model_goes_its_own_way(rng):
    batches = batches_of(rng)
    model = streamed(FIXED, batches[:3])
    before, other = model.coef_.copy(), copy.copy(model)
    other.partial_fit(*batches[3][:2], task=batches[3][2], solve=False)
    assert is_pending(other) and not is_pending(model)
    np.testing.assert_array_equal(model.coef_, before)
    model.partial_fit(*batches[4][:2], task=batches[4][2])
    assert_same(other, streamed(FIXED, batches[:4]))
    assert_same(model, streamed(FIXED, [*batches[:3], batches[4]]))


def test_a_pickle_has_the_moments_of_the_tasks_only(rng):
    batches = batches_of(rng, n_batches=8, n_tasks=50)
    got = streamed(FIXED, batches, solve=False)
    tight = seen.SeenRows(got._kept.moments_of(got._kept.sizes > 0), 1.0, got._kept.sizes)
    assert len(pickle.dumps(got._kept)) < len(pickle.dumps(tight)) + 1000
    assert_same(pickle.loads(pickle.dumps(got)), got)


def test_a_model_in_a_read_only_file_can_go_on(rng, tmp_path):
    joblib = pytest.importorskip("joblib")
    batches = batches_of(rng)
    joblib.dump(streamed(FIXED, batches[:3], solve=False), tmp_path / "model.joblib")
    model = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    for Z, y, task in batches[3:]:
        model.partial_fit(Z, y, task=task, solve=False)
    assert_same(model, streamed(FIXED, batches))
    again = joblib.load(tmp_path / "model.joblib", mmap_mode="r+")
    again.partial_fit(*batches[3][:2], task=batches[3][2], solve=False)
    assert_same(joblib.load(tmp_path / "model.joblib"), streamed(FIXED, batches[:3]))


# -------------------------------------------------------------------------- errors and Ctrl-C


def test_errors_of_a_batch_are_raised_in_its_call(rng):
    batches = batches_of(rng)
    model = streamed(FIXED, batches[:2], solve=False)
    state = pickle.dumps(model)
    Z, y, task = batches[2]
    hole = Z.copy()
    hole[3, 1] = np.nan
    for X, target, labels, kwargs, message in (
        (hole, y, task, {}, "NaN"),
        (Z, np.where(y > 0, np.inf, y), task, {}, "infinity"),
        (Z[:, :2], y, task, {}, "2 features"),
        (Z, y, task.astype(str), {}, "convert them to the same kind"),
        (Z, y, None, {}, "give tasks in every call"),
        (Z, y, task[:-1], {}, "task= has 59 entries"),
        (Z, y, task, {"sample_weight": -np.ones(len(y))}, "negative"),
        (Z, y, task, {"decay": 0.0}, "decay=0.0 must be"),
    ):
        with pytest.raises(ValueError, match=message):
            model.partial_fit(X, target, task=labels, solve=False, **kwargs)
        assert pickle.dumps(model) == state
    model.set_params(cv=3)
    with pytest.raises(ValueError, match="cv=3 differs"):
        model.partial_fit(Z, y, task=task, solve=False)
    model.set_params(cv=None, sharing=PartialPooling(1.0, varying=["no such column"]))
    with pytest.raises(ValueError, match="no such column"):
        model.partial_fit(Z, y, task=task, solve=False)
    model.set_params(sharing=STRENGTHS)
    assert pickle.dumps(model._kept) == pickle.dumps(pickle.loads(state)._kept)


def test_an_error_of_the_solution_leaves_the_moments(rng):
    batches = batches_of(rng)
    model = streamed(FIXED, batches, solve=False)
    for params, message in (
        ({"cv": 3}, "cv=3 differs from the 1 folds"),
        ({"cv": None, "task_weight": {"nobody": 2.0}}, "nobody"),
        ({"task_weight": "uncertainty"}, "needs all rows at once"),
        ({"task_weight": None, "sharing": "independent"}, "cv=None"),
    ):
        model.set_params(**params)
        for ask in (lambda: model.coef_, lambda: hasattr(model, "coef_"),
                    lambda: model.predict(batches[0][0], task=batches[0][2])):  # fmt: skip
            with pytest.raises(ValueError, match=message) as found:
                ask()
            assert "while solving for the rows of partial_fit" in found.value.__notes__[0]
        assert is_pending(model)
    model.set_params(sharing=STRENGTHS)
    assert_same(model, streamed(FIXED, batches))


def test_a_missing_attribute_in_the_solution_is_no_missing_attribute_of_the_model(rng, monkeypatch):
    model = streamed(FIXED, batches_of(rng), solve=False)
    with monkeypatch.context() as patch:
        patch.delattr(TaskMoments, "merge")
        with pytest.raises(RuntimeError, match="'coef_' was asked for.*'merge'"):
            hasattr(model, "coef_")
    assert hasattr(model, "coef_")


@pytest.mark.jit
def test_folds_may_fill_up_batch_by_batch(rng):
    Z, y, task = batches_of(rng, n_batches=1)[0]
    folds = np.sort(np.arange(len(y)) % 3)
    X = np.column_stack([Z, folds])
    model = MultiTaskRegressor("partial_pooling", fold_column=3, cv=3)
    for k in range(2):
        model.partial_fit(X[folds == k], y[folds == k], task=task[folds == k], solve=False)
    with pytest.raises(ValueError, match="has rows in 2 of cv=3 folds"):
        model.predict(X, task=task)
    model.partial_fit(X[folds == 2], y[folds == 2], task=task[folds == 2], solve=False)
    assert_same(model, clone(model).fit(X, y, task=task))


@contextlib.contextmanager
def interrupted(monkeypatch, owner, name, call):
    """Raise KeyboardInterrupt at a call of a function, before and after it does its work."""
    calls, function = [], getattr(owner, name)

    def stopping(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            function(*args, **kwargs)
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, name, stopping)
        yield


@pytest.mark.parametrize("solve", [False, True])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(MultiTaskRegressor, "_pack"), (seen.SeenRows, "plus"), (TaskMoments, "with_blocks"),
     (MultiTaskRegressor, "_store_tasks"), (MultiTaskRegressor, "_forget_solution")],
)  # fmt: skip
def test_an_interrupted_call_has_not_happened(owner, name, solve, rng, monkeypatch):
    batches = batches_of(rng)
    model = streamed(FIXED, batches[:2], solve=solve)
    state = pickle.dumps(model)
    for Z, y, task in batches[2:]:  # a new task, and none
        with interrupted(monkeypatch, owner, name, call=1):
            model.partial_fit(Z, y, task=task, solve=solve)
        assert pickle.dumps(model) == state
        model.partial_fit(Z, y, task=task, solve=solve)
        state = pickle.dumps(model)
    assert_same(model, streamed(FIXED, batches))


def test_an_interrupted_writing_is_made_up_for(rng, monkeypatch):
    batches = batches_of(rng)
    model = streamed(FIXED, batches[:3], solve=False)

    def torn(self):
        if self.update is None:
            return self
        slots, moments = self.update
        self.moments.weight[slots] = moments.weight
        self.moments.mean[slots[:1]] = moments.mean[:1]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(seen.SeenRows, "written", torn)
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(*batches[3][:2], task=batches[3][2], solve=False)
    assert_same(copy.deepcopy(model), streamed(FIXED, batches[:4]))  # the batch was added
    model.partial_fit(*batches[4][:2], task=batches[4][2], solve=False)
    assert_same(model, streamed(FIXED, batches))


def test_an_interrupted_solution_can_be_asked_for_again(rng, monkeypatch):
    batches = batches_of(rng)
    model = streamed(FIXED, batches, solve=False)
    for name in ("_fit_seen", "_store_solution", "_store_target"):
        with interrupted(monkeypatch, MultiTaskRegressor, name, call=1):
            model.predict(batches[0][0], task=batches[0][2])
        assert is_pending(model)
    assert_same(model, streamed(FIXED, batches))


def test_two_threads_may_ask_at_once(rng):
    batches = batches_of(rng)
    wanted = streamed(FIXED, batches).predict(batches[0][0], task=batches[0][2])
    for _ in range(10):
        model, found = streamed(FIXED, batches, solve=False), []

        def ask(model=model, found=found):
            found.append(model.predict(batches[0][0], task=batches[0][2]))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        for one in found:
            np.testing.assert_allclose(one, wanted, rtol=1e-8)


# --------------------------------------------------------------------------------------- cost


def test_a_batch_touches_its_own_tasks_only(rng, monkeypatch):
    """No copy of all moments is made, with decay neither, nor where few tasks are new."""
    n_tasks, batch = 300, np.arange(20)
    Z, y = rng.normal(size=(2 * n_tasks, 2)), rng.normal(size=2 * n_tasks)
    model = clone(FIXED).partial_fit(Z, y, task=np.arange(2 * n_tasks) % n_tasks, solve=False)
    copied, with_blocks, expanded = [], TaskMoments.with_blocks, TaskMoments.expanded

    def adding(self, other, tasks):
        copied.append(len(tasks))
        return with_blocks(self, other, tasks)

    def copying(self, *args):
        copied.append(len(self.weight))
        return expanded(self, *args)

    monkeypatch.setattr(TaskMoments, "with_blocks", adding)
    monkeypatch.setattr(TaskMoments, "expanded", copying)
    for k in range(10):
        task = np.r_[batch, n_tasks + k]
        storage = model._kept.moments.scatter
        model.partial_fit(Z[: len(task)], y[: len(task)], task=task, solve=False, decay=0.9)
        assert k == 0 or model._kept.moments.scatter is storage
    assert copied == [300] + 10 * [21]
    assert len(model.coef_) == n_tasks + 10


def test_small_batches_of_many_tasks_do_not_warn_each(rng, recwarn):
    model = clone(FIXED)
    for _ in range(3):
        Z, task = rng.normal(size=(50, 2)), rng.permutation(1000)[:50]
        model.partial_fit(Z, Z[:, 0], task=task, solve=False)
    assert len([w for w in recwarn if "nearly every row has its own task" in str(w.message)]) == 1


@pytest.mark.jit
def test_a_late_solution_shows_its_progress(rng, capsys):
    batches = batches_of(rng)
    model = streamed(MultiTaskRegressor("partial_pooling", verbose=1), batches, solve=False)
    capsys.readouterr()
    model.predict(batches[0][0], task=batches[0][2])
    assert "[MultiTaskRegressor]" in capsys.readouterr().out
