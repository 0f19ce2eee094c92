"""The datasets: what they hold, how they are split and how their images reach a model."""
