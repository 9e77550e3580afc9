"""What is done to a checkpoint after training: calibration, a finder; and import of the original project's."""
