"""What Mocha asks of the operating system."""
