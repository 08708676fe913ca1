"""Conversion of task models to scikit-learn's own classes, for tools that read only these."""

import copy

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline

from .tasks.auto import MISSING, MedianImputer, plain_imputer, reader_of

__all__ = ["plain_classifier", "plain_regressor"]


def plain_regressor(model, coef, intercept):
    """Return a Pipeline that ends in a fitted `Ridge` with these coefficients.

    Parameters
    ----------
    model : OneTask
    coef : ndarray of shape (n_outputs,)
    intercept : float
    """
    ridge = Ridge()
    ridge.coef_, ridge.intercept_ = np.array(coef), float(intercept)
    ridge.n_iter_, ridge.solver_ = None, "cholesky"
    return _behind_preprocessor(model, "ridge", ridge)


def plain_classifier(model, coef, intercept, classes):
    """Return a Pipeline that ends in a fitted `LogisticRegression` with these coefficients.

    Parameters
    ----------
    model : OneTask
    coef : ndarray of shape (n_outputs,) or (n_classes, n_outputs)
    intercept : float or ndarray of shape (n_classes,)
    classes : ndarray of shape (n_classes,)
    """
    logistic = LogisticRegression()
    logistic.coef_ = np.atleast_2d(np.array(coef))
    logistic.intercept_ = np.atleast_1d(np.array(intercept, dtype=np.float64))
    logistic.classes_, logistic.n_iter_ = np.array(classes), np.zeros(1, dtype=np.int32)
    return _behind_preprocessor(model, "logistic", logistic)


def _behind_preprocessor(model, name, last):
    last.n_features_in_ = last.coef_.shape[-1]
    if model.preprocessor_ is not None:
        return Pipeline([("preprocessor", _plain(model.preprocessor_)), (name, last)])
    if hasattr(model, "feature_names_in_"):
        last.feature_names_in_ = model.feature_names_in_.copy()
    return Pipeline([(name, last)])


def _plain(preprocessor):
    """Return a copy of a fitted preprocessor, without the steps of "auto" that skmtl defines."""
    preprocessor = copy.deepcopy(preprocessor)
    if isinstance(preprocessor, MedianImputer):
        return plain_imputer(preprocessor)
    if not isinstance(preprocessor, ColumnTransformer):
        return preprocessor
    steps = []
    for name, step, columns in preprocessor.transformers_:
        if reader_of(step) is None:
            return preprocessor  # the caller's transformer
        others = (step[0].kw_args or {}).get("others", ())
        if others:
            raise ValueError(
                f"columns {list(others)} hold categories that are not strings; preprocessor='auto' "
                "has converted them, but an encoder of scikit-learn's would not: convert them to "
                "strings before fit."
            )
        steps.append((name, _encoder_alone(step, columns), columns))
    preprocessor.transformers_ = preprocessor.transformers = steps
    return preprocessor


def _encoder_alone(step, columns):
    """Return the encoder of a step of "auto"; for categories, with an imputer before it."""
    encoder = step[-1]
    if not isinstance(columns[0], (int, np.integer)):
        encoder.feature_names_in_ = np.asarray(columns, dtype=object)
    if isinstance(encoder, SimpleImputer):
        return plain_imputer(encoder)
    fill = SimpleImputer(strategy="constant", fill_value=MISSING)
    levels = np.array([categories[0] for categories in encoder.categories_], dtype=object)
    fill.fit(levels[None])
    if hasattr(encoder, "feature_names_in_"):
        fill.feature_names_in_ = encoder.feature_names_in_
        fill.set_output(transform="default")
        del encoder.feature_names_in_  # the imputer before it returns an array
    return Pipeline([("fill", fill), ("encode", encoder)])
