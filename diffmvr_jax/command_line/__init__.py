"""What the commands share: arguments, ranges of numbers, the terminal."""
