"""From the cleaned data to a checkpoint directory, its figures, and the Hub."""
