"""The report, the intervals and `adapt`, against refits and against new rows.

Through what a user sees: fits with fixed strengths on given splits, whose every number a slow twin
can repeat, and defaults on tables whose truth is known.
"""

from dataclasses import replace

import numpy as np
import pytest
import reference
from sklearn.linear_model import LogisticRegression

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import PartialPooling
from skmtl.sharing.problem import Problem
from skmtl.sharing.screening import Screening
from skmtl.tasks.moments import block_moments
from skmtl.tasks.table import pack

SHARING = PartialPooling(alpha=3.0, alpha_intercept=0.5, alpha_shared=1.0)
STRENGTHS = (3.0, 0.5, 1.0)  # arguments of the twins


def draw(rows, seed=0, p=2, spread=0.5, noise=1.0):
    """Return tasks with these numbers of rows, and slopes and levels around common ones."""
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(len(rows)), rows)
    X = rng.normal(size=(len(task), p)) * 10.0 ** np.arange(p) + 2.0
    Z = (X - 2.0) / 10.0 ** np.arange(p)
    coef = 1.0 + spread * rng.normal(size=(len(rows), p))
    y = (Z * coef[task]).sum(1) + spread * rng.normal(size=len(rows))[task]
    return X, y + noise * rng.normal(size=len(task)), task


def world(rows, n_fresh, seed, p, spread=0.5, level=0.5, vary=None):
    """Return rows and new rows of the same tasks, whose slopes of `vary` features differ."""
    rng = np.random.default_rng(seed)
    vary = p if vary is None else vary
    coef = np.tile(0.5 * rng.normal(size=p), (len(rows), 1))
    coef[:, :vary] += spread * rng.normal(size=(len(rows), vary))
    level = level * rng.normal(size=len(rows))

    def sample(sizes):
        task = np.repeat(np.arange(len(rows)), sizes)
        X = rng.normal(size=(len(task), p))
        y = (X * coef[task]).sum(1) + level[task] + rng.normal(size=len(task))
        order = rng.permutation(len(task))
        return X[order], y[order], task[order]

    return sample(rows), sample(np.full(len(rows), n_fresh))


def deal(n_rows, n_folds):
    """Return splits in which row i is in fold i modulo `n_folds`."""
    fold = np.arange(n_rows) % n_folds
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(n_folds)]


# ------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("rows", [[9], [40], [8, 21]], ids=str)
def test_intervals_are_conformal(rows, coverage):
    X, y, task = draw(rows, seed=1)
    splits = deal(len(y), 4)
    sharing = PartialPooling(3.0, alpha_intercept=0.5, alpha_shared=1.0)
    model = MultiTaskRegressor(sharing, cv=splits, target_scale="table").fit(X, y, task=task)
    strengths = STRENGTHS if len(rows) > 1 else (np.inf, np.inf, 1.0)
    errors = reference.out_of_fold(X, y, task, len(rows), strengths, splits)
    sse = np.bincount(task, errors**2)
    np.testing.assert_allclose(model.task_report_["error_shared"][:-1], sse / rows, rtol=1e-8)
    # With so few tasks the prior has a fixed number of rows: none for one task, four for two.
    prior = (0.0 if len(rows) == 1 else 4.0), sse.sum() / len(y)
    prediction, std = model.predict(X, task=task, return_std=True)
    wanted = reference.task_std(sse, np.array(rows), *prior)
    np.testing.assert_allclose(std, wanted[task], rtol=1e-8)
    values = reference.studentised(errors, task, *prior)
    band = reference.conformal_band(values, coverage, n_points=len(y) // 2)
    low, high = model.predict_interval(X, coverage, task=task)
    np.testing.assert_allclose((low - prediction) / std, band[0], rtol=1e-7)
    np.testing.assert_allclose((high - prediction) / std, band[1], rtol=1e-7)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_intervals_in_units_of_the_tasks(coverage):
    """Units are learned in every split, and errors are expressed in the units of all rows."""
    X, y, task = draw([8, 21], seed=12)
    y = (y + 2.0) * np.array([1.0, 30.0])[task]
    splits = deal(len(y), 4)
    model = MultiTaskRegressor(SHARING, cv=splits, target_scale="task").fit(X, y, task=task)
    ours = (y - y.mean()) / y.std()
    _, scale, _ = reference.units_of_two_tasks(ours, task)
    errors = reference.out_of_fold(X, ours, task, 2, STRENGTHS, splits, units=True) / scale[task]
    sse = np.bincount(task, errors**2)
    unit = y.std() * scale
    np.testing.assert_allclose(
        model.task_report_["error_shared"][:-1], sse / [8, 21] * unit**2, rtol=1e-8
    )
    prior = 4.0, sse.sum() / 29
    prediction, std = model.predict(X, task=task, return_std=True)
    wanted = unit * reference.task_std(sse, np.array([8, 21]), *prior)
    np.testing.assert_allclose(std, wanted[task], rtol=1e-8)
    values = reference.studentised(errors, task, *prior)
    band = reference.conformal_band(values, coverage, n_points=len(y) // 2)
    low, high = model.predict_interval(X, coverage, task=task)
    np.testing.assert_allclose((low - prediction) / std, band[0], rtol=1e-7)
    np.testing.assert_allclose((high - prediction) / std, band[1], rtol=1e-7)


# -------------------------------------------------------------------------------- errors reported


def test_standard_errors_over_splits():
    X, y, task = draw([11, 23], seed=6)
    splits = deal(len(y), 5)
    model = MultiTaskRegressor(SHARING, cv=splits, target_scale="table")
    report = model.fit(X, y, task=task).task_report_
    errors = reference.out_of_fold(X, y, task, 2, STRENGTHS, splits)
    for t in range(2):
        mine = [test[task[test] == t] for _, test in splits]
        error, std_error = reference.error_of_splits(errors, mine)
        np.testing.assert_allclose(report["error_shared"][t], error, rtol=1e-8)
        np.testing.assert_allclose(report["std_error_shared"][t], std_error, rtol=1e-8)


def test_the_report_promises_what_fresh_rows_show():
    """Errors are correct although the same rows have chosen among many candidates.

    Without the correction for that, errors are reported 15 % too low.
    """
    ratios = []
    for rows, p in (([6] * 20, 3), ([10] * 6, 4), ([4] * 30, 2)):
        told, found = [], []
        for seed in range(25):
            (X, y, task), (A, b, at) = world(rows, 60, seed, p)
            model = MultiTaskRegressor("partial_pooling", cv=deal(len(y), 5)).fit(X, y, task=task)
            told.append(model.task_report_["error_shared"][:-1].mean())
            found.append(((b - model.predict(A, task=at)) ** 2).mean())
        ratios.append(np.mean(told) / np.mean(found))
    assert 0.93 < np.mean(ratios) < 1.1, ratios


# --------------------------------------------------------------------------------- unseen tasks


def errors_without_each(X, y, task, strengths):
    """Return squared errors on every task of the shared model without it, and the model of all."""
    Z, sse, n_tasks = reference.standardised(X), [], task.max() + 1
    for t in range(n_tasks):
        rest = task != t
        theta, *_ = reference.dense_ridge(Z[rest], y[rest], task[rest], n_tasks, strengths)
        sse.append(((y[~rest] - theta[0] - Z[~rest] @ theta[1:]) ** 2).sum())
    return np.array(sse), reference.dense_ridge(Z, y, task, n_tasks, strengths)[0]


@pytest.mark.parametrize("rows", [[9, 14, 6], [12, 5, 30, 8, 17]], ids=str)
def test_errors_on_tasks_never_seen(rows):
    """With at most five tasks, each one is left out by itself."""
    X, y, task = draw(rows, seed=2)
    model = MultiTaskRegressor(SHARING, cv=deal(len(y), 3), target_scale="table")
    report = model.fit(X, y, task=task).task_report_
    sse, _ = errors_without_each(X, y, task, STRENGTHS)
    error, std_error = reference.error_of_unseen_tasks(sse, rows)
    np.testing.assert_allclose(report["error_shared"][-1], error, rtol=1e-8)
    np.testing.assert_allclose(report["std_error_shared"][-1], std_error, rtol=1e-8)
    np.testing.assert_allclose(report["residual_std"][-1], np.sqrt(error), rtol=1e-8)
    # Pooled is an average of ridges, so that its error is between theirs.
    ridges = np.r_[0.0, np.geomspace(1e-3, 1e5, 33), np.inf]
    each = [errors_without_each(X, y, task, (np.inf, np.inf, r))[0].sum() for r in ridges]
    assert min(each) * (1 - 1e-3) < report["error_pooled"][-1] * len(y) < max(each) * (1 + 1e-8)


def test_what_predicts_tasks_never_seen_is_weighed_by_tasks_left_out():
    """These weights do not depend on the sizes of tasks, unlike the weights of seen tasks."""
    rows = [60, 7, 8, 9, 10]
    X, y, task = draw(rows, seed=13, spread=1.5)
    sharing = PartialPooling(3.0, alpha_intercept=0.5)
    model = MultiTaskRegressor(sharing, cv=deal(len(y), 4), target_scale="table")
    model.fit(X, y, task=task)
    history = model.history_
    ours = (history["alpha"] == 3.0) & (history["alpha_intercept"] == 0.5)
    ridges = history["alpha_shared"][ours]
    assert len(ridges) > 2
    sse, theta = zip(*(errors_without_each(X, y, task, (3.0, 0.5, r)) for r in ridges), strict=True)
    share = reference.left_out_weights(np.array(sse).T)
    share[share < 0.01 * share.max()] = 0.0  # as in `Shares.pruned`
    wanted = share / share.sum() @ np.array(theta)
    coef = model.shared_coef_ * X.std(axis=0)
    np.testing.assert_allclose(coef, wanted[1:], rtol=1e-6)
    np.testing.assert_allclose(
        model.shared_intercept_ + X.mean(axis=0) @ model.shared_coef_, wanted[0], rtol=1e-6
    )
    error = share / share.sum() @ np.array(sse).sum(axis=1) / len(y)
    np.testing.assert_allclose(model.task_report_["error_shared"][-1], error, rtol=1e-6)


def test_tasks_of_classes_never_seen_get_slopes():
    losses = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        task, fresh = np.repeat(np.arange(40), 25), np.repeat(np.arange(40, 80), 50)
        coef = np.array([1.5, -1.0, 0.5]) + 0.3 * rng.normal(size=(80, 3))
        X, A = rng.normal(size=(len(task), 3)), rng.normal(size=(len(fresh), 3))
        y, b = (
            ((Z * coef[t]).sum(1) > rng.logistic(size=len(t))) for Z, t in ((X, task), (A, fresh))
        )
        model = MultiTaskClassifier("partial_pooling", cv=deal(len(y), 4)).fit(X, y, task=task)
        best = LogisticRegression().fit(X, y).predict_log_proba(A)
        with pytest.warns(UserWarning, match="never seen"):
            p = model.predict_log_proba(A, task=fresh)
        index = np.arange(len(b)), b.astype(int)
        losses.append([-p[index].mean(), -best[index].mean()])
    ours, pooled = np.mean(losses, axis=0)
    assert ours < 1.02 * pooled


# ---------------------------------------------------------------------------------- tasks' units


@pytest.mark.parametrize("level", [0.0, 3.0])
@pytest.mark.parametrize("rows", [[3, 5], [12, 40]], ids=str)
def test_units_of_the_tasks(rows, level):
    X, y, task = draw(rows, seed=3)
    y = (y + level) * np.array([1.0, 30.0])[task]
    model = MultiTaskRegressor(SHARING, cv=None, target_scale="task").fit(X, y, task=task)
    Z, mean, std = reference.standardised(X), y.mean(), y.std()
    location, scale, unseen = reference.units_of_two_tasks((y - mean) / std, task)
    own = ((y - mean) / std - location[task]) / scale[task]
    theta, coef, intercept = reference.dense_ridge(Z, own, task, 2, STRENGTHS)
    wanted = (Z * coef[task]).sum(1) + intercept[task]
    wanted = mean + std * (location[task] + scale[task] * wanted)
    np.testing.assert_allclose(model.predict(X, task=task), wanted, rtol=1e-8, atol=1e-8 * std)
    wanted = mean + std * (unseen[0] + unseen[1] * (theta[0] + Z @ theta[1:]))
    shared = X @ model.shared_coef_ + model.shared_intercept_
    np.testing.assert_allclose(shared, wanted, rtol=1e-8, atol=1e-8 * std)


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_a_task_adapted_to_its_own_rows_has_its_own_units(level):
    """The units of a new task are learned as in the fit, with the same prior."""
    rows = [3, 5, 8, 12, 20, 30]
    X, y, task = draw(rows, seed=14)
    y = (y + level) * 10.0 ** np.random.default_rng(15).uniform(-1, 1, size=len(rows))[task]
    model = MultiTaskRegressor(SHARING, cv=None, target_scale="task").fit(X, y, task=task)
    for t in range(len(rows)):
        got, own = model.adapt(X[task == t], y[task == t]), model.for_task(t)
        np.testing.assert_allclose(got.coef_, own.coef_, rtol=1e-7)
        np.testing.assert_allclose(got.intercept_, own.intercept_, rtol=1e-7)


# -------------------------------------------------------------------------------- leave-one-out


@pytest.mark.parametrize("positive", [None, [True, False, False]], ids=["", "signed"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_new", [2, 5, 20])  # fewer rows than coefficients, and more
def test_the_spread_of_a_new_task_is_that_of_rows_left_out(n_new, weighted, positive):
    X, y, task = draw([15, 25], seed=4, p=3)
    A, b, _ = draw([n_new], seed=n_new, p=3)
    weight = np.random.default_rng(5).uniform(0.3, 1.0, size=n_new) if weighted else np.ones(n_new)
    if positive is not None:
        b = b - 1.5 * (A[:, 0] - 2.0)  # so that the sign is active for some of the left-out rows
    sharing = PartialPooling(
        3.0, alpha_intercept=0.5, alpha_shared=1.0, positive=None if positive is None else [0]
    )
    model = MultiTaskRegressor(sharing, cv=deal(len(y), 4), target_scale="table")
    report = model.fit(X, y, task=task).task_report_
    new = model.adapt(A, b, sample_weight=weight)
    mean, std = X.mean(axis=0), X.std(axis=0)
    Z, shared = (A - mean) / std, model.shared_coef_ * std
    gap = b - A @ model.shared_coef_ - model.shared_intercept_
    signs = {} if positive is None else {"positive": np.array(positive), "shared": shared}
    own = reference.own_part(gap, Z, STRENGTHS[:2], weight, **signs)
    np.testing.assert_allclose(new.coef_ * std, shared + own[1:], rtol=1e-6, atol=1e-8)
    errors = reference.left_out_errors(gap, Z, STRENGTHS[:2], weight, **signs)
    common = report["error_shared"][:-1] @ [15, 25] / 40  # prior of two tasks, with four rows
    wanted = reference.task_std(weight @ errors**2, weight.sum(), 4.0, common)
    np.testing.assert_allclose(new.predict(A, return_std=True)[1], wanted, rtol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_new", [3, 12])
def test_losses_of_a_new_tasks_rows_left_out(n_new, n_classes):
    """They are one Newton step from the fit on all rows, and close to those of a refit."""
    X, y, task = draw([20] * 8, seed=7)
    codes = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    model = MultiTaskClassifier("partial_pooling", cv=deal(len(y), 4)).fit(X, codes, task=task)
    A, b, _ = draw([n_new], seed=8 + n_new)
    b = np.digitize(b, np.quantile(y, np.arange(1, n_classes) / n_classes))
    weight = np.random.default_rng(9).uniform(0.3, 1.0, size=n_new)
    adapter = model._adapter
    Z = (A - X.mean(axis=0)) / X.std(axis=0)
    loss = 1 if n_classes == 2 else 2
    models = adapter.shared_models
    _, left_out = adapter._own(
        models, Z, adapter._encoded(b), weight, np.zeros((models.shape[1], 1))
    )
    slack = []
    for c, (theta, found) in enumerate(zip(models, left_out, strict=True)):
        with np.errstate(divide="ignore"):
            root = 1.0 / np.sqrt([adapter.grid.intercept[c], *np.full(2, adapter.grid.slope[c])])
        root[1:] *= adapter.scalings[adapter.grid.scaling[c]].factors
        basis, base = np.column_stack([np.ones(n_new), Z]) * root, theta[:, 0] + Z @ theta[:, 1:].T
        v = reference.fit_head(loss, basis, base, b, weight)
        scores = reference.head_left_out(loss, basis, base, b, weight, v)
        step = reference.head_loss(loss, scores, b, weight)
        np.testing.assert_allclose(found, step, rtol=1e-4)
        within = reference.head_loss(loss, base + basis @ v.T, b, weight)
        refit = 0.0
        for i in range(n_new):
            rest = np.arange(n_new) != i
            v = reference.fit_head(loss, basis[rest], base[rest], b[rest], weight[rest])
            row = slice(i, i + 1)
            refit += reference.head_loss(loss, base[row] + basis[row] @ v.T, b[row], weight[row])
        slack.append([found - within, refit - within])
    step, refit = np.sum(slack, axis=0)
    assert refit > 0.0
    np.testing.assert_allclose(step, refit, rtol=0.25)


# ------------------------------------------------------------------------------------ few shots


def risk_of_adapting(model, tasks):
    """Return the mean squared error on further rows of new tasks."""
    return np.mean([((b - model.adapt(X, y).predict(A)) ** 2).mean() for (X, y), (A, b) in tasks])


def test_few_shot_scores_affect_tasks_with_few_rows_only(monkeypatch):
    """Strengths hardly affect large tasks, but they affect new tasks with few rows."""
    risks, best = [], []
    for seed in range(3):
        (X, y, task), (A, b, at) = world([500] * 10 + [5] * 20, 100, seed, 8, spread=0.3)
        old = task < 10
        splits = deal(old.sum(), 5)
        model = MultiTaskRegressor("partial_pooling", cv=splits).fit(X[old], y[old], task=task[old])

        new = [((X[task == t], y[task == t]), (A[at == t], b[at == t])) for t in range(10, 30)]
        risks.append(risk_of_adapting(model, new))
        fixed = [
            MultiTaskRegressor(PartialPooling(a, alpha_intercept=a, alpha_shared=0.0), cv=None)
            for a in (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
        ]
        fixed = [f.fit(X[old], y[old], task=task[old]) for f in fixed]
        best.append(min(risk_of_adapting(f, new) for f in fixed))
        with monkeypatch.context() as patch:
            patch.setattr(Problem, "few_shot_scores", lambda *args: None)
            unheard = MultiTaskRegressor("partial_pooling", cv=splits).fit(
                X[old], y[old], task=task[old]
            )
        np.testing.assert_allclose(model.coef_, unheard.coef_, atol=1e-5)
    assert np.mean(risks) < 1.1 * np.mean(best)


@pytest.mark.parametrize("weighted", [False, True])
def test_known_rows_of_a_few_shot_task_are_not_predicted(weighted):
    """The known rows have a total weight of five, none of which is predicted."""
    rows = np.array([8, 12, 30, 60])
    X, y, task = draw(rows, seed=16)
    weight = np.tile([1.0, 3.0], len(y) // 2) if weighted else np.ones(len(y))
    table = replace(pack(X, y, task, 4, weight), keys=np.random.default_rng(1).uniform(size=len(y)))
    whole = block_moments(table).merge()
    problem = Problem([], whole, table=table)
    known, rest = problem.few_shot_split(np.arange(4), 5)
    total = np.bincount(task, weight)
    large = total >= 10
    np.testing.assert_allclose(known.weight, np.where(large, 5.0, 0.0))
    np.testing.assert_allclose(rest.weight, np.where(large, total - 5.0, 0.0))
    mean = (known.weight[:, None] * known.mean + rest.weight[:, None] * rest.mean)[large]
    np.testing.assert_allclose(mean, (total[:, None] * whole.mean)[large], atol=1e-8)
    assert not np.allclose(known.mean[large], rest.mean[large])


# ---------------------------------------------------------------------------- variances of slopes


def test_variances_of_slopes_are_those_of_their_posterior():
    X, y, task = draw(np.arange(4, 24), seed=10, p=3)
    y = y + 2.0 * ((X[:, 0] - 2.0) * np.random.default_rng(11).normal(size=20)[task])
    problem = Problem([], block_moments(pack(X, y, task, 20)).merge())
    screening = Screening(problem)
    strengths, noise = (4.0, 0.5, 2.0), 0.3
    scaling = screening.learn_scaling(strengths, screening.scalings[0], noise)
    Z = reference.standardised(X), (y - y.mean()) / y.std()
    wanted = reference.slope_variances(*Z, task, strengths, noise, prior=5.0, n_steps=6)
    np.testing.assert_allclose(scaling.factors**2, wanted, rtol=1e-7)


def test_which_slopes_vary_is_found_from_fewer_rows_than_features():
    """Small slopes that rows hardly determine do not imply a small variance."""
    excess, best = [], []
    for seed in range(6):
        (X, y, task), (A, b, at) = world([5] * 60, 40, seed, 8, spread=1.5, level=0.0, vary=2)
        model = MultiTaskRegressor("partial_pooling", cv=deal(len(y), 5)).fit(X, y, task=task)
        excess.append(((b - model.predict(A, task=at)) ** 2).mean() - 1.0)
        alike = [
            MultiTaskRegressor(PartialPooling(a, alpha_intercept=np.inf, alpha_shared=1), cv=None)
            for a in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
        ]
        each = [f.fit(X, y, task=task).predict(A, task=at) for f in alike]
        best.append(min(((b - prediction) ** 2).mean() for prediction in each) - 1.0)
    assert np.mean(excess) < 0.75 * np.mean(best)
