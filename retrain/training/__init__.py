"""The parts of a training run: method, fit for the engine, estimate, watch over the loss, record."""
