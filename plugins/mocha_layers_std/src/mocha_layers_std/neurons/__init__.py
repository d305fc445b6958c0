"""The standard neurons: activation functions for the tops of any computation layer."""
