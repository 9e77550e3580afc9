"""The network: its configuration, its backbone, and the classifier with its heads."""
