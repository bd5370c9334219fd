"""What to do about what was seen, and the order that follows."""
