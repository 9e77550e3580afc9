"""From prepared data to an evaluated checkpoint on the Hub: data → fit → finish → evaluate → report → publish."""
