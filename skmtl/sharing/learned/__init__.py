"""Learners of any kind, such as trees, as the part of the model that tasks share.

`design` makes the columns that a learner sees, `learners` fit one set of rows, `members` fit a
learner in every split and on all rows, and `model` predicts with the members that got weight.
"""
