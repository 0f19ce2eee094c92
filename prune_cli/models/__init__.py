"""The models that can be pruned: which weights of theirs may go, and where their pre-trained weights come from."""
