"""Push a checkpoint to the Hub and deploy the Space, one commit each."""
