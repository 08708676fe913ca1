"""Uncertainty of the gains of a report, against the slow counterparts in reference.py."""

import numpy as np
import pytest
import reference

from skmtl.inspection import gains

OTHERS = gains.OTHERS


def make_report(rng, sizes, *, noise=1.0, gain=0.0, unseen=False):
    """A report whose errors are means of squared normals, with a true gain of `gain`."""
    n_tasks = len(sizes)
    report = {"task": np.arange(n_tasks).astype(object), "n_samples": np.asarray(sizes)}
    scale = rng.uniform(0.5, 2.0, n_tasks)
    for name in (*OTHERS, "shared"):
        factor = scale * (1.0 if name != "shared" else 1.0 - gain)
        rows = [f * rng.normal(size=n) ** 2 for f, n in zip(factor, sizes, strict=True)]
        report[f"error_{name}"] = np.array([row.mean() for row in rows])
        report[f"std_error_{name}"] = noise * np.array(
            [row.std(ddof=1) / np.sqrt(len(row)) if len(row) > 1 else np.nan for row in rows]
        )
    if unseen:
        for key, values in report.items():
            report[key] = np.append(values, None if key == "task" else values[0])
        report["n_samples"][-1] = 0
    for other in OTHERS:
        report[f"gain_over_{other}"] = 1 - report["error_shared"] / report[f"error_{other}"]
    return report


SIZES = {
    "few": [3, 20, 40],
    "tiny": [1, 2, 3] * 20,
    "mixed": [1, 2, 2, 3, 5, 6, 7, 9, 12, 30, 45, 80, 300, 5000, 70000] * 3,
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("sizes", SIZES)
def test_reach_of_tasks(sizes, other, rng):
    report = make_report(rng, SIZES[sizes])
    found = gains.task_gains(report, other)
    np.testing.assert_allclose(found.reach, reference.gain_reach(report, other))
    np.testing.assert_array_equal(found.gain, report[f"gain_over_{other}"])


@pytest.mark.parametrize("other", OTHERS)
def test_the_task_never_seen_changes_nothing(other, rng):
    report = make_report(rng, SIZES["mixed"], unseen=True)
    known = {key: values[:-1] for key, values in report.items()}
    alone = gains.task_gains(known, other)
    np.testing.assert_allclose(gains.task_gains(report, other).reach[:-1], alone.reach)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_of_the_target_do_not_matter(factor, rng):
    report = make_report(rng, SIZES["mixed"])
    scaled = {k: v * factor if "error" in k else v for k, v in report.items()}
    for other in OTHERS:
        for a, b in zip(gains.task_gains(report, other), gains.task_gains(scaled, other)):  # noqa: B905
            np.testing.assert_allclose(a, b)


def test_paired_standard_errors_are_used_where_there_are_any(rng):
    report = make_report(rng, [50] * 30)
    unpaired = gains.task_gains(report, "pooled").reach
    both = np.hypot(report["std_error_pooled"], report["std_error_shared"])
    report["std_error_gain_over_pooled"] = both / report["error_pooled"]
    np.testing.assert_allclose(gains.task_gains(report, "pooled").reach, unpaired)
    report["std_error_gain_over_pooled"] = 0.5 * both / report["error_pooled"]
    assert (gains.task_gains(report, "pooled").reach < unpaired).all()


@pytest.mark.parametrize("sizes, most", [([20] * 400, 0.05), ([1, 2, 3] * 300, 0.02)])
def test_few_tasks_stand_out_by_chance(sizes, most, rng):
    report = make_report(rng, sizes)
    assert gains.task_gains(report, "independent").clear.mean() < most


def test_two_rows_that_agree_prove_nothing(rng):
    report = make_report(rng, [2] * 50)
    report["std_error_independent"][:] = report["std_error_shared"][:] = 1e-17
    report["error_independent"][0] = 1e-9
    report["gain_over_independent"] = 1 - report["error_shared"] / report["error_independent"]
    found = gains.task_gains(report, "independent")
    assert not found.clear.any()
    assert not found.telling[0]


def test_a_real_gain_and_a_real_loss_stand_out(rng):
    report = make_report(rng, [200] * 40)
    for task, factor in ((3, 0.2), (7, 60.0)):
        for key in ("error_shared", "std_error_shared"):
            report[key][task] *= factor
    report["gain_over_pooled"] = 1 - report["error_shared"] / report["error_pooled"]
    clear = gains.task_gains(report, "pooled").clear
    assert clear[[3, 7]].all() and clear.sum() < 5


def test_reports_without_standard_errors(rng):
    report = make_report(rng, [20] * 5)
    del report["std_error_pooled"]
    found = gains.task_gains(report, "independent")
    assert np.isinf(found.reach).all() and not found.clear.any()
    assert not gains.has_standard_errors(report)


@pytest.mark.parametrize("sizes", ["tiny", "mixed"])
def test_sums_over_tasks_of_a_size(sizes, rng):
    report = make_report(rng, SIZES[sizes] * 3, gain=0.3)
    levels = np.array(reference.size_levels(report["n_samples"]))
    found = gains.by_size(report, np.arange(len(levels)))
    assert found.n_tasks.sum() == len(levels)
    assert len(found.low) == len(np.unique(levels)) <= 8
    for i, level in enumerate(np.unique(levels)):
        tasks = np.flatnonzero(levels == level)
        assert (found.low[i], found.high[i]) == (
            report["n_samples"][tasks].min(), report["n_samples"][tasks].max()
        )  # fmt: skip
        assert found.n_samples[i] == report["n_samples"][tasks].sum()
        for other in OTHERS:
            gain, reach = reference.gain_of_sum(report, other, tasks)
            np.testing.assert_allclose(found.gains[other].gain[i], gain)
            np.testing.assert_allclose(found.gains[other].reach[i], reach)


def test_sums_know_a_gain_that_no_task_shows(rng):
    report = make_report(rng, [2] * 2000, gain=0.3)
    assert not gains.task_gains(report, "independent").clear.mean() > 0.01
    found = gains.sum_of_all(report, np.arange(2000)).gains["independent"]
    assert found.clear[0] and found.gain[0] == pytest.approx(0.3, abs=0.1)
    assert gains.mostly_noise(report, np.arange(2000))


@pytest.mark.parametrize("gain", [0.0, 0.3])
def test_two_standard_errors_of_a_sum_hold_the_truth_nineteen_times_in_twenty(gain, rng):
    held = 0
    for _ in range(200):
        report = make_report(rng, [3] * 40, gain=gain)
        found = gains.sum_of_all(report, np.arange(40)).gains["pooled"]
        held += abs(found.gain[0] - gain) < found.reach[0]
    assert held >= 175


def test_tasks_that_are_left_out(rng):
    report = make_report(rng, [1, 2, 3, 4] * 5)
    report["error_shared"][:4] = np.nan
    found = gains.by_size(report, np.arange(20))
    assert found.n_tasks.tolist() == [4, 4, 4, 4]
    assert gains.by_size(report, np.arange(4)).n_tasks.tolist() == []


def test_few_tasks_lean_on_their_own_standard_errors(rng):
    report = make_report(rng, [30, 40])
    found = gains.sum_of_all(report, np.arange(2)).gains["pooled"]
    assert np.isfinite(found.reach[0]) and found.reach[0] > 0


def test_who_is_named(rng):
    report = make_report(rng, [200] * 60)
    report["error_shared"][:25] *= 0.2  # gains over both
    report["error_shared"][25:30] *= 6.0  # losses
    for other in OTHERS:
        report[f"gain_over_{other}"] = 1 - report["error_shared"] / report[f"error_{other}"]
    order = np.argsort(-report["gain_over_independent"])
    named, n_clear = gains.choose_named(report, order, 60)
    assert set(range(30)) <= set(named.tolist()) and n_clear == len(named) < 40
    assert (np.diff(report["gain_over_independent"][named]) <= 0).all()
    some, still = gains.choose_named(report, order, 6)
    assert still == n_clear
    assert some.tolist() == [*named[:3], *named[-3:]]
