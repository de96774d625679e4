"""Networks, their weights, and the adapter that explanations talk to."""
