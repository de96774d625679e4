"""The native operations and what stands in for them."""
