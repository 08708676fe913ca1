"""FineTune and FeatureMap: gradients, limits, what is chosen, what is refused."""

import pickle

import checks
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor

from skmtl import Source, TransferEstimator
from skmtl.adaptation import FeatureMap, FineTune, ShrinkToSource
from skmtl.adaptation.parameters import _source_heads
from skmtl.adaptation.parameters._perceptron import LaterLayers, descent_path
from skmtl.solvers.shared_layers import LOG_LOSS, SQUARED, fit_shared_layers

_rng = np.random.default_rng(3)
COEF = np.array([1.0, -2.0, 0.5, 0.0])
XS, X, AT = (_rng.normal(size=(n, 4)) for n in (120, 16, 300))
YS = XS @ COEF + 0.3 * _rng.normal(size=120)
Y = X @ (COEF + 0.2) + 0.3 * _rng.normal(size=16)
TRUTH = AT @ (COEF + 0.2)
TASK = np.arange(120) % 4
WEIGHT = _rng.uniform(0.5, 2.0, 16)
del _rng  # a test draws from a generator of its own
MLP = {"hidden_layer_sizes": (5, 3), "solver": "lbfgs", "random_state": 0, "max_iter": 60}
CLOSE = {"solver": "newton-cholesky", "tol": 1e-10}


def transfer(adaptation, estimator=None, source=None, **params):
    source = Source(XS, YS) if source is None else source
    return TransferEstimator(estimator, source=source, adaptation=adaptation, **params)


def miss(model, X=X, Y=Y):
    return np.mean((model.fit(X, Y).predict(AT) - TRUTH) ** 2)


# ------------------------------------------------------------------------ training on, linear


def test_no_epoch_is_the_source_and_infinitely_many_the_target():
    for estimator, y_s, y in (
        (Ridge(), YS, Y),
        (LogisticRegression(), YS > 0, Y > 0),
        (LogisticRegression(), np.digitize(YS, [-1, 1]), np.digitize(Y, [-1, 1])),
        (MLPRegressor(**MLP), YS, Y),
        (MLPClassifier(**MLP), YS > 0, Y > 0),
        (MLPClassifier(**MLP), np.digitize(YS, [-1, 1]), np.digitize(Y, [-1, 1])),
    ):
        ask = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
        for n_epochs, rows, used in ((0, (XS, y_s), 1.0), (np.inf, (X, y), 0.0)):
            model = transfer(FineTune(n_epochs), estimator, Source(XS, y_s)).fit(X, y)
            wanted = getattr(estimator.fit(*rows), ask)(AT)
            np.testing.assert_allclose(getattr(model, ask)(AT), wanted, rtol=1e-8, atol=1e-9)
            assert model.source_weights_ == [used] and type(model.estimator_) is type(estimator)


def test_many_epochs_lead_to_the_targets_own():
    """Of a strictly convex objective, which these are with a penalty."""
    for estimator, y_s, y in ((Ridge(), YS, Y), (LogisticRegression(**CLOSE), YS > 0, Y > 0)):
        model = transfer(FineTune(5000), estimator, Source(XS, y_s)).fit(X, y, WEIGHT)
        own = estimator.fit(X, y, WEIGHT)
        np.testing.assert_allclose(model.estimator_.coef_, own.coef_, rtol=1e-6)
        np.testing.assert_allclose(model.estimator_.intercept_, own.intercept_, rtol=1e-5)


def test_epochs_by_hand():
    start = LinearRegression().fit(XS, YS)
    coef, mean = start.coef_, WEIGHT @ X / WEIGHT.sum()
    C, level = X - mean, start.intercept_ + start.coef_ @ mean
    rate = 1.0 / np.linalg.norm(np.sqrt(WEIGHT)[:, None] * C, 2) ** 2
    for _ in range(3):
        missed = WEIGHT * (C @ coef + level - Y)
        coef, level = coef - rate * C.T @ missed, level - missed.sum() / WEIGHT.sum()
    model = transfer(FineTune(3), LinearRegression()).fit(X, Y, WEIGHT).estimator_
    np.testing.assert_allclose(model.coef_, coef)
    np.testing.assert_allclose(model.intercept_, level - coef @ mean)


def test_the_number_of_epochs_by_hand():
    cv = KFold(4)
    model = transfer("fine_tune", cv=cv).fit(X, Y)
    epochs, error = model.history_["n_epochs"], model.history_["error"]
    np.testing.assert_array_equal(epochs, [0, *2.0 ** np.arange(11), np.inf])
    for n, wanted in list(zip(epochs, error, strict=True))[::3]:
        missed = []
        for train, test in cv.split(X):
            fixed = transfer(FineTune(n if n == np.inf else int(n))).fit(X[train], Y[train])
            missed.append((Y[test] - fixed.predict(X[test])) ** 2)
        np.testing.assert_allclose(np.concatenate(missed).mean(), wanted)
    assert miss(transfer("fine_tune"), X[:6], Y[:6]) < 0.5 * miss(Ridge(), X[:6], Y[:6])
    assert transfer("fine_tune", n_jobs=2, cv=cv).fit(X, Y).history_["error"].tolist() == list(
        error
    )


def test_sources_that_harm_are_not_started_from():
    source = Source(XS, np.where(TASK < 2, YS, -YS), TASK)
    for estimator in (Ridge(), MLPRegressor(**MLP)):
        model = transfer(FineTune(n_epochs="auto"), estimator, source, cv=3).fit(X, Y)
        assert not model.source_weights_[2:].any()
    wrong = transfer("fine_tune", source=Source(XS, -100 * YS)).fit(X, Y)
    np.testing.assert_array_equal(wrong.predict(AT), Ridge().fit(X, Y).predict(AT))
    np.testing.assert_array_equal(wrong.source_weights_, [0.0])


def test_classes_that_source_or_target_lacks():
    y_s, y = np.digitize(YS, [-1, 1]), np.digitize(Y, [-1, 1])
    few = y > 0
    model = transfer("fine_tune", LogisticRegression(), Source(XS, y_s)).fit(X[few], y[few])
    assert model.predict_proba(AT).shape == (300, 3)
    wide = transfer("fine_tune", LogisticRegression(), Source(XS, y_s > 0)).fit(X, y > 1)
    assert wide.score(AT, TRUTH > 1) > 0.6
    more = transfer(FineTune(30), LogisticRegression(), Source(XS[y_s < 2], y_s[y_s < 2]))
    assert set(more.fit(X, y).predict(AT)) == {0, 1, 2}
    alone = transfer("fine_tune", LogisticRegression(), Source(XS, y_s)).fit(X[:4], np.ones(4, int))
    assert np.inf not in alone.history_["n_epochs"]
    network = transfer("fine_tune", MLPClassifier(**MLP), Source(XS[y_s < 2], y_s[y_s < 2]))
    with pytest.raises(ValueError, match="y has classes that no source has, such as 2, and .*MLPC"):
        network.fit(X, y)


# ---------------------------------------------------------------------------- training on, MLPs


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("n_classes", [0, 2, 3])
def test_gradient_of_later_layers_by_differences(activation, n_classes, rng):
    codes = np.arange(16) % max(n_classes, 1)
    kind, y, target = MLPRegressor, Y, Y[:, None]
    if n_classes:
        kind, y = MLPClassifier, codes
        target = np.eye(3)[codes] if n_classes == 3 else codes[:, None] * 1.0
    model = kind(**MLP | {"activation": activation, "alpha": 0.3}).fit(X, y)
    for n_frozen in (0, 1, 2):
        layers = LaterLayers(model, n_frozen, X, target, WEIGHT)
        x = layers.start()

        def objective(x, layers=layers):
            there, r = layers.write(x), WEIGHT / WEIGHT.sum()
            penalty = 0.15 * sum((W**2).sum() for W in there.coefs_) / WEIGHT.sum()
            if not n_classes:
                return 0.5 * r @ (there.predict(X) - Y) ** 2 + penalty
            return penalty - r @ there.predict_log_proba(X)[np.arange(16), codes]

        (value, out), v = layers.loss_and_gradient(x), rng.normal(size=len(x))
        frozen = 0.15 * sum((W**2).sum() for W in model.coefs_[:n_frozen]) / WEIGHT.sum()
        np.testing.assert_allclose(value, objective(x) - frozen)
        slope = (objective(x + 1e-6 * v) - objective(x - 1e-6 * v)) / 2e-6
        np.testing.assert_allclose(out @ v, slope, rtol=1e-4, atol=1e-7)


def test_frozen_layers_stay_and_the_others_are_trained():
    source = MLPRegressor(**MLP).fit(XS, YS)
    for n_frozen in (0, 1, 2):
        adaptation = FineTune(n_epochs=20, n_frozen=n_frozen)
        model = transfer(adaptation, MLPRegressor(**MLP)).fit(X, Y).estimator_
        for layer in range(3):
            same = np.array_equal(model.coefs_[layer], source.coefs_[layer])
            assert same == (layer < n_frozen)
        assert model.score(X, Y) > source.score(X, Y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(AT), model.predict(AT))
    adam = MLPRegressor(**MLP | {"solver": "adam"})
    on = transfer(FineTune(3), adam).fit(X, Y).estimator_
    assert on.score(X, Y) < on.partial_fit(X, Y).score(X, Y)  # it can be trained on


def test_steps_of_a_perceptron_never_go_up_and_end_where_it_is_flat():
    model = MLPRegressor(**MLP | {"alpha": 0.5}).fit(XS, YS)
    layers = LaterLayers(model, 2, X, Y[:, None], WEIGHT)  # of the last layer alone: convex
    steps = [0, 1, 2, 3, 50, 4000]
    path = list(descent_path(layers, steps))
    values = [layers.loss_and_gradient(x)[0] for x in path]
    np.testing.assert_array_equal(path[0], layers.start())
    assert (np.diff(values) < 0).all()
    H = np.column_stack([layers.X, np.ones(16)])
    penalty = np.diag([0.5] * 3 + [0.0])
    end = np.linalg.solve(H.T @ (WEIGHT[:, None] * H) + penalty, H.T @ (WEIGHT * Y))
    np.testing.assert_allclose(path[-1], end, rtol=1e-4, atol=1e-6)
    (again,) = descent_path(layers, [50])
    np.testing.assert_array_equal(again, path[4])


# ------------------------------------------------------------------- a head for every source


@pytest.fixture(scope="module")
def curved():
    """Sources that are linear in the same hidden units: Source, target rows, and the truth."""
    rng = np.random.default_rng(0)
    first, heads = 1.5 * rng.normal(size=(3, 5)), rng.normal(size=(9, 5)) + 0.5
    X, task = rng.normal(size=(640, 3)), np.repeat(np.arange(8), 80)

    def truth(X, head):
        return np.tanh(X @ first) @ head

    y = (np.tanh(X @ first) * heads[task]).sum(axis=1) + 0.2 * rng.normal(size=640)
    target, at = rng.normal(size=(15, 3)), rng.normal(size=(400, 3))
    target_y = truth(target, heads[-1]) + 0.2 * rng.normal(size=15)
    return (X, y, task), (target, target_y), (at, truth(at, heads[-1]))


LAYERS = {"hidden_layer_sizes": (16,), "activation": "tanh", "random_state": 0}


def test_heads_of_sources_are_better_than_one_for_all(curved):
    source, (target, y), (at, wanted) = curved
    errors = {}
    for heads in ("common", "per_source"):
        adaptation = FineTune(sources="all", source_heads=heads)
        mlp = MLPRegressor(**LAYERS, solver="lbfgs", max_iter=300)
        model = transfer(adaptation, mlp, Source(*source)).fit(target, y)
        errors[heads] = np.mean((model.predict(at) - wanted) ** 2) / wanted.var()
    assert errors["per_source"] < 0.5 * errors["common"] and errors["per_source"] < 0.3
    assert type(model.estimator_) is MLPRegressor and model.estimator_.solver == "lbfgs"
    assert model.source_weights_.tolist() == [1.0] * 8
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(at), model.predict(at))


def test_the_start_is_the_head_of_the_shared_layers(curved, monkeypatch):
    (X, y, task), (target, target_y), (at, _) = curved
    state, fits = np.random.get_state()[1].copy(), []

    def recorded(*args, **kwargs):
        fits.append(fit_shared_layers(*args, **kwargs))
        return fits[-1]

    monkeypatch.setattr(_source_heads, "fit_shared_layers", recorded)
    for kind, loss in ((MLPRegressor, SQUARED), (MLPClassifier, LOG_LOSS)):
        labels, own = (y, target_y) if loss == SQUARED else (y > 0, target_y > 0)
        source, mlp = Source(X, labels, task), kind(**LAYERS)
        model = transfer(FineTune(0, source_heads="per_source"), mlp, source).fit(target, own)
        adapted = fits[-1].adapt(target, own.astype(float), loss=loss)
        scores = adapted.predict(at, np.zeros(400, int))
        assert fits[-1].n_tasks == 8 and (fits[-1].losses == loss).all()
        if loss == SQUARED:
            np.testing.assert_allclose(model.predict(at), scores, atol=1e-4)
        else:
            found = model.predict_proba(at)[:, 1]
            np.testing.assert_allclose(found, 1.0 / (1.0 + np.exp(-scores)), atol=1e-4)
        on = transfer(FineTune(20, 1, source_heads="per_source"), mlp, source).fit(target, own)
        coefs = on.estimator_.coefs_
        np.testing.assert_array_equal(coefs[0], model.estimator_.coefs_[0])  # it is frozen
        assert not np.array_equal(coefs[1], model.estimator_.coefs_[1])
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_who_has_no_heads_of_sources(curved):
    source, (target, y), _ = curved
    adaptation = FineTune(source_heads="per_source")
    without = MLPRegressor(hidden_layer_sizes=())
    for estimator in (Ridge(), MLPRegressor(activation="logistic"), without):
        with pytest.raises(ValueError, match="source_heads='per_source' needs an MLPRegressor"):
            transfer(adaptation, estimator, Source(*source)).fit(target, y)
    classes = Source(source[0], np.digitize(source[1], [-1, 1]), source[2])
    with pytest.raises(ValueError, match="supports two classes, but 3 were found"):
        transfer(adaptation, MLPClassifier(), classes).fit(target, np.digitize(y, [-1, 1]))
    with pytest.raises(ValueError, match="source_heads='own' must be 'common' or 'per_source'"):
        transfer(FineTune(source_heads="own"), MLPRegressor(), Source(*source)).fit(target, y)


def test_a_perceptron_helps_in_frames_too_and_leaves_numpys_seed_alone():
    def frame(X):
        return pd.DataFrame(X, columns=list("abcd")).assign(k=np.where(X[:, 0] > 1, "p", "q"))

    state = np.random.get_state()[1].copy()
    adaptation, mlp = FineTune(n_frozen=1), MLPRegressor(**MLP)
    model = transfer(adaptation, mlp, Source(frame(XS), YS), preprocessor="auto", cv=3)
    assert np.mean((model.fit(frame(X), Y).predict(frame(AT)) - TRUTH) ** 2) < miss(mlp)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.skipif(checks.SKLEARN < (1, 7), reason="perceptrons take no weights")
def test_weights_are_repeated_rows(rng):
    often = rng.integers(0, 3, 16)
    rows = np.repeat(np.arange(16), often)
    for adaptation, estimator, y_s, y in (
        (FineTune(7), Ridge(), YS, Y),
        (FineTune(7), LogisticRegression(**CLOSE), YS > 0, Y > 0),
        (FineTune(7), MLPRegressor(**MLP | {"max_iter": 3}), YS, Y),
        (FeatureMap(1, alpha=2.0), Ridge(), YS, Y),
        (FeatureMap(1, alpha=2.0), LogisticRegression(**CLOSE), YS > 0, Y > 0),
    ):
        source = Source(XS, y_s, sample_weight=np.full(120, 2))
        weighted = transfer(adaptation, estimator, source).fit(X, y, often)
        twice = Source(np.tile(XS, (2, 1)), np.tile(y_s, 2))
        repeated = transfer(adaptation, estimator, twice).fit(X[rows], y[rows])
        ask = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
        np.testing.assert_allclose(
            getattr(weighted, ask)(AT), getattr(repeated, ask)(AT), rtol=1e-5, atol=1e-7
        )


# ------------------------------------------------------------------------------- a shared map


def test_one_source_and_one_component_is_the_source_times_a_factor(rng):
    opposite = Source(XS, -3.0 * (XS @ COEF) + 0.3 * rng.normal(size=120))
    model = transfer(FeatureMap(1, alpha=1.0), source=opposite).fit(X, Y)
    b = model.estimator_.coef_
    assert b @ COEF / np.linalg.norm(b) / np.linalg.norm(COEF) > 0.97
    assert type(model.estimator_) is Ridge and model.source_weights_ == [1.0]
    history = model.history_
    assert (np.diff(history["objective"]) <= 0).all() and (history["excess"] > 0).all()
    assert miss(model, X[:5], Y[:5]) < 0.5 * miss(Ridge(), X[:5], Y[:5])


def test_the_map_is_a_stationary_point_of_its_objective():
    """Written out for two tasks, over A and the heads, with intercepts as they are."""
    model = transfer(FeatureMap(2, alpha=3.0, target_weight=2.5)).fit(X, Y, WEIGHT)
    b = model.estimator_.coef_
    C, r = X - WEIGHT @ X / WEIGHT.sum(), Y - model.predict(X)
    np.testing.assert_allclose(WEIGHT @ r, 0.0, atol=1e-8)
    # Of two tasks the penalty is the trace norm; by duality its gradient has norm one along B.
    own = 2.5 * C.T @ (WEIGHT * r) / 3.0
    assert np.linalg.norm(own) < 1.0 + 1e-6 and own @ b > 0
    assert model.history_["excess"][0] < 1.0 + 1e-6


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_by_a_shared_map(n_classes):
    cuts = np.quantile(Y, [0.5] if n_classes == 2 else [0.33, 0.67])
    y_s, y, y_at = (np.digitize(v, cuts) for v in (-YS, Y, TRUTH))
    for adaptation in ("feature_map", FeatureMap(2, alpha=0.5)):
        source = Source(XS, y_s, TASK)
        for estimator in (LogisticRegression(), LogisticRegression(class_weight="balanced")):
            model = transfer(adaptation, estimator, source, cv=2).fit(X, y)
            assert model.predict_proba(AT).shape == (300, n_classes)
            assert model.score(AT, y_at) > 0.65


def test_sources_that_say_the_opposite_help_and_others_are_guarded_against(rng):
    source = Source(XS, np.where(TASK < 2, YS, -YS), TASK)
    model = transfer("feature_map", source=source, cv=3)
    assert miss(model) < 0.8 * miss(Ridge())
    assert model.history_["n_components"][-1] == 0 and model.source_weights_.tolist() == [1.0] * 4
    noise = Source(XS, 1000 * rng.normal(size=120))
    guarded = transfer("feature_map", source=noise, cv=3).fit(X, Y)
    np.testing.assert_array_equal(guarded.predict(AT), Ridge().fit(X, Y).predict(AT))
    assert guarded.source_weights_ == [0.0]


@pytest.fixture(scope="module")
def opposite():
    """Labels of sources of which every other says the opposite, and what their map predicts."""
    labels = np.where(TASK % 2, -YS, YS)
    model = transfer("feature_map", source=Source(XS, labels, TASK)).fit(X, Y)
    return labels, model.predict(AT)


@pytest.mark.parametrize("unit", [1e-100, 1e-8, 1e8, 1e100])
def test_units_do_not_matter_to_a_map(unit, opposite):
    """Neither those of labels, nor those of features."""
    opposite, wanted = opposite
    source = Source(XS, unit * opposite, TASK)
    found = transfer("feature_map", source=source).fit(X, unit * Y).predict(AT)
    np.testing.assert_allclose(found / unit, wanted, rtol=1e-4, atol=1e-4)
    size = np.sqrt(unit)
    source = Source(size * XS, opposite, TASK)
    own = Ridge(size**2)  # whose rows stand beside the map as a candidate
    found = transfer("feature_map", own, source).fit(size * X, Y).predict(size * AT)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_choice_of_a_map_by_hand():
    cv = KFold(4)
    model = transfer(FeatureMap(1), cv=cv).fit(X, Y)
    alphas, error = model.history_["alpha"], model.history_["error"]
    np.testing.assert_allclose(alphas[:-1] / alphas[0], [1, 1 / 3, 0.1, 1 / 30])
    for adaptation, wanted in (
        (FeatureMap(1, alpha=alphas[1]), error[1]),
        ("independent", error[-1]),
    ):
        missed = []
        for train, test in cv.split(X):
            fixed = transfer(adaptation).fit(X[train], Y[train])
            missed.append((Y[test] - fixed.predict(X[test])) ** 2)
        np.testing.assert_allclose(np.concatenate(missed).mean(), wanted, rtol=1e-3)


def test_a_map_of_few_or_plain_rows():
    for rows in (X[:1], X[:2], np.ones((6, 4))):
        model = transfer("feature_map").fit(rows, Y[: len(rows)])
        assert np.isfinite(model.predict(AT)).all()
    one = transfer("feature_map", LogisticRegression(), Source(XS, YS > 0, YS > 0)).fit(X, Y > 0)
    np.testing.assert_array_equal(one.source_weights_, [0.0, 0.0])  # of a single class each
    with pytest.raises(
        ValueError, match="y has one class only, True, but the adaptation FeatureMap needs"
    ):
        one.fit(X, np.ones(16, bool))


# ------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("adaptation", "estimator", "message"),
    [
        (FineTune(-1), None, "n_epochs=-1 must be 'auto' or a whole number from 0 to infinity"),
        (FineTune(2.5), None, "n_epochs=2.5 must be"),
        (FineTune(n_frozen=-1), None, "n_frozen=-1 must be a whole number of at least 0"),
        (FineTune(sources="some"), None, "sources='some' must be 'nearest' or 'all'"),
        (FineTune(n_frozen=1), None, "n_frozen=1 leaves nothing to train: estimator=Ridge has 1"),
        (FineTune(n_frozen=3), MLPRegressor(**MLP), "leaves nothing .* has 3 layers, counting"),
        (FineTune(), DecisionTreeRegressor(), "FineTune is for linear models.*DecisionTree"),
        (FineTune(), LinearSVC(), "FineTune supports the log-loss only, but estimator=LinearSVC"),
        (FeatureMap(0), None, "n_components=0 must be 'auto' or a whole number of at least 1"),
        (FeatureMap(alpha=0), None, "alpha=0 must be 'auto' or a number above 0"),
        (FeatureMap(target_weight="auto"), None, "target_weight='auto' must be a number above 0"),
        (FeatureMap(), DecisionTreeRegressor(), "FeatureMap is for linear models.*DecisionTree"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_refused(adaptation, estimator, message):
    classes = isinstance(estimator, LinearSVC)
    y_s, y = (YS > 0, Y > 0) if classes else (YS, Y)
    with pytest.raises(ValueError, match=message):
        transfer(adaptation, estimator, Source(XS, y_s)).fit(X, y)


def test_labels_are_needed():
    for adaptation in (FineTune(), FeatureMap(), ShrinkToSource()):
        with pytest.raises(ValueError, match="requires y to be passed"):
            transfer(adaptation).fit(X)
