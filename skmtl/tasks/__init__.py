"""Conversion of rows and task labels to a packed table of tasks and its block-wise moments."""
