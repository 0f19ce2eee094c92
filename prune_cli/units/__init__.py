"""Units of a recurrent model: how much each tells, and is told."""
