"""Questions asked of checkpoints now and then: speed and saliency."""
