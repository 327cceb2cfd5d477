"""Early-time learning dynamics of neural networks."""
