"""What a user brings along: one of each, installed nowhere."""
