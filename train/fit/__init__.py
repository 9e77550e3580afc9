"""Train a network: settings, data, model, distillation, trainer."""
