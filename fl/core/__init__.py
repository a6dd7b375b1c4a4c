"""The mathematics of federated learning: no socket, no clock, no framework but where a model asks for it."""
