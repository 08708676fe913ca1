"""How to learn a new task fast."""
