"""Whether a network is explained rightly: a table with a verdict a question."""
