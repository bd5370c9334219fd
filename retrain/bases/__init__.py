"""Base models: what their cards allow, what they know, and which of several is the smallest that will do."""
