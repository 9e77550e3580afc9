"""Questions asked of checkpoints now and then: speed, saliency, comparison of seeds."""
