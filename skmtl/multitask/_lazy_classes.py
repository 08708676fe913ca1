"""The part of the multi-task classifier that reads lazy frames, whose rows are not in memory."""

from ..queries.classes import coded_frame, find_two_classes
from ..tasks.targets import check_two_classes
from ._class_weight import factors_of_classes
from ._lazy import LazyMixin

__all__ = ["LazyClassesMixin"]


class LazyClassesMixin(LazyMixin):
    """Fit two classes to the working moments that queries return, and predict by a join."""

    def _fit_lazy_classes(self, X, y, sample_weight, task):
        """Fit to a lazy frame; `y` and `sample_weight` are names of its columns."""
        n_folds, progress = self._start_lazy(X, y, sample_weight, task)
        progress("query of the classes")
        classes, mass = find_two_classes(X, y, sample_weight)
        of_class = None
        if self.class_weight is not None:
            of_class = factors_of_classes(self.class_weight, classes, mass)
            check_two_classes(classes[of_class > 0.0])
        frame, weight = coded_frame(X, y, sample_weight, classes, of_class)
        self._fit_lazy(frame, y, weight, n_folds, progress)
        self.classes_, self._set_thresholds = classes, None
        progress.end()
        return self

    def _predict_classes_lazy(self, X, task):
        """Return a lazy frame with the most probable class of every row as "prediction"."""
        import narwhals as nw

        def outputs(score, std):
            first, second = self.classes_.tolist()
            chosen = nw.when(score > 0.0).then(nw.lit(second)).otherwise(nw.lit(first))
            return {"prediction": chosen}

        return self._predict_lazy(X, task, outputs)

    def _scores_lazy(self, X, task):
        """Return a lazy frame with the log-odds of the second class as "score"."""
        return self._predict_lazy(X, task, lambda score, std: {"score": score})
