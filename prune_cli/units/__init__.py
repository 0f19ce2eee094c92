"""Units of a recurrent model: information measures, Lyapunov exponents, and removal."""
