"""What the guard asks of the candidates that it judges."""

__all__ = ["Member"]


class Member:
    """Candidates that are fitted in the same way, one of the members that a `Guard` compares.

    The guard asks a member for its length (the number of candidates), for the properties and
    methods below, and for nothing else: it knows neither strengths nor formulas. What the
    candidates' models are is a matter between the member and the problem that evaluates them.

    Attributes
    ----------
    are_pooled : bool ndarray of shape (n_candidates,)
        Which candidates are one model for all tasks.
    """

    def __len__(self):
        """Return the number of candidates."""
        raise NotImplementedError

    def log_prior(self, rows):
        """Return the candidates' log-weights before any error is known.

        The more effective parameters a candidate spends, the smaller.

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
        """Return the shared models fitted on some tasks without those of each group.

        Parameters
        ----------
        tasks, group : ndarray of shape (n_left_out,)

        Returns
        -------
        theta : ndarray of shape (n_groups, n_candidates, ...)
        unseen : ndarray of shape (n_groups, n_candidates, ...)
            The same as they predict a task of which nothing is known.
        """
        raise NotImplementedError

    def early_errors(self, left, size):
        """Return errors on tasks left out of which `size` rows are known; None if not available.

        Returns
        -------
        errors : ndarray of shape (n_some, n_candidates)
        rows : ndarray of shape (n_some,)
        """
        return None

    def must_agree(self, shares, more):
        """Whether the tasks' models depend on one another's weights when candidates are blended."""
        return False

    def solve(self, shares, more):
        """Return the average of the candidates with these `Shares`, fitted on all rows.

        `more` are the positions of further candidates that new tasks may use.
        """
        raise NotImplementedError
