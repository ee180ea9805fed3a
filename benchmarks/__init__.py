"""What recording costs: training steps, kernels, and how both grow."""
