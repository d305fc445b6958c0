"""What is to be computed, as data: values, ops, and plans of steps."""
