"""Fine-tuning: the recipe, the loop that follows it, and the evaluation."""
