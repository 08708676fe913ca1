"""Meta-learners: the task contract, scikit-learn's checks and tools, classes, adapt."""

import copy
import pickle
import warnings

import checks
import numpy as np
import pandas as pd
import pytest
import sklearn
from meta_learner import Heads, Towards
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor

from skmtl import MetaLearnerClassifier, MetaLearnerRegressor, learners
from skmtl.base import UnknownTaskWarning
from skmtl.guard.few_shot import BlendWeights
from skmtl.learners import Prototypes, RidgeHead, WithEstimator
from skmtl.learners.base import Knowledge, LabelledTasks
from skmtl.model_selection import FewShotSplit, TaskKFold

CALIBRATED_SVM = make_pipeline(
    StandardScaler(), CalibratedClassifierCV(LinearSVC(), cv=2, ensemble=False)
)
FACES = [MetaLearnerClassifier, MetaLearnerRegressor]
# Tolerance: small, well-conditioned systems, solved alone or together with others.
CLOSE = {"rtol": 1e-8, "atol": 1e-9}

# -------------------------------------------------------------------------- the task contract

CONTRACT = {
    f"{name}, {face.__name__}": face(learner, **params)
    for face in FACES
    for name, (learner, params) in {
        "default": ("auto", {}),
        "fixed": (Towards(), {}),
        "stiff": (Towards(100.0), {}),
        "messy columns": (Towards(), {"preprocessor": "auto"}),
    }.items()
}


class AllMembers(WithEstimator):
    """Every member has weight, whether it is better or not: so few episodes will do."""

    _n_episodes, _n_cloned = 10, 5

    def _weigh(self, held_out):
        shared = 0.4 if held_out.values[:, 1].size and not np.isnan(held_out.values[0, 1]) else 0.0
        weights = np.array([[0.3, shared, 0.7 - shared]])
        return BlendWeights(np.ones(1), weights, np.full((1, 3), np.nan))


class ClassesByAllMembers(MetaLearnerClassifier):
    """The default learner blended with `estimator`, not guarded."""

    def _learner(self):
        return AllMembers(super()._learner().estimator)


class NumbersByAllMembers(MetaLearnerRegressor):
    """The same for numbers."""

    def _learner(self):
        return AllMembers(super()._learner().estimator)


CONTRACT |= {
    "estimator, classes": ClassesByAllMembers(estimator=GaussianNB()),
    "estimator, numbers": NumbersByAllMembers(estimator=LinearRegression()),
}
# Learners of an embedding, with few steps for speed.
QUICK = {"max_iter": 10, "learning_rate": 0.02, "check_every": 5}
EMBEDDED = [
    (MetaLearnerClassifier, RidgeHead(**QUICK)),
    (MetaLearnerRegressor, RidgeHead((8,), **QUICK)),
    (MetaLearnerClassifier, Prototypes(**QUICK)),
]
embedded = pytest.mark.parametrize(
    ("face", "learner"), EMBEDDED, ids=["ridge head, classes", "ridge head", "prototypes"]
)


@pytest.mark.parametrize(("estimator", "check"), list(checks.contract_cases(CONTRACT)))
def test_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("face", FACES)
def test_predict_needs_no_numba(face):
    checks.check_predict_needs_no_numba(face(Towards()))


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", checks.bad_input_of(MetaLearnerClassifier()))
def test_bad_input(face, name):
    if name in checks.bad_input_of(face()):
        checks.check_bad_input(face(Towards()), name)


# ---------------------------------------------------------------------- scikit-learn's checks


class RegressorWithTasks(checks.TaskColumnAdded, MetaLearnerRegressor):
    """Adds a task column to the data of scikit-learn's checks."""

    inner_class = MetaLearnerRegressor


class ClassifierWithTasks(checks.TaskColumnAdded, MetaLearnerClassifier):
    """The same for classes."""

    inner_class = MetaLearnerClassifier

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.classes_ = self.inner_.classes_
        return self

    def predict_proba(self, X):
        return self._ask("predict_proba", X)

    def predict_log_proba(self, X):
        return self._ask("predict_log_proba", X)


class ClassifierWithOwnClasses(ClassifierWithTasks):
    """Tasks with all classes; none is unknown in predict, as it could not be predicted."""

    def _add_tasks(self, X):
        if sparse.issparse(X):
            return X
        return super()._add_tasks(np.column_stack([1e4 * np.asarray(X, dtype=float)[:, :1], X]))


class ClassesByAllMembersWithTasks(ClassifierWithTasks):
    """Adds a task column in front of `ClassesByAllMembers`."""

    inner_class = ClassesByAllMembers


class OwnClassesByAllMembersWithTasks(ClassifierWithOwnClasses):
    """The same where each task has its own classes."""

    inner_class = ClassesByAllMembers


class NumbersByAllMembersWithTasks(RegressorWithTasks):
    """The same for numbers."""

    inner_class = NumbersByAllMembers


CONFIGURATIONS = {
    f"{name}, {face.__name__}": face(**params)
    for face in FACES
    for name, params in {
        "default": {},
        "messy columns": {"learner": Towards(), "preprocessor": "auto"},
    }.items()
} | {
    "ridge head, numbers": MetaLearnerRegressor(RidgeHead((8,), **QUICK)),
    "ridge head, classes": MetaLearnerClassifier(RidgeHead(**QUICK)),
    "prototypes": MetaLearnerClassifier(Prototypes((8,), **QUICK)),
    "ridge head, numbers, a task column": RegressorWithTasks(RidgeHead(**QUICK), task_column=0),
    "ridge head, shared classes, a task column": ClassifierWithTasks(
        RidgeHead((8,), **QUICK), task_column=0, shared_classes=True
    ),
    "prototypes, shared classes, a task column": ClassifierWithTasks(
        Prototypes(**QUICK), task_column=0, shared_classes=True
    ),
    "ridge head, own classes, a task column": ClassifierWithOwnClasses(
        RidgeHead(**QUICK), task_column=0, shared_classes=False
    ),
    "prototypes, own classes, a task column": ClassifierWithOwnClasses(
        Prototypes(**QUICK), task_column=0, shared_classes=False
    ),
    "default, a task column": RegressorWithTasks(task_column=0),
    "default, shared classes, a task column": ClassifierWithTasks(
        task_column=0, shared_classes=True
    ),
    "default, own classes, a task column": ClassifierWithOwnClasses(
        task_column=0, shared_classes=False
    ),
    "own classes": MetaLearnerClassifier(Towards(), shared_classes=False),
    "a random tree, numbers": NumbersByAllMembersWithTasks(
        estimator=DecisionTreeRegressor(max_features=0.5, max_depth=3), task_column=0
    ),
    "naive Bayes, classes": ClassesByAllMembersWithTasks(
        estimator=GaussianNB(), task_column=0, shared_classes=True
    ),
    "an SVM, own classes": OwnClassesByAllMembersWithTasks(
        estimator=CALIBRATED_SVM, task_column=0, shared_classes=False
    ),
}


@pytest.mark.jit
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks.estimator_check_cases(CONFIGURATIONS)))
def test_estimator_checks(estimator, check):
    check(estimator)


# ------------------------------------------------------------------------------------- tables


def shops(n_tasks=8, rows=14, seed=0, spread=0.7):
    """Return features, a target and task codes; each task has its own slope and level."""
    rng = np.random.default_rng(seed)
    task = rng.permutation(np.repeat(np.arange(n_tasks), rows))
    X = rng.normal(size=(len(task), 3)) * [1.0, 30.0, 0.1] + [0.0, 5.0, 1.0]
    Z = (X - X.mean(0)) / X.std(0)
    coef = rng.normal(size=3) + spread * rng.normal(size=(n_tasks, 3))
    level = spread * rng.normal(size=n_tasks)
    return X, (Z * coef[task]).sum(1) + level[task] + 0.2 * rng.normal(size=len(task)), task


def birds(n_tasks=40, way=3, shot=4, n_classes=7, seed=0):
    """Return a table where each task has `way` of the classes, named by letters."""
    rng = np.random.default_rng(seed)
    centres = 3.0 * rng.normal(size=(n_classes, 4))
    own = np.array([rng.permutation(n_classes)[:way] for _ in range(n_tasks)])
    y = np.repeat(own, shot, axis=1).ravel()
    X = centres[y] + rng.normal(size=(len(y), 4))
    names = np.array(list("abcdefghijklmnop"), dtype=object)
    return X, names[y], np.repeat(np.arange(n_tasks), way * shot)


X, Y, TASK = shops()
YES = np.where(Y > np.median(Y), "yes", "no")


def fitted(face=MetaLearnerRegressor, **params):
    return face(Towards(), **params).fit(X, target(face), task=TASK)


def target(face):
    return YES if face is MetaLearnerClassifier else Y


def outputs(model, X, **kwargs):
    return checks.predictions(model, X, **kwargs)[0]


# ---------------------------------------------------------------- predict, adapt and for_task


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("preprocessor", [None, "auto", PCA(2)])
@pytest.mark.parametrize("face", FACES)
def test_predict_for_a_task_is_adapt_on_its_rows(face, preprocessor, weighted):
    y = target(face)
    weight = np.random.default_rng(1).integers(0, 3, len(y)) if weighted else np.ones(len(y))
    model = face(Towards(), preprocessor=preprocessor).fit(X, y, weight, task=TASK)
    for t in range(8):
        own = np.random.default_rng(t).permutation(np.flatnonzero(TASK == t))
        wanted = outputs(model, X[own], task=TASK[own])
        adapted = model.adapt(X[own], y[own], weight[own])
        np.testing.assert_allclose(outputs(adapted, X[own]), wanted, **CLOSE)
        one = model.for_task(t)
        np.testing.assert_array_equal(outputs(one, X[own]), wanted)
        if face is MetaLearnerClassifier:
            np.testing.assert_array_equal(adapted.classes_, ["no", "yes"])
            wanted = model.predict(X[own], task=TASK[own])
            np.testing.assert_array_equal(adapted.predict(X[own]), wanted)


@embedded
def test_predict_for_a_task_is_adapt_where_an_embedding_is_learned(face, learner):
    y, weight = target(face), np.random.default_rng(1).integers(0, 3, len(Y))
    model = face(learner).fit(X, y, weight, task=TASK)
    wanted = outputs(model, X, task=TASK)
    for t in range(8):
        own = np.random.default_rng(t).permutation(np.flatnonzero(TASK == t))
        adapted = model.adapt(X[own], y[own], weight[own])
        np.testing.assert_allclose(outputs(adapted, X[own]), wanted[own], **CLOSE)
        np.testing.assert_allclose(outputs(model.for_task(t), X[own]), wanted[own], **CLOSE)
    assert len(pickle.dumps(adapted)) < 6000
    rng = np.random.default_rng(0)
    order, name = rng.permutation(len(Y)), rng.permutation(8)
    other = face(learner).fit(X[order], y[order], weight[order], task=name[TASK[order]])
    again = outputs(other, X, task=name[TASK])
    np.testing.assert_allclose(again, wanted, **CLOSE)
    if face is MetaLearnerClassifier:
        assert (wanted > 0).all()
        only = model.adapt(X[:4], np.full(4, "no"))
        assert list(only.classes_) == ["no", "yes"] and (only.predict_proba(X) > 0).all()
    with pytest.warns(UnknownTaskWarning):
        unknown = outputs(model, X, task=np.full(len(Y), 99))
    assert np.isfinite(unknown).all()


@embedded
def test_what_is_learned_of_an_embedding_does_not_grow_with_the_table(face, learner):
    sizes = []
    for n_tasks in (12, 200):
        X, y, task = shops(n_tasks)
        y = y if face is MetaLearnerRegressor else y > 0
        model = face(learner).fit(X, y, task=task)
        sizes.append(len(pickle.dumps(model.adapt(X[:9], y[:9]))))
    assert abs(sizes[1] - sizes[0]) < 50
    assert model.n_iter_ == 10 and len(model.history_["step"]) == 3


def test_prototypes_are_of_classes():
    with pytest.raises(ValueError, match='learner="ridge_head"'):
        MetaLearnerRegressor("prototypes").fit(X, Y, task=TASK)


OWN_LEARNERS = [Towards(), RidgeHead(**QUICK), Prototypes(**QUICK)]


@pytest.mark.parametrize("learner", OWN_LEARNERS, ids=lambda learner: type(learner).__name__)
def test_predict_for_a_task_is_adapt_on_its_rows_where_classes_are_its_own(learner):
    X, y, task = birds()
    model = MetaLearnerClassifier(learner).fit(X, y, task=task)
    assert not model.shared_classes_
    for t in (0, 7):
        own = np.flatnonzero(task == t)[::-1]
        wanted = model.predict_proba(X[own], task=task[own])
        for one in (model.adapt(X[own], y[own]), model.for_task(t)):
            np.testing.assert_array_equal(one.classes_, np.unique(y[own]))
            here = np.searchsorted(model.classes_, one.classes_)
            np.testing.assert_allclose(one.predict_proba(X[own]), wanted[:, here], **CLOSE)
            assert one.predict_proba(X[own]).shape == (12, 3)
            np.testing.assert_array_equal(
                one.predict(X[own]), model.predict(X[own], task=task[own])
            )
            assert one.score(X[own], y[own]) > 0.8


@pytest.mark.parametrize("face", FACES)
def test_an_unknown_task_is_one_without_rows(face):
    model = fitted(face)
    ways = None if face is MetaLearnerRegressor else np.array([2])
    none = np.zeros(0, dtype=np.int64 if ways is not None else np.float64)
    empty = LabelledTasks(np.zeros((0, 3)), none, np.zeros(0), np.array([0, 0]), ways)
    Z = (X - X.mean(0)) / X.std(0)
    wanted = model._result.knowledge.adapt(empty).predict(Z, np.zeros(len(X), dtype=int))
    if ways is None:
        wanted = wanted * Y.std() + Y.mean()
    with pytest.warns(UnknownTaskWarning, match="never seen in fit, such as -1"):
        got = outputs(model, X, task=np.full(len(X), -1))
    np.testing.assert_allclose(got if ways is None else np.log(got), wanted, **CLOSE)
    with pytest.raises(ValueError, match="drop them or set handle_unknown='shared'"):
        fitted(face, handle_unknown="error").predict(X, task=np.full(len(X), -1))


@pytest.mark.parametrize("face", FACES)
def test_a_task_without_weight_is_an_unknown_one(face):
    weight = (TASK != 3).astype(float)
    model = face(Towards()).fit(X, target(face), weight, task=TASK)
    assert list(model.tasks_) == list(range(8))
    got = outputs(model, X, task=np.full(len(X), 3))
    with pytest.warns(UnknownTaskWarning):
        np.testing.assert_array_equal(got, outputs(model, X, task=np.full(len(X), 99)))
    np.testing.assert_array_equal(got, outputs(model.for_task(3), X))


def test_an_adapted_model_is_an_ordinary_estimator():
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(shop=TASK)
    model = MetaLearnerRegressor(Towards(), task_column="shop").fit(frame, Y)
    before = pickle.dumps(model)
    new = frame[TASK == 2].drop(columns="shop")
    one = model.adapt(new, Y[TASK == 2])
    assert pickle.dumps(model) == before
    wanted = one.predict(new)
    np.testing.assert_array_equal(one.predict(frame[TASK == 2]), wanted)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).predict(new), wanted)
    np.testing.assert_array_equal(copy.deepcopy(one).predict(new), wanted)
    assert one.score(new, Y[TASK == 2]) == r2_score(Y[TASK == 2], wanted)
    assert list(one.feature_names_in_) == ["a", "b", "c"] and one.n_features_in_ == 3
    with pytest.raises(TypeError, match="for_task or adapt"):
        clone(one).fit(new, Y[TASK == 2])
    with pytest.raises(ValueError, match="feature names should match"):
        one.predict(new.rename(columns={"b": "z"}))
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        fitted().for_task(2).predict(sparse.csr_matrix(new))
    pipe = make_pipeline(StandardScaler(), MetaLearnerRegressor(Towards()))
    pipe.fit(X, Y, metalearnerregressor__task=TASK)
    assert not hasattr(pipe[-1], "feature_names_in_")
    scaled = pipe[:-1].transform(new.to_numpy())
    through = pipe[-1].adapt(scaled, Y[TASK == 2]).predict(scaled)
    np.testing.assert_allclose(through, wanted, **CLOSE)


@pytest.mark.parametrize("face", FACES)
def test_what_adapt_returns_does_not_grow_with_the_table(face):
    sizes, wholes = [], []
    for n_tasks in (5, 200):
        X, y, task = shops(n_tasks)
        y = y if face is MetaLearnerRegressor else y > 0
        model = face(Towards()).fit(X, y, task=task)
        sizes.append(len(pickle.dumps(model.adapt(X[:9], y[:9]))))
        wholes.append(len(pickle.dumps(model)))
    assert abs(sizes[1] - sizes[0]) < 50
    assert wholes[1] - wholes[0] < 195 * 8 * 14  # less than the size of the rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X_support": np.ones((3, 2))}, "features"),
        ({"X_support": np.full((3, 3), np.nan)}, "NaN"),
        ({"X_support": np.ones((0, 3)), "y_support": []}, "minimum of 1"),
        ({"y_support": np.ones(2)}, "inconsistent"),
        ({"y_support": np.array([1.0, np.nan, 2.0])}, "NaN|did not see"),
        ({"y_support": np.ones((3, 2))}, "1d array"),
        ({"sample_weight": [-1.0, 1.0, 1.0]}, "negative"),
        ({"sample_weight": np.zeros(3)}, "zero for every row"),
    ],
)
@pytest.mark.parametrize("face", FACES)
def test_unfit_support(face, change, message):
    model = face(Towards()).fit(X, (Y > 0).astype(int), task=TASK)
    good = {"X_support": np.ones((3, 3)), "y_support": np.array([0, 1, 1])}
    model.adapt(**good)
    with pytest.raises(ValueError, match=message):
        model.adapt(**(good | change))


@pytest.mark.parametrize("y", [["yes", "maybe"], [0, 1]])
def test_a_class_never_seen_where_classes_are_shared(y):
    with pytest.raises(ValueError, match="y has labels that fit did not see, such as .*(maybe|0)"):
        fitted(MetaLearnerClassifier).adapt(X[:2], y)


# ------------------------------------------------------------------------------------ classes


def sets_of(rng, n_tasks, sizes, draw):
    """Return labels and tasks of a table whose task t has ``sizes[t]`` rows of random classes."""
    labels = [draw(rng, size) for size in np.broadcast_to(sizes, n_tasks)]
    return np.concatenate(labels), np.repeat(np.arange(n_tasks), [len(each) for each in labels])


def of_shares(*shares, unlike=0.0):
    """Return a function that draws labels from shares of the task, which vary around these."""

    def draw(rng, size):
        own = rng.dirichlet(np.array(shares) / unlike) if unlike else np.array(shares)
        return rng.choice(len(shares), size=size, p=own)

    return draw


def ways_of(way, n_classes, shot):
    return lambda rng, size: np.repeat(rng.permutation(n_classes)[:way], shot)


def one_class_in_three(draw):
    def drawn(rng, size):
        labels = draw(rng, size)
        return np.full(size, labels[0]) if rng.uniform() < 1 / 3 else labels

    return drawn


SHARED = {
    "churn": (60, 12, one_class_in_three(of_shares(0.8, 0.2))),
    "rare churn, most tasks of one class": (60, 8, of_shares(0.95, 0.05)),
    "three outcomes": (60, 20, one_class_in_three(of_shares(0.6, 0.3, 0.1))),
    "stars": (200, 25, of_shares(0.05, 0.05, 0.1, 0.3, 0.5, unlike=0.3)),
    "ten digits of each writer": (30, 60, of_shares(*[0.1] * 10)),
    "a task with three classes": (1, 30, of_shares(0.4, 0.3, 0.3)),
}
OWN = {
    f"{way} of {n}, {shot} shots": (300, 1, ways_of(way, n, shot))
    for way, n, shot in [(3, 6, 5), (2, 6, 5), (3, 4, 5), (2, 3, 5), (5, 60, 1), (3, 6, 1)]
} | {"two tasks with nothing in common": (2, 1, ways_of(3, 50, 4))}


@pytest.mark.parametrize("name", [*SHARED, *OWN])
def test_auto_tells_whether_classes_are_shared(name):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y, task = sets_of(rng, *(SHARED | OWN)[name])
        order = rng.permutation(len(y))
        X = rng.normal(size=(len(y), 2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one row per task
            model = MetaLearnerClassifier(Nothing()).fit(X[order], y[order], task=task[order])
        assert model.shared_classes_ == (name in SHARED)
        for given in (True, False):
            model.set_params(shared_classes=given).fit(X, y, task=task)
            assert model.shared_classes_ is given


class Nothing(Towards):
    """Learns nothing."""

    def learn(self, tasks, random_state, progress):
        return Blank()


class Blank(Knowledge):
    def adapt(self, tasks):
        heads = np.zeros((tasks.n_tasks, tasks.ways.max(), tasks.n_features + 1))
        return Heads(heads, tasks.ways)


def test_auto_says_what_it_took(capsys):
    Xb, yb, tb = birds()
    MetaLearnerClassifier(Towards(), verbose=1).fit(Xb, yb, task=tb)
    assert "7 classes, each task its own" in capsys.readouterr().out
    MetaLearnerClassifier(Towards(), verbose=1).fit(X, YES, task=TASK)
    assert "2 classes, shared by all tasks" in capsys.readouterr().out


def test_probabilities_live_on_the_classes_of_the_task():
    X, y, task = birds()
    model = MetaLearnerClassifier(Towards()).fit(X, y, task=task)
    p = model.predict_proba(X, task=task)
    assert p.shape == (len(y), 7)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    for t in range(40):
        has = np.isin(model.classes_, y[task == t])
        assert (p[task == t][:, ~has] == 0).all() and (p[task == t][:, has] > 0).all()
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(model.predict_log_proba(X, task=task), np.log(p), atol=1e-12)
    np.testing.assert_array_equal(model.predict(X, task=task), model.classes_[p.argmax(axis=1)])
    assert model.score(X, y, task=task) == accuracy_score(y, model.predict(X, task=task)) > 0.9


def test_a_new_task_brings_classes_never_seen():
    X, y, task = birds()
    model = MetaLearnerClassifier(Towards()).fit(X, y, task=task)
    rows = np.flatnonzero(task == 4)
    known = np.unique(y[rows])
    renamed = np.where(y[rows] == known[1], "A new one", y[rows])  # sorted before the others
    one, other = (model.adapt(X[rows], labels) for labels in (renamed, y[rows]))
    assert list(one.classes_) == ["A new one", known[0], known[2]]
    np.testing.assert_allclose(
        one.predict_proba(X[rows])[:, [1, 0, 2]], other.predict_proba(X[rows]), **CLOSE
    )
    numbers = model.adapt(X[rows], np.searchsorted(known, y[rows]) + 10)  # of another type
    assert list(numbers.classes_) == [10, 11, 12]
    alone = model.adapt(X[rows], np.full(12, "z"))
    np.testing.assert_array_equal(alone.predict_proba(X[rows]), np.ones((12, 1)))


def test_what_a_learner_is_told_of_a_new_task():
    X, y, task = birds()
    model = MetaLearnerClassifier(Recorder()).fit(X, y, task=task)
    model.adapt(X[:4], ["A", "b", "d", "A"])
    seen = model._result.knowledge.seen
    assert list(seen.labels[0]) == [7, 1, 3] and list(seen.ways) == [3]
    assert sorted(seen.y) == [0, 0, 1, 2] and not seen.shared_classes


def test_an_unknown_task_cannot_be_served_where_classes_are_its_own():
    X, y, task = birds()
    for handle_unknown in ("shared", "error"):
        model = MetaLearnerClassifier(Towards(), handle_unknown=handle_unknown)
        model.fit(X, y, task=task)
        with pytest.raises(ValueError, match=r"(?s)1 of 3 rows.*such as 99; .*adapt\(X_support"):
            model.predict(X[:3], task=[0, 99, 1])
    weight = (task != 6).astype(float)
    model.fit(X, y, weight, task=task)
    for ask in (lambda: model.predict(X[:3], task=[0, 6, 1]), lambda: model.for_task(6)):
        with pytest.raises(ValueError, match="task 6 had no row of positive weight"):
            ask()


def test_a_task_of_one_class():
    y = np.where(TASK == 2, "no", YES)
    model = MetaLearnerClassifier(Towards()).fit(X, y, task=TASK)
    p = model.predict_proba(X[TASK == 2], task=TASK[TASK == 2])
    assert (p > 0).all() and p[:, 0].mean() > 0.5
    own = MetaLearnerClassifier(Towards(), shared_classes=False).fit(X, y, task=TASK)
    np.testing.assert_array_equal(
        own.predict_proba(X[TASK == 2], task=TASK[TASK == 2]), np.tile([1.0, 0.0], (14, 1))
    )
    with pytest.raises(ValueError, match="no task has rows of two classes"):
        own.fit(X, np.array(list("abcdefgh"))[TASK], task=TASK)
    assert own.shared_classes_ is False  # unchanged


def test_classes_of_rows_without_weight_are_not_known():
    y = np.where(np.arange(len(Y)) == 5, "perhaps", YES)
    weight = (y != "perhaps").astype(float)
    model = MetaLearnerClassifier(Towards()).fit(X, y, weight, task=TASK)
    assert list(model.classes_) == ["no", "yes"]
    with pytest.raises(ValueError, match="one class only"):
        model.fit(X, y, (y == "yes").astype(float), task=TASK)


BAD_CLASSES = {
    "one class": (np.zeros(len(Y)), "one class"),
    "numbers": (Y, "continuous"),
    "columns": (np.column_stack([YES, YES]), "1-D"),
    "NaN": (np.where(Y > 0, np.nan, 1.0), "NaN"),
}


@pytest.mark.parametrize("name", BAD_CLASSES)
def test_bad_classes(name):
    y, pattern = BAD_CLASSES[name]
    with pytest.raises(ValueError, match=pattern):
        MetaLearnerClassifier(Towards()).fit(X, y, task=TASK)


# --------------------------------------------------------------------------- shares of classes


def rare(seed, n_new=30, shots=5, rate=0.08, spread=0.3, n_tasks=120, p=6):
    """Return tasks with a rare class, and new tasks with a few known rows of each class."""
    rng = np.random.default_rng(seed)
    slopes = 0.8 * rng.normal(size=p) + spread * rng.normal(size=(n_tasks + n_new, p))
    level = np.log(rate / (1 - rate)) - 0.7 * (rate < 0.5) + spread * rng.normal(size=len(slopes))

    def draw(k, n):
        X = rng.normal(size=(n, p))
        return X, (rng.random(n) < 1 / (1 + np.exp(-X @ slopes[k] - level[k]))).astype(int)

    past = [draw(k, rng.integers(30, 60)) for k in range(n_tasks)]
    task = np.repeat(np.arange(n_tasks), [len(y) for _, y in past])
    new = []
    for k in range(n_tasks, n_tasks + n_new):
        X, y = draw(k, 1500)
        known = np.r_[np.flatnonzero(y == 0)[:shots], np.flatnonzero(y == 1)[:shots]]
        new.append((X[known], y[known], X[-300:], y[-300:]))
    X, y = (np.concatenate(parts) for parts in zip(*past, strict=True))
    return X, y, task, new


@pytest.mark.parametrize(("seed", "shots", "spread"), [(0, 5, 0.3), (1, 10, 0.3), (2, 5, 0.9)])
def test_few_balanced_labels_in_an_unbalanced_world(seed, shots, spread):
    X, y, task, new = rare(seed, shots=shots, spread=spread)
    model = MetaLearnerClassifier(random_state=0).fit(X, y, task=task)
    pooled = LogisticRegression(max_iter=1000).fit(X, y)
    loss, auc = np.zeros((2, 2))
    for X_known, y_known, X_new, y_new in new:
        for k, m in enumerate((pooled, model.adapt(X_known, y_known))):
            p = m.predict_proba(X_new)[:, 1]
            loss[k] += log_loss(y_new, p, labels=[0, 1])
            auc[k] += roc_auc_score(y_new, p)
    assert loss[1] < 1.03 * loss[0]
    assert auc[1] > auc[0] - 0.005 * len(new)


def test_labels_drawn_at_random_tell_how_frequent_classes_are():
    """Equal shares in a task are taken as evidence if tasks differ that much."""
    rng = np.random.default_rng(4)
    share = rng.beta(0.8, 0.8, size=150)
    task = np.repeat(np.arange(150), 30)
    X, y = rng.normal(size=(4500, 2)), (rng.random(4500) < share[task]).astype(int)
    model = MetaLearnerClassifier(random_state=0).fit(X, y, task=task)
    rows = rng.normal(size=(20, 2))
    for positive in (2, 17):
        adapted = model.adapt(rows, (np.arange(20) < positive).astype(int))
        found = adapted.predict_proba(rng.normal(size=(200, 2)))[:, 1].mean()
        assert abs(found - positive / 20) < 0.07


@pytest.mark.parametrize(
    "learner", ["auto", "subspace", learners.MAML((20,), max_iter=500), RidgeHead(max_iter=50)]
)
def test_a_class_prior_is_the_share_that_a_task_is_given(learner):
    X, y, task, new = rare(5, n_new=12, n_tasks=60)
    model = MetaLearnerClassifier(learner, random_state=0).fit(X, y, task=task)
    means, given = [], (0.02, 0.08, 0.5)
    for X_known, y_known, X_new, _ in new:
        models = [model.adapt(X_known, y_known, class_prior={0: 1 - p, 1: p}) for p in given]
        means.append([m.predict_proba(X_new)[:, 1].mean() for m in models])
    found, given = np.mean(means, axis=0), np.array(given)
    gap = np.log(found / (1 - found)) - np.log(given / (1 - given))  # at least 2 without correction
    assert (np.abs(gap) < (0.7 if isinstance(learner, str) else 1.0)).all()


def test_a_class_prior_where_classes_are_the_tasks_own():
    X, y, task = birds()
    model = MetaLearnerClassifier(random_state=0).fit(X, y, task=task)
    known = task == 0
    own = np.unique(y[known])
    shares = dict(zip(own, (0.8, 0.15, 0.05), strict=True))
    plain = model.adapt(X[known], y[known])
    given = model.adapt(X[known], y[known], class_prior=shares)
    rows = X[task == 1] * 0.3
    odds = [np.log(m.predict_proba(rows)) for m in (plain, given)]
    gained = np.mean(odds[1] - odds[0], axis=0)
    assert gained[0] > gained[1] > gained[2]
    with pytest.raises(ValueError, match="not among the classes"):
        model.adapt(X[known], y[known], class_prior={"no bird": 0.5, own[0]: 0.5})


def test_an_unfit_class_prior():
    model = fitted(MetaLearnerClassifier)
    with pytest.raises(ValueError, match=r"'maybe', which is not among the classes \['no', 'yes'"):
        model.adapt(X[:4], YES[:4], class_prior={"yes": 0.5, "maybe": 0.5})
    with pytest.raises(TypeError, match="must be a dict"):
        model.adapt(X[:4], YES[:4], class_prior=0.08)


# ---------------------------------------------------------------- within tasks and between them


def lines(n_tasks=8, rows=25, seed=0, spread=0.0, p=3):
    """Return tasks with slightly different slopes, of features whose means differ by `spread`."""
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(n_tasks), rows)
    inside = rng.normal(size=(len(task), p))
    X = inside + spread * rng.normal(size=(n_tasks, p))[task]
    slopes = np.array([1.0, -2.0, 0.5])[:p] + 0.4 * rng.normal(size=(n_tasks, p))
    y = (inside * slopes[task]).sum(axis=1) + 0.3 * rng.normal(size=len(task))
    return X, y, task, np.tile(np.arange(rows) < 15, n_tasks)


def by_task(estimator, X, y, task, known):
    """Return the predictions of independent models."""
    out = np.empty(len(y))
    for t in np.unique(task):
        own = task == t
        if (
            y.dtype.kind == "i" and len(set(y[own & known])) == 1
        ):  # no model: Laplace's rule of succession
            out[own] = (y[own & known].sum() + 1.0) / (known[own].sum() + 2.0)
            continue
        model = estimator.fit(X[own & known], y[own & known])
        proba = getattr(model, "predict_proba", None)
        out[own] = model.predict(X[own]) if proba is None else proba(X[own])[:, 1]
    return out


def root_mean_square(x):
    return np.sqrt(np.mean(x**2))


@pytest.mark.parametrize("step", [0, 10, 1000, 100_000])
def test_levels_that_differ_by_task_hide_no_slope(step):
    X, y, task, known = lines()
    y = y + step * task
    alone = by_task(LinearRegression(), X, y, task, known)
    model = MetaLearnerRegressor(random_state=0).fit(X[known], y[known], task=task[known])
    found = model.predict(X, task=task)
    limit = 1.08 * root_mean_square((alone - y)[~known])
    assert root_mean_square((found - y)[~known]) < limit
    X_new, y_new, *_ = lines(1, 60, 7)
    errors = []
    for level in (0.0, 1000.0, -1e6):
        adapted = model.adapt(X_new[:10], y_new[:10] + level)
        errors.append(root_mean_square(adapted.predict(X_new[10:]) - level - y_new[10:]))
    alone = LinearRegression().fit(X_new[:10], y_new[:10]).predict(X_new[10:])
    assert max(errors) < 1.08 * root_mean_square(alone - y_new[10:])


@pytest.mark.parametrize("spread", [1.0, 30.0, 1000.0])
def test_features_that_differ_between_tasks_keep_their_slopes_within(spread):
    X, y, task, known = lines(20, 30, 1, spread)
    rng = np.random.default_rng(2)
    y = y + 2.0 * rng.normal(size=20)[task]
    alone = by_task(LinearRegression(), X, y, task, known)
    model = MetaLearnerRegressor(random_state=0).fit(X[known], y[known], task=task[known])
    gap = (model.predict(X, task=task) - y)[~known]
    assert root_mean_square(gap) < 1.05 * root_mean_square((alone - y)[~known])
    c = (y + rng.logistic(size=len(y)) > 0).astype(int)
    scaled = make_pipeline(StandardScaler(), LogisticRegression())
    alone = by_task(scaled, X, c, task, known)
    model = MetaLearnerClassifier(random_state=0).fit(X[known], c[known], task=task[known])
    found = model.predict_proba(X, task=task)[:, 1]
    assert log_loss(c[~known], found[~known]) < log_loss(c[~known], alone[~known])
    for t in (0, 1):
        own = task == t
        adapted = model.adapt(X[own & known], c[own & known])
        np.testing.assert_allclose(adapted.predict_proba(X[own])[:, 1], found[own], rtol=1e-8)


def test_a_task_without_rows_is_where_features_between_tasks_say():
    """Rows of an unseen task are predicted with the slopes between tasks, not those within."""
    rng = np.random.default_rng(3)
    task = np.repeat(np.arange(40), 20)
    place = 30.0 * rng.normal(size=41)
    inside = rng.normal(size=800)
    X = (place[task] + inside)[:, None]
    y = 0.1 * place[task] - 2.0 * inside + 0.3 * rng.normal(size=800)
    model = MetaLearnerRegressor(random_state=0).fit(X, y, task=task)
    new = (place[40] + rng.normal(size=50))[:, None]
    with pytest.warns(UnknownTaskWarning):
        found = model.predict(new, task=np.full(50, 99))
    np.testing.assert_allclose(found, 0.1 * new[:, 0], atol=0.5)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("face", FACES)
def test_what_is_constant_within_tasks_is_so_up_to_rounding(face, seed):
    rng = np.random.default_rng(seed)
    task = np.arange(54) % 9
    Z = rng.normal(size=(54, 4))
    Z[:, 1] = rng.normal(size=9)[task]
    y = Z.sum(axis=1) + rng.normal(size=9)[task] + rng.normal(size=54)
    y = np.where(y > 0, "up", "down") if face is MetaLearnerClassifier else y

    def predictions(Z):
        return checks.predictions(face().fit(Z, y, task=task), Z, task=task)

    wanted = predictions(Z)
    for _ in range(3):
        shaken = Z * (1.0 + 1e-15 * rng.normal(size=4))
        checks.assert_close(predictions(shaken), wanted, rtol=1e-6, atol=1e-6)


def test_columns_that_are_constant_within_tasks():
    X, y, task, _known = lines(30, 25, 5)
    place = np.random.default_rng(6).normal(size=31)
    X = np.column_stack([X, place[task]])
    y = y + 1.5 * place[task]
    model = MetaLearnerRegressor(random_state=0).fit(X, y, task=task)
    X_new, y_new, *_ = lines(1, 40, 8)
    X_new = np.column_stack([X_new, np.full(40, place[30])])
    errors = [
        root_mean_square(model.adapt(X_new[:n], y_new[:n] + 1.5 * place[30]).predict(X_new[8:])
        - 1.5 * place[30] - y_new[8:])
        for n in (2, 8)
    ]  # fmt: skip
    assert errors[0] < 1.2 and errors[1] < 0.7


# ---------------------------------------------------------------------------- rows and weights


@pytest.mark.parametrize("weighted", [False, True])
def test_equal_rows_are_told_apart_where_features_have_few_values(weighted):
    """A row that equals known rows is not evidence for the other label."""
    rng = np.random.default_rng(0)

    def rates(n_tasks, n):
        rate = rng.beta(0.5, 0.5, n_tasks)
        one = rng.binomial(n, rate)
        return rate, one, np.column_stack([n - one, one]).ravel()

    rate, one, counts = rates(200, 20)
    y, task = np.tile([0, 1], 200), np.repeat(np.arange(200), 2)
    if weighted:
        rows = np.zeros((400, 1)), y, counts
    else:
        y, task = np.repeat(y, counts), np.repeat(task, counts)
        rows = np.zeros((4000, 1)), y, None
    model = MetaLearnerClassifier(shared_classes=True).fit(*rows, task=task)
    rate, one, counts = rates(200, 20)
    models = [model.adapt(np.zeros((20, 1)), (np.arange(20) < k).astype(int)) for k in one]
    p = np.array([m.predict_proba(np.zeros((1, 1)))[0, 1] for m in models])
    by_hand = (one + 0.5) / 21
    loss, best = (-np.mean(rate * np.log(q) + (1 - rate) * np.log(1 - q)) for q in (p, by_hand))
    assert loss < best + 0.02


def invariant(face, kind):
    """Return a function that fits the default and predicts, and a table."""
    X, y, task, _ = lines(9, 20, 11, 1.0, 3)
    X = np.rint(2 * X) if kind == "whole numbers" else X
    y = y if face is MetaLearnerRegressor else (y > np.quantile(y, 0.6)).astype(int)

    def predicted(X, y, weight=None, rows=None, at=X):
        rows = np.arange(len(y)) if rows is None else rows
        weight = weight if weight is None else weight[rows]
        model = face(random_state=0).fit(X[rows], y[rows], weight, task=task[rows])
        return outputs(model, at, task=task)

    return predicted, X, y


@pytest.mark.parametrize("kind", ["numbers", "whole numbers"])
@pytest.mark.parametrize("face", FACES)
def test_columns_may_have_any_order_unit_shift_and_sign(face, kind):
    predicted, X, y = invariant(face, kind)
    wanted, rng = predicted(X, y), np.random.default_rng(0)
    deviation = X.std(axis=0)
    for Z in (
        X[:, [2, 0, 1]], X * [1e-6, 1.0, 1e6], X * [1e6, 1e-6, 1e3], -X, X * [1.0, -1.0, 1.0],
        X + 1e4 * deviation, X - [1e4, 0.0, 100.0] * deviation,
    ):  # fmt: skip
        np.testing.assert_allclose(predicted(Z, y, at=Z), wanted, atol=1e-6 * np.ptp(wanted))
    shuffled = predicted(X, y, rows=rng.permutation(len(y)))
    np.testing.assert_allclose(shuffled, wanted, atol=1e-9 * np.ptp(wanted))
    if face is MetaLearnerRegressor:
        for a, b in ((-2.5, 3.0), (1e9, 0.0), (1e-9, 0.0), (1.0, 1e5)):
            found = (predicted(X, a * y + b) - b) / a
            np.testing.assert_allclose(found, wanted, atol=1e-6 * np.ptp(wanted))


@pytest.mark.parametrize("kind", ["numbers", "whole numbers"])
@pytest.mark.parametrize("face", FACES)
def test_whole_weights_are_copies_and_others_are_relative(face, kind):
    predicted, X, y = invariant(face, kind)
    rng = np.random.default_rng(1)
    some, counts = rng.uniform(0.5, 2.0, len(y)), rng.integers(1, 4, len(y))
    wanted = predicted(X, y, some)
    for factor in (1e-6, 1e-3, 7.3, 1e6):
        found = predicted(X, y, factor * some)
        np.testing.assert_allclose(found, wanted, atol=1e-6 * np.ptp(wanted))
    wanted = predicted(X, y, counts)
    repeated = rng.permutation(np.repeat(np.arange(len(y)), counts))
    found = predicted(X, y, rows=repeated)
    np.testing.assert_allclose(found, wanted, atol=1e-6 * np.ptp(wanted))
    assert np.ptp(wanted - predicted(X, y)) > 1e-3 * np.ptp(wanted)
    if kind == "numbers":
        found = predicted(X, y, 1000 * counts)
        np.testing.assert_allclose(found, wanted, atol=1e-6 * np.ptp(wanted))


@pytest.mark.parametrize("face", FACES)
def test_a_common_factor_on_the_weights_of_a_support_changes_nothing(face):
    _, X, y = invariant(face, "numbers")
    task, weight = np.repeat(np.arange(9), 20), np.random.default_rng(2).uniform(0.5, 2.0, 180)
    model = face(random_state=0).fit(X[20:], y[20:], weight[20:], task=task[20:])
    wanted = outputs(model.adapt(X[:12], y[:12], weight[:12]), X[:20])
    for factor in (1e-6, 1e6):
        found = outputs(model.adapt(X[:12], y[:12], factor * weight[:12]), X[:20])
        np.testing.assert_allclose(found, wanted, atol=1e-6 * np.ptp(wanted))
    once = outputs(model.adapt(X[:12], y[:12]), X[:20])
    many = outputs(model.adapt(X[:12], y[:12], np.full(12, 1000)), X[:20])
    np.testing.assert_allclose(many, once, atol=1e-6 * np.ptp(once))


@pytest.mark.parametrize("face", FACES)
def test_numbers_whose_squares_are_none_are_refused_by_name(face):
    predicted, X, y = invariant(face, "numbers")
    wanted, deviation = predicted(X, y), np.array([1.0, 1.0, 1e90])
    found = predicted(X * deviation, y, at=X * deviation)
    np.testing.assert_allclose(found, wanted, atol=1e-6 * np.ptp(wanted))
    model = face(random_state=0).fit(X, y, task=np.repeat(np.arange(9), 20))
    for factor in (1e200, 1e-200):
        with pytest.raises(ValueError, match="X: column 1"):
            predicted(X * [1.0, factor, 1.0], y)
        with pytest.raises(ValueError, match="sample_weight holds"):
            predicted(X, y, np.full(len(y), factor))
        with pytest.raises(ValueError, match="X: column 0"):
            model.adapt(X[:9] * factor, y[:9])
        with pytest.raises(ValueError, match="sample_weight holds"):
            model.adapt(X[:9], y[:9], np.full(9, factor))
        if face is MetaLearnerRegressor:
            with pytest.raises(ValueError, match="^y "):
                predicted(X, y * factor)
            with pytest.raises(ValueError, match="^y "):
                model.adapt(X[:9], y[:9] * factor)


# ------------------------------------------------------------------- what a learner is handed


class Recorder(Towards):
    """Stores its arguments on the result."""

    def learn(self, tasks, random_state, progress):
        knowledge = super().learn(tasks, random_state, progress)
        knowledge.learned_from = tasks
        adapt = knowledge.adapt

        def record(tasks):
            knowledge.seen = tasks
            return adapt(tasks)

        knowledge.adapt = record
        return knowledge


def handed(y, task=TASK, weight=None, rows=None, face=MetaLearnerClassifier, X=X, **params):
    rows = np.arange(len(y)) if rows is None else rows
    weight = None if weight is None else weight[rows]
    model = face(Recorder(), **params).fit(X[rows], y[rows], weight, task=task[rows])
    return model._result.knowledge.learned_from


def assert_alike(one, other):
    for name in ("X", "y", "weight", "offsets", "ways", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("face", FACES)
def test_order_and_labels_do_not_reach_the_learner(face):
    rng = np.random.default_rng(0)
    y, order = target(face), rng.permutation(len(Y))
    wanted = handed(y, face=face)
    assert wanted.n_tasks == 8 and len(wanted.X) == len(Y)
    assert_alike(handed(y, rows=order, face=face), wanted)
    assert_alike(handed(y, task=rng.permutation(8)[TASK], face=face), wanted)
    birds_, own, task = birds()
    wanted = handed(own, task, X=birds_)
    shuffled = handed(own, rng.permutation(40)[task], rows=rng.permutation(len(own)), X=birds_)
    assert_alike(shuffled, wanted)


@pytest.mark.parametrize("face", FACES)
def test_a_row_of_weight_two_is_two_rows(face):
    y, weight = target(face), np.random.default_rng(0).integers(0, 4, len(Y))
    repeated = np.random.default_rng(1).permutation(np.repeat(np.arange(len(Y)), weight))
    one, other = handed(y, weight=weight, face=face), handed(y, rows=repeated, face=face)
    assert_alike(one, other)
    # Copies are merged, and weights are relative to the mean of all rows.
    assert len(one.X) == (weight > 0).sum()
    scale = weight.sum() / len(one.X)
    np.testing.assert_allclose(np.sort(one.weight) * scale, np.sort(weight[weight > 0]))
    part = handed(y, weight=weight, rows=np.flatnonzero(weight), face=face)
    assert_alike(one, part)


def test_rows_are_standardised_over_the_table():
    weight = np.random.default_rng(0).integers(0, 4, len(Y)).astype(float)
    got = handed(Y, weight=weight, face=MetaLearnerRegressor, X=np.column_stack([X, np.ones(112)]))
    for values in (got.X, got.y[:, None]):
        np.testing.assert_allclose(np.average(values, axis=0, weights=got.weight), 0.0, atol=1e-12)
        square = np.average(values**2, axis=0, weights=got.weight)
        np.testing.assert_allclose(square, 1.0)
    assert got.X.shape == ((weight > 0).sum(), 3) and got.ways is None and got.labels is None
    assert got.X.flags.c_contiguous and got.X.dtype == got.y.dtype == np.float64
    constant = MetaLearnerRegressor(Towards()).fit(X, np.full(len(Y), 7.0), task=TASK)
    np.testing.assert_allclose(constant.predict(X, task=TASK), 7.0)


def test_classes_are_positions():
    got = handed(YES)
    assert got.shared_classes and set(got.y) == {0, 1} and (got.ways == 2).all()
    assert got.labels is None and got.y.dtype == np.int64
    birds_, own, task = birds()
    own = np.where(task == 0, np.where(own == own[0], own, "z"), own)  # a task with two classes
    got = handed(own, task, X=birds_)
    assert not got.shared_classes and sorted(got.ways) == [2] + [3] * 39
    assert got.labels.shape == (40, 3) and (got.labels >= 0).sum() == got.ways.sum()
    classes = np.unique(own)
    for t in range(40):
        labels = got.labels[t, : got.ways[t]]
        assert (np.diff(labels) > 0).all()
        y = got.y[got.offsets[t] : got.offsets[t + 1]]
        counts = dict(zip(*np.unique(classes[labels[y]], return_counts=True), strict=True))
        assert sorted(counts.values()) in ([4, 4, 4], [4, 8])


@pytest.mark.parametrize("face", FACES)
def test_units_do_not_matter(face):
    y, unit = target(face), np.array([1e-3, 10.0, 1e4])
    wanted = outputs(fitted(face), X, task=TASK)
    other = outputs(face(Towards()).fit(X * unit - 7, y, task=TASK), X * unit - 7, task=TASK)
    np.testing.assert_allclose(other, wanted, rtol=1e-6, atol=1e-8)
    if face is MetaLearnerRegressor:
        other = face(Towards()).fit(X, 1e5 * y + 3, task=TASK).predict(X, task=TASK)
        np.testing.assert_allclose((other - 3) / 1e5, wanted, **CLOSE)


def test_columns_of_a_target_are_tasks():
    Y2 = np.column_stack([Y, 5 - 2 * Y, Y**2])
    Y2[::3, 1] = np.nan
    model = MetaLearnerRegressor(Towards()).fit(X, Y2)
    assert list(model.tasks_) == [0, 1, 2] and model.predict(X).shape == Y2.shape
    has = ~np.isnan(Y2[:, 1])
    adapted = model.adapt(X[has], Y2[has, 1])
    np.testing.assert_allclose(adapted.predict(X), model.predict(X)[:, 1], **CLOSE)
    np.testing.assert_allclose(model.for_task(2).predict(X), model.predict(X)[:, 2], **CLOSE)
    pairs = [(Y2[has, t], model.predict(X)[has, t]) for t, has in enumerate(~np.isnan(Y2.T))]
    each = [r2_score(*pair) for pair in pairs]
    assert model.score(X, Y2) == pytest.approx(np.mean(each))


def test_a_preprocessor_may_make_sparse_columns():
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(shop=TASK, colour=TASK % 3)
    sparse_ones = OneHotEncoder(categories=[[0, 1, 2]])
    model = MetaLearnerRegressor(
        Towards(), task_column="shop", exclude_columns=["a", "b", "c"], preprocessor=sparse_ones
    ).fit(frame, Y)
    assert sparse.issparse(model.preprocessor_.transform(frame[["colour"]]))
    own = frame[TASK == 1]
    wanted = model.predict(own)
    np.testing.assert_allclose(model.for_task(1).predict(own), wanted, **CLOSE)
    np.testing.assert_allclose(model.adapt(own, Y[TASK == 1]).predict(own), wanted, **CLOSE)


# ----------------------------------------------------------------- parameters and attributes


def test_learners_by_name(monkeypatch):
    monkeypatch.setitem(learners.BY_NAME, "towards", Towards)
    model = fitted()
    named = MetaLearnerRegressor("towards").fit(X, Y, task=TASK)
    np.testing.assert_array_equal(named.predict(X, task=TASK), model.predict(X, task=TASK))
    with pytest.raises(ValueError, match=r"learner=skmtl\.learners\.Towards\(\)"):
        named.set_params(learner__alpha=2.0)
    named.set_params(learner=Towards(), learner__alpha=2.0)
    assert named.learner.alpha == 2.0
    with pytest.raises(ValueError, match="preprocessor__k cannot be set on preprocessor='auto'"):
        named.set_params(preprocessor="auto", preprocessor__k=2)


@pytest.mark.parametrize("face", FACES)
def test_fitted_attributes(face):
    learner = Towards(2.0)
    model = face(learner, random_state=4).fit(X, target(face), task=TASK)
    assert model.learner is learner and vars(learner) == {"alpha": 2.0}
    assert model.learner_ is not learner and model.learner_.alpha == 2.0
    assert list(model.tasks_) == list(range(8)) and model.n_features_in_ == 3
    assert list(model.history_) == ["draw"] and model.n_iter_ == 1
    other = clone(model).set_params(random_state=5).fit(X, target(face), task=TASK)
    assert other.history_["draw"] != model.history_["draw"]
    model.set_params(learner=Nothing() if face is MetaLearnerClassifier else Uncounted())
    model.fit(X, target(face), task=TASK)
    assert not hasattr(model, "n_iter_")
    with pytest.raises(ValueError, match="alpha=0 must be a number above 0"):
        face(Towards(0)).fit(X, target(face), task=TASK)


class Uncounted(Towards):
    """A learner without a number of steps."""

    def learn(self, tasks, random_state, progress):
        return Means()


class Means(Knowledge):
    def adapt(self, tasks):
        return Heads(np.zeros((tasks.n_tasks, 1, tasks.n_features + 1)), None)


def test_callbacks_are_told_every_step():
    pytest.importorskip("sklearn.callback")

    for face in FACES:
        callback = checks.Recorder()
        face(Towards()).set_callbacks(callback).fit(X, target(face), task=TASK)
        log = callback.log
        assert log[:2] == ["setup", "begin fit"] and log[-2:] == ["end fit", "teardown"]
        steps = [name for name in log if name.startswith("begin ")]
        assert steps[-3:] == [
            "begin learning from 8 tasks", "begin pooling the rows", "begin adapting to 8 tasks"
        ]  # fmt: skip


# ---------------------------------------------------------------------- scikit-learn's tools

FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
FRAME.insert(1, "shop", np.array([f"shop {c}" for c in "hbdacefg"], dtype=object)[TASK])


def model_of(face, **params):
    return face(Towards(), **{"task_column": "shop", **params})


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("piped", [False, True])
def test_grid_search(face, piped):
    estimator, prefix = model_of(face), ""
    if piped:
        estimator = make_pipeline(FunctionTransformer(), estimator)
        prefix = f"{face.__name__.lower()}__"
    grid = {f"{prefix}learner__alpha": [1.0, 1e4]}
    folds = TaskKFold(3, task_column="shop")
    y = target(face)
    search = GridSearchCV(estimator, grid, cv=folds, error_score="raise").fit(FRAME, y)
    assert search.best_params_ == {f"{prefix}learner__alpha": 1.0}
    scoring = "r2" if face is MetaLearnerRegressor else "accuracy"
    wanted = cross_val_score(model_of(face), FRAME, y, cv=folds, scoring=scoring).mean()
    assert search.best_score_ == pytest.approx(wanted) and wanted > 0.8


@pytest.mark.parametrize("face", FACES)
def test_folds_over_tasks(face):
    """A held-out task is predicted as by `adapt` on its known rows."""
    y, estimator = target(face), make_pipeline(FunctionTransformer(), model_of(face))
    folds = FewShotSplit(4, n_shots=3, task_column="shop")
    grid = {f"{face.__name__.lower()}__learner__alpha": [1.0, 1e4]}
    scoring = "r2" if face is MetaLearnerRegressor else "accuracy"
    search = GridSearchCV(estimator, grid, cv=folds, scoring=scoring, error_score="raise")
    assert search.fit(FRAME, y).best_params_ == dict.fromkeys(grid, 1.0)
    for train, test in folds.split(FRAME, y):
        model = model_of(face).fit(FRAME.iloc[train], y[train])
        for shop in FRAME["shop"].iloc[test].unique():
            known = train[FRAME["shop"].iloc[train] == shop]
            asked = test[FRAME["shop"].iloc[test] == shop]
            assert 3 <= len(known) <= 6
            adapted = model.adapt(FRAME.iloc[known], y[known])
            np.testing.assert_allclose(
                outputs(adapted, FRAME.iloc[asked]), outputs(model, FRAME.iloc[asked]), **CLOSE
            )


def test_probabilities_out_of_fold():
    folds = TaskKFold(3, task_column="shop")
    face = model_of(MetaLearnerClassifier)
    p = cross_val_predict(face, FRAME, YES, cv=folds, method="predict_proba")
    assert p.shape == (len(YES), 2)
    assert cross_val_score(face, FRAME, YES, cv=folds, scoring="neg_log_loss").mean() > -0.5


def test_bagging_by_index():
    array = np.column_stack([TASK, X])
    bag = BaggingRegressor(
        MetaLearnerRegressor(Towards(), task_column=0), n_estimators=4, random_state=0
    ).fit(array, Y)
    assert bag.score(array, Y) > 0.8


@pytest.mark.parametrize("face", FACES)
def test_routing(face):
    y = target(face)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(StandardScaler(), face(Towards())).fit(X, y, task=TASK)
        got = pipeline.predict(X, task=TASK)
        score = pipeline.score(X, y, task=TASK, sample_weight=np.arange(len(y)))
        search = GridSearchCV(face(Towards()), {"learner__alpha": [1.0, 1e4]}, cv=3)
        search.fit(X, y, task=TASK)
    plain = fitted(face)
    if face is MetaLearnerRegressor:
        np.testing.assert_allclose(got, plain.predict(X, task=TASK), **CLOSE)
    else:
        np.testing.assert_array_equal(got, plain.predict(X, task=TASK))
    assert score == pytest.approx(plain.score(X, y, np.arange(len(y)), task=TASK))
    assert search.best_params_ == {"learner__alpha": 1.0}


def test_few_shot_digits():
    """Each task has its own classes, given by true class ids; those of test tasks are new."""
    rng = np.random.default_rng(0)
    X, y = load_digits(return_X_y=True)

    def episodes(classes, n_tasks):
        rows = [
            rng.choice(np.flatnonzero(y == c), 5, replace=False)
            for _ in range(n_tasks)
            for c in rng.permutation(classes)[:3]
        ]
        return np.concatenate(rows), np.repeat(np.arange(n_tasks), 15)

    rows, task = episodes(range(6), 50)
    model = MetaLearnerClassifier(Towards()).fit(X[rows], y[rows], task=task)
    assert not model.shared_classes_ and list(model.classes_) == list(range(6))
    assert model.score(X[rows], y[rows], task=task) > 0.95
    scores = []
    for support in episodes(range(6, 10), 5)[0].reshape(5, 15):
        new = model.adapt(X[support], y[support])
        query = np.flatnonzero(np.isin(y, new.classes_))
        scores.append(new.score(X[query], y[query]))
    assert min(scores) > 0.6
