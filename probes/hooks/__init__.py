"""The place in the model where an SAE reads, and the activations there."""
