"""What keeps sharing from doing harm: candidates are judged, weighed task by task, and reported.

Nothing here knows what a candidate is, which strengths it has or which loss it is fitted to.
"""
