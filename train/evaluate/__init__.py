"""Measure a checkpoint on a split it was not trained on: inference, metrics, tables, and the model card."""
