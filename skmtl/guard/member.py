"""Interface between the guard and the candidates that it compares."""

__all__ = ["Member"]


class Member:
    """Candidates that are fitted in the same way, one of the members that a `Guard` compares.

    The guard uses only the length of a member (the number of its candidates) and the attributes
    and methods below; it knows neither strengths nor formulas. The models of the candidates are
    passed from the member to the problem, which evaluates them.

    Attributes
    ----------
    are_pooled : bool ndarray of shape (n_candidates,)
        Candidates that are one model for all tasks.
    """

    def __len__(self):
        """Return the number of candidates."""
        raise NotImplementedError

    def log_prior(self, rows):
        """Return the candidates' log-weights before any error is known.

        They decrease with the effective number of parameters of a candidate.

        Parameters
        ----------
        rows : ndarray of shape (n_tasks,)

        Returns
        -------
        ndarray of shape (n_candidates,)
        """
        raise NotImplementedError

    def models(self, train, split):
        """Return the candidates' models, fitted on the training rows of a split."""
        raise NotImplementedError

    def left_out(self, tasks, group):
        """Return shared models fitted on some tasks without those of each group.

        Parameters
        ----------
        tasks, group : ndarray of shape (n_left_out,)

        Returns
        -------
        shared : ndarray of shape (n_groups, n_candidates, ...)
        unseen : ndarray of shape (n_groups, n_candidates, ...)
            The models that the shared ones give an unseen task.
        """
        raise NotImplementedError

    def few_shot_errors(self, left, size):
        """Return errors on left-out tasks with `size` known rows, or None.

        Returns
        -------
        errors : ndarray of shape (n_evaluated, n_candidates)
        rows : ndarray of shape (n_evaluated,)
        """
        return None

    def must_agree(self, shares, more):
        """Return whether the tasks' models depend on each other's weights in a blend."""
        return False

    def blend_held_out(self, judged, shares):
        """Yield the held-out errors ``(n_tasks,)`` of each split, for a blend that `must_agree`."""
        raise NotImplementedError

    def solve(self, shares, more):
        """Return the average of the candidates with these `Shares`, fitted on all rows.

        `more` are the positions of further candidates that new tasks may use.
        """
        raise NotImplementedError
