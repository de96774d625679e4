"""Clip to labels: which voxel belongs to which supervoxel."""
