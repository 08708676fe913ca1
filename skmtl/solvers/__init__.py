"""Loops that end with a certificate."""
