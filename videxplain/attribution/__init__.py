"""Scoring methods: a network and a clip to scores per voxel or per supervoxel."""
