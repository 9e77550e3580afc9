"""What is done to a checkpoint after training: averaging, calibration; and import of the original project's."""
