"""The demo: a real fine-tune-and-serve loop on two cores, driven through the public commands."""
