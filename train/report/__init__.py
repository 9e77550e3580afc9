"""The HTML report: what a checkpoint gets wrong, on one page without scripts."""
