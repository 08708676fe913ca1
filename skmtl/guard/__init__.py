"""Selection among candidates: cross-validate, weigh per task, and report.

Nothing here depends on what a candidate is or on its strengths. `judge` and `residuals` work on
squared errors; a problem with another loss computes the log-likelihoods of its candidates itself.
"""
