"""Sweeps: from axes to points, and what was planned."""
