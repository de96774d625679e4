"""Explanations: what they are, and how one is made of a network and a clip."""
