"""What keeps sharing from doing harm: candidates are judged, weighed task by task, and reported.

Nothing here knows what a candidate is or which strengths it has. `judge` and `residuals`
read squared errors; a tuner for another loss brings verdicts of its own.
"""
