"""Services of the operating system: files, signals, free memory."""
