"""Rows and labels become one packed table of tasks, and its block-wise moments."""
