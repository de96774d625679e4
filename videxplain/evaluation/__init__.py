"""Experiments that show how far an explanation can be trusted."""
