"""How to learn a new task fast."""

# What a string stands for in ``MetaLearnerClassifier(learner=...)``.
BY_NAME: dict = {}
