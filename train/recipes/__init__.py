"""Recipes: a file a recipe, the sequence of commands from prepared data to an evaluated checkpoint."""
