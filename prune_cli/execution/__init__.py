"""Helpers of several subcommands: from typed words to jobs and grids, and from jobs to finished runs."""
