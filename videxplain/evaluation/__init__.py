"""How far explanations can be trusted: data sets with and without a truth, and the experiments run on them."""
