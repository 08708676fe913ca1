"""Every display is legible: of 3, 100 and 3,000 tasks, dark, in large letters, on small axes."""

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

import legible  # noqa: E402

from skmtl.inspection import (  # noqa: E402
    FewShotCurveDisplay,
    MemberReportDisplay,
    MetaTrainingDisplay,
    TaskCoefficientsDisplay,
    TaskReportDisplay,
    TrainingCurveDisplay,
    TransferReportDisplay,
)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def labels(n, noun="Riverside market"):
    return np.array([f"{noun} {i:04d}" for i in range(n)], dtype=object)


def report(rng, n):
    """Gains with their standard errors, some clear and some not."""
    made = {"task": np.append(labels(n), None), "n_samples": np.append(rng.integers(1, 400, n), 0)}
    size = np.sqrt(np.maximum(1, made["n_samples"]))
    for name, error in (("independent", 1.0), ("pooled", 1.3)):
        made[f"error_{name}"] = np.full(n + 1, error)
        made[f"std_error_{name}"] = 0.7 / size
    made["error_shared"] = np.append(rng.uniform(0.2, 1.6, n), 1.0)
    made["error_shared"][0] = 8.0
    made["std_error_shared"] = 0.7 / size
    for other in ("independent", "pooled"):
        made[f"gain_over_{other}"] = 1.0 - made["error_shared"] / made[f"error_{other}"]
    return made


def tasks(rng, n):
    return TaskReportDisplay(report(rng, n))


def tasks_without_errors(rng, n):
    keys = ("task", "n_samples", "gain_over_independent", "gain_over_pooled")
    return TaskReportDisplay({key: report(rng, n)[key] for key in keys})


def tasks_of_few_rows(rng, n):
    made = report(rng, n)
    made["n_samples"][:-1] = rng.integers(1, 5, n)
    return TaskReportDisplay(made)


def coefficients(rng, n, n_features=3):
    coef = 2.0 + rng.normal(size=(n, n_features)) * np.array([3.0, 0.5, 40.0])[:n_features]
    alone = coef + rng.normal(size=coef.shape)
    alone[1] = 700.0  # beyond the strips, if there are others
    return TaskCoefficientsDisplay(
        coef,
        coef.mean(axis=0),
        tasks=labels(n),
        feature_names=["intercept", "price_of_competitors", "age"][:n_features],
        independent_coef=alone,
        units=["revenue at the features' means", *["revenue per unit"] * (n_features - 1)],
    )


def one_coefficient(rng, n):
    return coefficients(rng, n, 1)


def few_shots(rng, n):
    shots = np.arange(1, n + 1)
    adapted = 0.9 - 0.5 / shots[:, None] + 0.1 * rng.normal(size=(n, 9))
    return FewShotCurveDisplay(shots, adapted, adapted - 0.5 / shots[:, None], adapted[0] - 0.1)


def members(rng, n):
    weight = rng.dirichlet(np.ones(n)) * (rng.uniform(size=n) < 0.7)
    return MemberReportDisplay(
        {
            "member": labels(n, "learner"),
            "error": np.append(rng.uniform(0.7, 1.4, n - 1), 9.0),
            "weight": weight,
            "n_tasks": rng.integers(0, 3000, n),
            "weight_unseen": np.where(np.arange(n) % 3 == 0, 0.4, 0.0),
            "status": np.where(weight > 0, "used", "no better than the others"),
        }
    )


def members_by_size(rng, n, n_members=3):
    weight = rng.dirichlet(np.ones(n_members), n)
    weight[:, -1] = 0.0
    error = rng.uniform(0.7, 1.4, (n, n_members))
    error[:, -1] = 3.0
    status = [*["used"] * (n_members - 1), "no better than the others"]
    return MemberReportDisplay(
        {
            "member": np.tile(labels(n_members, "learner"), n),
            "n_rows": np.repeat(2.0 * np.arange(1, n + 1), n_members),
            "error": error.ravel(),
            "weight": weight.ravel(),
            "status": np.tile(np.array(status, dtype=object), n),
        }
    )


def many_members_by_size(rng, n):
    return members_by_size(rng, 4, min(n, 100))


def meta_training(rng, n):
    by_step = rng.uniform(0.3, 0.6, (n, n + 1))
    curves = {"step": 100 * np.arange(n), "train_loss": by_step[:, 0]}
    curves |= {"held_out_loss": by_step[:, -1], "held_out_loss_by_step": by_step}
    return MetaTrainingDisplay(curves | {"held_out_accuracy_by_step": 1.0 - by_step})


def training(rng, n, n_splits=2, n_tasks=0):
    n_rows = n * n_splits
    curves = {
        "split": np.repeat(np.arange(1, n_splits + 1), n),
        "epoch": np.tile(np.arange(1, n + 1), n_splits),
        "train_loss": rng.uniform(0.1, 0.3, n_rows),
        "validation_loss": rng.uniform(0.3, 0.6, n_rows),
        "kept": np.arange(n_rows) % n == n // 2,
    }
    if n_tasks:
        curves["task_noise"] = rng.uniform(0.1, 2.0, (n_rows, n_tasks))
    return TrainingCurveDisplay(curves, tasks=labels(n_tasks))


def training_of_splits(rng, n):
    return training(rng, 6, n_splits=n)


def noise_of_tasks(rng, n):
    return training(rng, 6, n_tasks=n if n > 3 else 8)


def transfer(rng, n):
    return TransferReportDisplay(
        {
            "source": labels(n, "Riverside plant"),
            "n_samples": rng.integers(20, 5000, n),
            "weight": np.where(np.arange(n) % 3 == 1, 0.0, rng.uniform(0.1, 1.0, n)),
            "error": np.append(rng.uniform(0.5, 3.0, n - 1), 30.0),
            "error_independent": np.full(n, 2.0),
            "standard_error": rng.uniform(0.1, 0.4, n),
        }
    )


def transfer_weights(rng, n):
    weight = np.exp(rng.normal(-3.0, 3.0, n))
    report = {"source": labels(n, "plant"), "n_samples": np.full(n, 20), "weight": weight}
    return TransferReportDisplay(report)


CASES = [
    tasks, tasks_without_errors, tasks_of_few_rows, coefficients, few_shots, members,
    members_by_size, many_members_by_size, meta_training, training, training_of_splits,
    noise_of_tasks, transfer, transfer_weights,
]  # fmt: skip
every_display = pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)


@every_display
@pytest.mark.parametrize("n", [3, 100, 3000])
def test_few_and_many(make, n, rng):
    display = make(rng, n).plot()
    legible.check_places(display.figure_)
    legible.check_colors(display.figure_)


@every_display
def test_large_letters(make, rng):
    with plt.rc_context({"font.size": 14}):
        display = make(rng, 100).plot()
        legible.check_places(display.figure_, 1.4 * legible.MOST_INCHES)


@every_display
def test_dark(make, rng):
    with plt.style.context("dark_background"):
        display = make(rng, 100).plot()
        display.figure_.canvas.draw()
        legible.check_colors(display.figure_)
    if make is not many_members_by_size:  # of which one is as light as the text
        assert (1.0, 1.0, 1.0) not in legible.faces(display.figure_)
    for ax in display.figure_.axes:
        assert not ax.spines["top"].get_visible() and not ax.spines["right"].get_visible()


@pytest.mark.parametrize("n", [3, 100])
@pytest.mark.parametrize(
    "make", [one_coefficient if case is coefficients else case for case in CASES]
)
def test_small_axes_of_the_caller(make, n, rng):
    figure, ax = plt.subplots(figsize=(4, 3), layout="constrained")
    assert make(rng, n).plot(ax=ax).figure_ is figure
    legible.check_places(figure)


@every_display
def test_sizes_follow_the_style(make, rng):
    sizes = []
    for scale in (1.0, 2.0):
        changed = {"figure.figsize": (6.4 * scale, 4.8), "font.size": 10.0 * scale}
        changed |= {"lines.markersize": 6.0 * scale}
        with plt.rc_context(changed):
            figure = make(np.random.default_rng(0), 3).plot().figure_
            figure.canvas.draw()
            letters = {text.get_fontsize() for text in legible.texts(figure)}
            sizes.append([figure.get_figwidth(), min(letters), max(letters)])
    np.testing.assert_allclose(sizes[1], 2.0 * np.array(sizes[0]))
